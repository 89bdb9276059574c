#include "storage/state_machine.h"

#include <unistd.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "proto/parse_command.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"
#include "storage/base/published.h"
#include "storage/tables/tables.h"

namespace raftkv {
namespace {

// A flush is due when what has changed since the last one takes kFlushBytes in the write buffer, or
// when the entries since then are larger than kFlushEntryBytes, or more than kFlushEntries. So a
// flush begins before a write buffer is full (16 MiB, rocks_engine.cc), and files are as large as
// they can be: each compaction reads and writes many files, so many small ones would cost more.
constexpr uint64_t kFlushBytes = 15 << 20;
constexpr uint64_t kFlushEntryBytes = 32 << 20;
constexpr uint64_t kFlushEntries = 100'000;
// What a row takes in the write buffer besides its bytes.
constexpr uint64_t kRowOverheadBytes = 32;
// A batch that is larger than this is written before the next entry. So the memory of a batch is
// limited to this plus what one entry may add (rules/version.h).
constexpr size_t kBatchBytes = 4 << 20;
// Apply returns when the answers together are larger than this.
constexpr size_t kAnswerBytes = 8 << 20;
// The limits of one CompactStep. Between two such steps, the loop applies entries with at most
// about 2,500 events. A worker may apply more; then later steps catch up.
constexpr int64_t kCompactStepsMin = 256;
constexpr int64_t kCompactStepsMax = 4096;
// What one FetchHeads takes: entries and their bytes, but at least one entry; and keys.
constexpr size_t kFetchedEntriesMax = 256;
constexpr size_t kFetchedBytesMax = 1 << 20;
constexpr size_t kFetchedKeysMax = 1024;
constexpr int kExitNewerServer = 2;

// Why this program cannot apply the entry, in one line, or empty.
std::string NotUnderstood(raft::Index index, const proto::Command& command, ClusterVersion needs,
                          ClusterVersion newest) {
  constexpr char kRemedy[] =
      ": run a newer raftkv-server on this data directory; nothing was changed";
  if (command.has_set_cluster_version() && command.set_cluster_version().version() > newest) {
    return absl::StrCat("entry ", index, " raises the cluster version to ",
                        command.set_cluster_version().version(),
                        ", but this raftkv-server knows versions up to ", newest, kRemedy);
  }
  if (needs <= newest) return "";
  return absl::StrCat("entry ", index, " holds a command that this raftkv-server does not know",
                      kRemedy);
}

}  // namespace

void ExitForANewerServer(const std::string& line) {
  LOG(ERROR) << line;
  google::FlushLogFiles(google::INFO);
  _exit(kExitNewerServer);
}

struct StateMachine::Rep {
  Rep(std::unique_ptr<Engine> e, StateMachineOptions o)
      : options(std::move(o)),
        shared{.engine = std::move(e),
               .rules_of = options.rules_of,
               .newest_version = options.newest_version,
               .block_keys = options.block_keys,
               .state = {},
               .batch = {},
               .entry = {},
               .leases = {},
               .lease_changes = {}},
        tables(&shared),
        digests(&shared, options.digest_interval) {}

  absl::Status Load();
  bool OutOfLimits(const Limits& limits, const Meter& meter) const;
  absl::Status ApplyCommand(const proto::Command& command, ClusterVersion needs, Meter* meter,
                            ApplyResult* result);
  absl::Status Execute(const proto::Command& command, Meter* meter,
                       proto::CommandResponse* response);
  void CompactBatch(Meter* meter);
  std::shared_ptr<const StateSnapshot> Snapshot();
  void Write();
  void WriteBatchOut();

  Engine& engine() { return *shared.engine; }
  State& state() { return shared.state; }

  const StateMachineOptions options;
  Shared shared;
  Tables tables;
  Digests digests;
  Published<State, StateSnapshot> saved;  // the state after the last written batch

  // A running flush. It is complete once the engine's survived() reaches `position`.
  struct PendingFlush {
    uint64_t position;
    raft::EntryId applied;
  };
  std::deque<PendingFlush> flushes;
  raft::EntryId persisted;
  uint64_t bytes_since_flush = 0;
  uint64_t entry_bytes_since_flush = 0;
  uint64_t entries_since_flush = 0;
};

StateMachine::StateMachine(std::shared_ptr<Rep> rep)
    : rep_(std::move(rep)), for_any_thread_(rep_) {}
StateMachine::~StateMachine() = default;

void StateMachine::Install(std::unique_ptr<StateMachine> other) {
  rep_ = other->rep_;
  if (RAFTKV_MUTANT("install-hides-the-sessions")) rep_->tables.Get<SessionTable>().Forget();
  if (RAFTKV_MUTANT("install-hides-the-leases")) rep_->shared.lease_changes = {};
  for_any_thread_.Set(rep_);
}

absl::StatusOr<std::unique_ptr<StateMachine>> StateMachine::Open(std::unique_ptr<Engine> engine,
                                                                 StateMachineOptions options) {
  auto rep = std::make_shared<Rep>(std::move(engine), std::move(options));
  if (absl::Status status = rep->Load(); !status.ok()) return status;
  return std::unique_ptr<StateMachine>(new StateMachine(std::move(rep)));
}

absl::Status StateMachine::Rep::Load() {
  const std::string state_key = kStateKey;
  bool found = false;
  absl::Status status =
      engine().Scan(state_key, state_key + '\0', [&](std::string_view, std::string_view value) {
        found = true;
        return DecodeState(value, &state());
      });
  if (!status.ok()) return status;
  // The format of the state record says whether the cluster version was ever raised. If so, the
  // record of the version must exist.
  const bool raised = state().cluster_version > kFirstVersion;
  state().cluster_version = kFirstVersion;
  bool empty = true;
  status = engine().Scan({}, {}, [&](std::string_view, std::string_view) {
    empty = false;
    return absl::CancelledError();  // one key is enough: end the scan
  });
  if (!absl::IsCancelled(status) && !status.ok()) return status;
  if (!found && !empty) return absl::DataLossError("state machine: data but no state record");
  if (status = tables.Load(); !status.ok()) return status;
  if (status = digests.Load(); !status.ok()) return status;
  if (raised != (state().cluster_version > kFirstVersion)) {
    return absl::DataLossError("state machine: the cluster version does not fit the state record");
  }
  persisted = state().applied;
  if (RAFTKV_MUTANT("compacted-forgotten-at-restart")) state().compacted = state().compaction_done;
  if (RAFTKV_MUTANT("apply-twice-after-restart") && state().applied.index > 0) {
    --state().applied.index;
  }
  saved.Publish(state());
  return absl::OkStatus();
}

std::vector<ApplyResult> StateMachine::Apply(absl::Span<const raft::Entry> entries,
                                             const Limits& limits) {
  Rep& rep = *rep_;
  State& state = rep.state();
  std::vector<ApplyResult> results(entries.size());
  Meter meter(limits);
  size_t answer_bytes = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    if (i > 0 && rep.OutOfLimits(limits, meter)) {
      results.resize(i);
      break;
    }
    const raft::Entry& entry = entries[i];
    ApplyResult& result = results[i];
    if (entry.id.index > state.applied.index) {
      CHECK_EQ(entry.id.index, state.applied.index + 1) << "entries are applied in order";
      if (entry.type != raft::EntryType::kNoOp) {
        proto::Command command;
        CHECK(ParseCommand(entry.payload.view(), &command))
            << "entry " << entry.id.index << " is not a command";
        const ClusterVersion needs = Needs(command);
        if (const std::string why =
                NotUnderstood(entry.id.index, command, needs, rep.options.newest_version);
            !why.empty()) {
          results.resize(i);
          rep.options.not_understood(why);
          break;
        }
        meter.Bytes(entry.payload.size());
        rep.entry_bytes_since_flush += entry.payload.size();
        const size_t batch_bytes = rep.shared.batch.bytes();
        rep.shared.entry = entry.id;
        result.status = rep.ApplyCommand(command, needs, &meter, &result);
        if (meter.interrupted()) {
          if (RAFTKV_MUTANT("large-entry-passed-over")) state.applied = entry.id;
          results.resize(i);
          break;
        }
        result.origin = std::move(*command.mutable_origin());
        // The check does not charge operations on single keys. What they read and wrote is charged
        // now, so that Apply stops before the next entry if it was too much.
        meter.Bytes(rep.shared.batch.bytes() - batch_bytes +
                    rep.tables.Get<Keys>().TakeLoadedBytes());
      }
      if (!RAFTKV_MUTANT("applied-term-stays")) state.applied.term = entry.id.term;
      state.applied.index = entry.id.index;
      state.digest =
          HashMix(HashMix(state.digest, entry.id.index), static_cast<uint64_t>(state.revision));
      rep.digests.AfterEntry();
      ++rep.entries_since_flush;
      if (rep.shared.batch.bytes() > kBatchBytes) rep.WriteBatchOut();
    }
    if (result.revision == 0) result.revision = state.revision;
    answer_bytes += result.response.ByteSizeLong();
    if (answer_bytes > kAnswerBytes) results.resize(i + 1);
  }
  rep.WriteBatchOut();
  return results;
}

size_t StateMachine::FetchHeads(absl::Span<const raft::Entry> entries, const Limits& limits,
                                ParallelReads* reads) {
  std::deque<proto::Command> commands;  // the keys point into them
  std::vector<std::string_view> keys;
  size_t bytes = 0, taken = 0;
  for (; taken < std::min(entries.size(), kFetchedEntriesMax); ++taken) {
    const raft::Entry& entry = entries[taken];
    if (entry.id.index <= applied().index || entry.type == raft::EntryType::kNoOp) continue;
    bytes += entry.payload.size();
    if (taken > 0 && (bytes > kFetchedBytesMax || keys.size() >= kFetchedKeysMax)) break;
    proto::Command& command = commands.emplace_back();
    if (ParseCommand(entry.payload.view(), &command)) Keys::AddKeys(command, &keys);
  }
  if (keys.size() > kFetchedKeysMax) keys.resize(kFetchedKeysMax);
  rep_->tables.Get<Keys>().FetchHeads(std::move(keys), limits, reads);
  return taken;
}

// Asked between two entries. True: the next entry is left for the next call.
bool StateMachine::Rep::OutOfLimits(const Limits& limits, const Meter& meter) const {
  return (meter.limited() && meter.steps_left() == 0) || (limits.give_up && limits.give_up());
}

// Applies the command by the rules of the cluster version, and returns its status. If the meter is
// interrupted, nothing was changed, and the returned status has no meaning.
absl::Status StateMachine::Rep::ApplyCommand(const proto::Command& command, ClusterVersion needs,
                                             Meter* meter, ApplyResult* result) {
  if (needs > state().cluster_version) {
    return absl::FailedPreconditionError(absl::StrCat("the cluster version is ",
                                                      state().cluster_version, ", and this needs ",
                                                      needs, ": upgrade all members"));
  }
  meter->BeginEntry(shared.rules(), state().compacted);
  if (!command.has_session()) return Execute(command, meter, &result->response);
  SessionTable& sessions = tables.Get<SessionTable>();
  if (auto decided = sessions.Decide(command, meter, &result->response, &result->revision)) {
    return *decided;
  }
  if (meter->interrupted()) return absl::OkStatus();
  absl::Status status = Execute(command, meter, &result->response);
  if (!meter->interrupted()) sessions.Record(command, status, &result->response);
  return status;
}

absl::Status StateMachine::Rep::Execute(const proto::Command& command, Meter* meter,
                                        proto::CommandResponse* response) {
  if (absl::Status denied = state().alarms.Permit(command); !denied.ok()) return denied;
  return tables.Execute(command, meter, response);
}

std::shared_ptr<const StateSnapshot> StateMachine::Rep::Snapshot() {
  return saved.Get([this](const State& state) {
    return std::make_shared<const StateSnapshot>(engine().NewView(), state, shared.block_keys);
  });
}

void StateMachine::Rep::Write() {
  Snapshot();  // pins the state before the write, for readers during the write
  engine().Write(shared.batch, /*sync=*/false);
  shared.batch.Clear();
  saved.Publish(state());
}

void StateMachine::Rep::WriteBatchOut() {
  Keys& keys = tables.Get<Keys>();
  keys.CompleteBatch();
  if (RAFTKV_MUTANT("applied-index-outside-the-batch")) {
    WriteBatch ahead;
    ahead.Put(kStateKey, EncodeState(state()));
    engine().Write(ahead, /*sync=*/false);
    engine().Flush();
  } else {
    shared.batch.Put(kStateKey, EncodeState(state()));
  }
  bytes_since_flush += shared.batch.bytes() + kRowOverheadBytes * shared.batch.size();
  Write();
  keys.EndBatch();
  if (!shared.batch.empty()) Write();
}

raft::EntryId StateMachine::applied() const { return rep_->state().applied; }
Revision StateMachine::revision() const { return rep_->state().revision; }
uint64_t StateMachine::digest() const { return rep_->state().digest; }
const std::deque<StateDigest>& StateMachine::digests() const { return rep_->digests.all(); }
ClusterVersion StateMachine::cluster_version() const { return rep_->state().cluster_version; }

raft::EntryId StateMachine::persisted_applied() const {
  Rep& rep = *rep_;
  const uint64_t survived = rep.flushes.empty() ? 0 : rep.engine().survived();
  while (!rep.flushes.empty() && rep.flushes.front().position <= survived) {
    rep.persisted = rep.flushes.front().applied;
    rep.flushes.pop_front();
  }
  return rep.persisted;
}

std::shared_ptr<const StateSnapshot> StateMachine::Snapshot() const {
  return for_any_thread_.Get()->Snapshot();
}

std::map<raft::MemberId, std::string> StateMachine::store_ids() const {
  return rep_->tables.Get<StoreIdTable>().all();
}

const Members& StateMachine::members() const { return rep_->tables.Get<MemberTable>().members(); }

const Alarms& StateMachine::alarms() const { return rep_->tables.Get<AlarmTable>().alarms(); }

LeaseChanges StateMachine::TakeLeaseChanges() {
  return std::exchange(rep_->shared.lease_changes, {});
}

void StateMachine::MaybeFlush() {
  Rep& rep = *rep_;
  if (rep.bytes_since_flush < kFlushBytes && rep.entry_bytes_since_flush < kFlushEntryBytes &&
      rep.entries_since_flush < kFlushEntries) {
    return;
  }
  persisted_applied();
  if (!rep.flushes.empty()) return;  // one at a time: on a slow disk they would accumulate
  StartFlush();
}

void StateMachine::StartFlush() {
  Rep& rep = *rep_;
  rep.bytes_since_flush = rep.entry_bytes_since_flush = 0;
  rep.entries_since_flush = 0;
  rep.flushes.push_back({rep.engine().written(), rep.state().applied});
  rep.engine().StartFlush();
}

void StateMachine::Flush() {
  Rep& rep = *rep_;
  rep.bytes_since_flush = rep.entry_bytes_since_flush = 0;
  rep.entries_since_flush = 0;
  rep.flushes.push_back({rep.engine().written(), rep.state().applied});
  rep.engine().Flush();
  persisted_applied();
}

Revision StateMachine::compacted_revision() const { return rep_->state().compacted; }
Revision StateMachine::compaction_done() const { return rep_->state().compaction_done; }

void StateMachine::CompactStep(int64_t steps_max) {
  if (!compacting()) return;
  Keys& keys = rep_->tables.Get<Keys>();
  const int64_t steps =
      std::min(steps_max, std::clamp(2 * keys.steps_owed(), kCompactStepsMin, kCompactStepsMax));
  // This step may take twice the steps that are owed. Half of its steps are subtracted from them.
  keys.set_steps_owed(std::max<int64_t>(0, keys.steps_owed() - steps / 2));
  Meter meter({.steps_max = steps});
  while (meter.steps_left() > 0 && compacting()) rep_->CompactBatch(&meter);
}

void StateMachine::Rep::CompactBatch(Meter* meter) {
  tables.Get<Keys>().CompactSome(meter);
  if (RAFTKV_MUTANT("compaction-saves-its-own-revision")) {
    shared.batch.Put(kStateKey, [s = state()]() mutable {
      s.revision = s.compaction_done;
      return EncodeState(s);
    }());
    engine().Write(shared.batch, /*sync=*/false);
    shared.batch.Clear();
  }
  if (RAFTKV_MUTANT("compaction-cursor-outside-the-batch")) {
    WriteBatch ahead;
    ahead.Put(kStateKey, EncodeState(state()));
    engine().Write(ahead, /*sync=*/false);
  }
  WriteBatchOut();
}

void StateMachine::StartDefragment() { for_any_thread_.Get()->engine().StartReclaim(); }

absl::Status StateMachine::Checkpoint(const std::string& dir) const {
  return for_any_thread_.Get()->engine().Checkpoint(dir);
}

EngineUsage StateMachine::Usage() const { return for_any_thread_.Get()->engine().Usage(); }
uint64_t StateMachine::DiskBytes() const { return for_any_thread_.Get()->engine().DiskBytes(); }
bool StateMachine::WouldStall() const { return rep_->engine().WouldStall(); }

}  // namespace raftkv
