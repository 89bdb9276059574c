#include "storage/state_machine.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "proto/parse_command.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"
#include "storage/base/published.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/history.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/limits.h"
#include "storage/mvcc/txn.h"
#include "storage/mvcc/writer.h"

namespace raftkv {
namespace {

using mvcc::kStateKey;

constexpr uint64_t kFlushBytes = 16 << 20;
constexpr uint64_t kFlushEntries = 10'000;
constexpr uint64_t kFormat = 3;
constexpr size_t kStateNumbers = 9;
constexpr size_t kStoreIdBytes = 16;
constexpr char kStoreIdsBegin[] = {mvcc::kStoreIdTable, 0};
constexpr char kStoreIdsEnd[] = {mvcc::kStoreIdTable + 1, 0};
// A batch that has grown so large is written before the next entry: its memory is bounded by this
// and by what one entry may do (mvcc/limits.h).
constexpr size_t kBatchBytes = 4 << 20;
// The same for the answers, which their clients are waiting for.
constexpr size_t kAnswerBytes = 8 << 20;
// Of one step of the physical compaction. The loop writes some 2,500 events between two of them at
// most; after more, by a worker, later steps catch up.
constexpr int64_t kStepEventsMin = 256;
constexpr int64_t kStepEventsMax = 4096;

// What the store holds besides its tables; saved with every batch.
struct State {
  raft::EntryId applied;
  Revision revision = 1;    // of an empty store, as in etcd
  Revision compacted = -1;  // the oldest that can be read; -1: never compacted, as in etcd
  uint64_t digest = 0;
  // Where physical compaction stands. Local: members differ in it.
  Revision compaction_done = -1;
  mvcc::EventId compaction_next;  // what is before it has been dealt with
};

std::string EncodeState(const State& state) {
  std::string out;
  for (uint64_t v : {kFormat, state.applied.term, state.applied.index,
                     static_cast<uint64_t>(state.revision), static_cast<uint64_t>(state.compacted),
                     state.digest, static_cast<uint64_t>(state.compaction_done),
                     static_cast<uint64_t>(state.compaction_next.revision),
                     uint64_t{state.compaction_next.sub}}) {
    PutFixed64(&out, v);
  }
  PutFixed32(&out, Crc32c(out));
  return out;
}

absl::Status DecodeState(std::string_view record, State* state) {
  const auto damaged = absl::DataLossError("state machine: the state record is damaged");
  if (record.size() < 12) return damaged;
  const size_t size = record.size() - 4;
  if (Crc32c(record.substr(0, size)) != Fixed32(&record[size])) return damaged;
  const uint64_t format = Fixed64(&record[0]);
  if (format != kFormat) {
    return absl::FailedPreconditionError(absl::StrCat(
        "state machine: its format is ", format, " and this program reads only ", kFormat,
        format > kFormat ? "; run a newer raftkv-server"
                         : "; run the raftkv-server that wrote it, or start with an empty "
                           "directory"));
  }
  if (size != kStateNumbers * 8) return damaged;
  state->applied = {.term = Fixed64(&record[8]), .index = Fixed64(&record[16])};
  state->revision = static_cast<Revision>(Fixed64(&record[24]));
  state->compacted = static_cast<Revision>(Fixed64(&record[32]));
  state->digest = Fixed64(&record[40]);
  state->compaction_done = static_cast<Revision>(Fixed64(&record[48]));
  state->compaction_next = {static_cast<Revision>(Fixed64(&record[56])),
                            static_cast<uint32_t>(Fixed64(&record[64]))};
  return absl::OkStatus();
}

std::string StoreIdKey(raft::MemberId member) {
  std::string key(1, mvcc::kStoreIdTable);
  PutBigEndian64(&key, member);
  return key;
}

class PinnedState final : public StateSnapshot {
 public:
  PinnedState(std::shared_ptr<const View> view, const State& state)
      : view_(std::move(view)), state_(state) {}

  Revision revision() const override { return state_.revision; }
  Revision compacted_revision() const override { return state_.compacted; }
  raft::EntryId applied() const override { return state_.applied; }
  absl::Status Range(const etcdserverpb::RangeRequest& request, const ReadBudget& budget,
                     etcdserverpb::RangeResponse* response) const override {
    mvcc::Budget left(budget);
    return mvcc::Range(read_state(), request, &left, response);
  }
  absl::Status Txn(const etcdserverpb::TxnRequest& request, const ReadBudget& budget,
                   etcdserverpb::TxnResponse* response) const override {
    if (absl::Status s = mvcc::Check(request, INT64_MAX); !s.ok()) return s;
    CHECK(mvcc::IsReadOnly(request)) << "what may change something goes through the log";
    mvcc::Budget left(budget);
    return mvcc::ReadOnlyTxn(read_state(), request, &left, response);
  }
  absl::StatusOr<KvHash> HashKv(Revision revision,
                                const std::function<bool()>& give_up) const override {
    if (absl::Status s = mvcc::CheckRevision(read_state(), revision); !s.ok()) return s;
    if (revision <= 0) revision = state_.revision;
    mvcc::Budget budget({.give_up = give_up});
    const uint32_t hash = mvcc::HashHistory(*view_, state_.compacted, revision, &budget);
    if (budget.over()) return budget.status();
    return KvHash{.hash = hash, .compact_revision = state_.compacted, .hash_revision = revision};
  }
  absl::StatusOr<uint32_t> Hash(const std::function<bool()>& give_up) const override {
    mvcc::Budget budget({.give_up = give_up});
    std::string all;
    PutFixed32(&all, mvcc::HashHistory(*view_, state_.compacted, state_.revision, &budget));
    if (budget.over()) return budget.status();
    PutFixed64(&all, static_cast<uint64_t>(state_.revision));
    PutFixed64(&all, static_cast<uint64_t>(state_.compacted));
    const std::unique_ptr<Iterator> it = view_->NewIterator(kStoreIdsEnd);
    for (it->Seek(kStoreIdsBegin); it->valid(); it->Next())
      all.append(it->key()).append(it->value());
    return Crc32c(all);
  }

 private:
  mvcc::ReadState read_state() const { return {*view_, state_.revision, state_.compacted}; }

  const std::shared_ptr<const View> view_;
  const State state_;
};

}  // namespace

struct StateMachine::Rep {
  explicit Rep(std::unique_ptr<Engine> e)
      : engine(std::move(e)), writer(*engine, &batch, &state.digest) {}

  absl::Status Load();
  bool Visit(const proto::Command& command, mvcc::Budget* budget);
  void ApplyCommand(raft::Index index, proto::Command command, ApplyResult* result);
  absl::Status ApplyOp(raft::Index index, const proto::Command& command,
                       proto::CommandResponse* response);
  absl::Status Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);
  absl::Status DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                           etcdserverpb::DeleteRangeResponse* response);
  absl::Status Txn(const etcdserverpb::TxnRequest& request, etcdserverpb::TxnResponse* response);
  absl::Status Compact(const etcdserverpb::CompactionRequest& request);
  absl::Status RecordStoreId(const proto::RecordStoreId& request);
  void CompactBatch(int64_t* events_left);
  std::shared_ptr<const StateSnapshot> Snapshot();
  void Write();
  void WriteBatchOut();

  const std::unique_ptr<Engine> engine;
  State state;
  WriteBatch batch;
  mvcc::Writer writer;
  std::map<raft::MemberId, std::string> store_ids;
  Published<State, StateSnapshot> saved;  // as of the last written batch

  // Flushes on their way: survived once the engine's survived() reaches `position`.
  struct PendingFlush {
    uint64_t position;
    raft::EntryId applied;
  };
  std::deque<PendingFlush> flushes;
  raft::EntryId persisted;
  uint64_t bytes_since_flush = 0;
  uint64_t entries_since_flush = 0;
  int64_t events_since_step = 0;
};

StateMachine::StateMachine(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
StateMachine::~StateMachine() = default;

absl::StatusOr<std::unique_ptr<StateMachine>> StateMachine::Open(std::unique_ptr<Engine> engine) {
  auto rep = std::make_unique<Rep>(std::move(engine));
  if (absl::Status status = rep->Load(); !status.ok()) return status;
  return std::unique_ptr<StateMachine>(new StateMachine(std::move(rep)));
}

absl::Status StateMachine::Rep::Load() {
  const std::string state_key = kStateKey;
  bool found = false;
  absl::Status status =
      engine->Scan(state_key, state_key + '\0', [&](std::string_view, std::string_view value) {
        found = true;
        return DecodeState(value, &state);
      });
  if (!status.ok()) return status;
  bool empty = true;
  status = engine->Scan({}, {}, [&](std::string_view, std::string_view) {
    empty = false;
    return absl::CancelledError();  // one is enough
  });
  if (!absl::IsCancelled(status) && !status.ok()) return status;
  if (!found && !empty) return absl::DataLossError("state machine: data but no state record");
  status =
      engine->Scan(kStoreIdsBegin, kStoreIdsEnd, [&](std::string_view key, std::string_view value) {
        if (key.size() != 9 || value.size() != kStoreIdBytes) {
          return absl::DataLossError("state machine: a store id is damaged");
        }
        store_ids[BigEndian64(&key[1])] = std::string(value);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (status = writer.Load(); !status.ok()) return status;
  persisted = state.applied;
  if (RAFTKV_MUTANT("compacted-forgotten-at-restart")) state.compacted = state.compaction_done;
  if (RAFTKV_MUTANT("apply-twice-after-restart") && state.applied.index > 0) --state.applied.index;
  saved.Publish(state);
  return absl::OkStatus();
}

std::vector<ApplyResult> StateMachine::Apply(absl::Span<const raft::Entry> entries,
                                             int64_t visited_keys_max) {
  Rep& rep = *rep_;
  std::vector<ApplyResult> results(entries.size());
  mvcc::Budget budget({.visited_keys_max = visited_keys_max});
  size_t answer_bytes = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    const raft::Entry& entry = entries[i];
    ApplyResult& result = results[i];
    if (entry.id.index > rep.state.applied.index) {
      CHECK_EQ(entry.id.index, rep.state.applied.index + 1) << "entries are applied in order";
      if (entry.type == raft::EntryType::kCommand) {
        proto::Command command;
        CHECK(ParseCommand(entry.payload.view(), &command))
            << "entry " << entry.id.index << " is not a command";
        if (visited_keys_max != INT64_MAX && !rep.Visit(command, &budget)) {
          if (RAFTKV_MUTANT("large-entry-passed-over")) rep.state.applied = entry.id;
          results.resize(i);
          break;
        }
        rep.ApplyCommand(entry.id.index, std::move(command), &result);
      }
      rep.state.applied = entry.id;
      rep.state.digest = HashMix(HashMix(rep.state.digest, entry.id.index),
                                 static_cast<uint64_t>(rep.state.revision));
      ++rep.entries_since_flush;
      if (rep.batch.bytes() > kBatchBytes) rep.WriteBatchOut();
    }
    result.revision = rep.state.revision;
    answer_bytes += result.response.ByteSizeLong();
    if (answer_bytes > kAnswerBytes) results.resize(i + 1);
  }
  rep.WriteBatchOut();
  return results;
}

bool StateMachine::Rep::Visit(const proto::Command& command, mvcc::Budget* budget) {
  if (command.has_txn()) return mvcc::Visit(&writer, command.txn(), budget);
  if (command.has_delete_range()) return mvcc::Visit(&writer, command.delete_range(), budget);
  if (command.has_put() && budget->Visit()) writer.HeadOf(command.put().key(), budget);
  return !budget->over();
}

void StateMachine::Rep::ApplyCommand(raft::Index index, proto::Command command,
                                     ApplyResult* result) {
  result->origin = std::move(*command.mutable_origin());
  writer.BeginEntry(state.revision + 1);
  result->status = ApplyOp(index, command, &result->response);
  if (!result->status.ok()) {
    CHECK(!writer.changed()) << "entry " << index << " failed halfway: " << result->status;
    result->response.Clear();
    return;
  }
  if (writer.changed()) ++state.revision;
  events_since_step += writer.changes();
  switch (result->response.op_case()) {
    case proto::CommandResponse::kPut:
      result->response.mutable_put()->mutable_header()->set_revision(state.revision);
      break;
    case proto::CommandResponse::kDeleteRange:
      result->response.mutable_delete_range()->mutable_header()->set_revision(state.revision);
      break;
    case proto::CommandResponse::kTxn:
      result->response.mutable_txn()->mutable_header()->set_revision(state.revision);
      break;
    case proto::CommandResponse::kCompaction:
      result->response.mutable_compaction()->mutable_header()->set_revision(state.revision);
      break;
    case proto::CommandResponse::OP_NOT_SET:
      break;
  }
}

absl::Status StateMachine::Rep::ApplyOp(raft::Index index, const proto::Command& command,
                                        proto::CommandResponse* response) {
  switch (command.op_case()) {
    case proto::Command::kPut:
      return Put(command.put(), response->mutable_put());
    case proto::Command::kDeleteRange:
      return DeleteRange(command.delete_range(), response->mutable_delete_range());
    case proto::Command::kTxn:
      return Txn(command.txn(), response->mutable_txn());
    case proto::Command::kCompaction:
      response->mutable_compaction();
      return Compact(command.compaction());
    case proto::Command::kRecordStoreId:
      return RecordStoreId(command.record_store_id());
    case proto::Command::OP_NOT_SET:
      break;
  }
  // Only known commands are proposed; a newer leader's would fork this member's state.
  LOG(FATAL) << "entry " << index << ": unknown command " << command.op_case();
}

absl::Status StateMachine::Rep::Put(const etcdserverpb::PutRequest& request,
                                    etcdserverpb::PutResponse* response) {
  if (absl::Status status = mvcc::Check(request); !status.ok()) return status;
  // There are no leases yet, so none can be found.
  if (request.lease() != 0) return absl::NotFoundError("requested lease not found");
  if ((request.ignore_value() || request.ignore_lease()) &&
      !writer.HeadOf(request.key()).exists()) {
    return absl::InvalidArgumentError("key not found");
  }
  writer.Put(request, response);
  return absl::OkStatus();
}

absl::Status StateMachine::Rep::DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                                            etcdserverpb::DeleteRangeResponse* response) {
  if (absl::Status status = mvcc::Check(request); !status.ok()) return status;
  mvcc::EntryBudget budget;
  absl::Status status = writer.CheckDelete(request, state.compacted, &budget);
  if (!status.ok()) return status;
  writer.DeleteRange(request, response);
  return absl::OkStatus();
}

absl::Status StateMachine::Rep::Txn(const etcdserverpb::TxnRequest& request,
                                    etcdserverpb::TxnResponse* response) {
  // How many operations it may have is the edge's to say, a setting.
  if (absl::Status s = mvcc::Check(request, INT64_MAX); !s.ok()) return s;
  const Revision compacted =
      RAFTKV_MUTANT("txn-asks-the-physical-compaction") ? state.compaction_done : state.compacted;
  return mvcc::Txn({writer.view(), state.revision, compacted}, &writer, request, response);
}

// Takes effect at once: older revisions cannot be read any more. What they alone needed goes later
// (CompactStep).
absl::Status StateMachine::Rep::Compact(const etcdserverpb::CompactionRequest& request) {
  if (request.revision() <= (RAFTKV_MUTANT("compact-asks-the-physical-compaction")
                                 ? state.compaction_done
                                 : state.compacted))
    return mvcc::Compacted();
  if (request.revision() > state.revision) return mvcc::FutureRevision();
  if (state.compaction_done == state.compacted) events_since_step = 0;  // there was nothing to do
  state.compacted = request.revision();
  // A step may have stopped amid the events of the revision that was the last: they may all go now.
  state.compaction_next.sub = 0;
  state.digest = HashMix(state.digest, static_cast<uint64_t>(state.compacted));
  return absl::OkStatus();
}

// The first directory that a member was seen with is the member's; another one is another member.
absl::Status StateMachine::Rep::RecordStoreId(const proto::RecordStoreId& request) {
  if (request.store_id().size() != kStoreIdBytes) {
    return absl::InvalidArgumentError("a store id has 16 bytes");
  }
  const auto [known, added] = store_ids.emplace(request.member_id(), request.store_id());
  if (!added) {
    if (known->second == request.store_id()) return absl::OkStatus();
    return absl::FailedPreconditionError("the member is known with another store id");
  }
  batch.Put(StoreIdKey(request.member_id()), request.store_id());
  state.digest = Hash64(request.store_id(), HashMix(state.digest, request.member_id()));
  return absl::OkStatus();
}

std::shared_ptr<const StateSnapshot> StateMachine::Rep::Snapshot() {
  return saved.Get([this](const State& state) {
    return std::make_shared<const PinnedState>(engine->NewView(), state);
  });
}

void StateMachine::Rep::Write() {
  Snapshot();  // for whoever asks while the engine writes
  engine->Write(batch, /*sync=*/false);
  batch.Clear();
  saved.Publish(state);
}

void StateMachine::Rep::WriteBatchOut() {
  writer.CompleteBatch();
  if (RAFTKV_MUTANT("applied-index-outside-the-batch")) {
    WriteBatch ahead;
    ahead.Put(kStateKey, EncodeState(state));
    engine->Write(ahead, /*sync=*/false);
    engine->Flush();
  } else {
    batch.Put(kStateKey, EncodeState(state));
  }
  bytes_since_flush += batch.bytes();
  Write();
  writer.EndBatch();
  if (!batch.empty()) Write();
}

raft::EntryId StateMachine::applied() const { return rep_->state.applied; }
Revision StateMachine::revision() const { return rep_->state.revision; }
uint64_t StateMachine::digest() const { return rep_->state.digest; }

raft::EntryId StateMachine::persisted_applied() const {
  Rep& rep = *rep_;
  const uint64_t survived = rep.flushes.empty() ? 0 : rep.engine->survived();
  while (!rep.flushes.empty() && rep.flushes.front().position <= survived) {
    rep.persisted = rep.flushes.front().applied;
    rep.flushes.pop_front();
  }
  return rep.persisted;
}

std::shared_ptr<const StateSnapshot> StateMachine::Snapshot() const { return rep_->Snapshot(); }

std::map<raft::MemberId, std::string> StateMachine::store_ids() const { return rep_->store_ids; }

void StateMachine::MaybeFlush() {
  Rep& rep = *rep_;
  if (rep.bytes_since_flush < kFlushBytes && rep.entries_since_flush < kFlushEntries) return;
  persisted_applied();
  if (!rep.flushes.empty()) return;  // one at a time: a slow disk must not pile them up
  StartFlush();
}

void StateMachine::StartFlush() {
  Rep& rep = *rep_;
  rep.bytes_since_flush = 0;
  rep.entries_since_flush = 0;
  rep.flushes.push_back({rep.engine->written(), rep.state.applied});
  rep.engine->StartFlush();
}

void StateMachine::Flush() {
  Rep& rep = *rep_;
  rep.bytes_since_flush = 0;
  rep.entries_since_flush = 0;
  rep.engine->Flush();
  rep.flushes.clear();
  rep.persisted = rep.state.applied;
}

Revision StateMachine::compacted_revision() const { return rep_->state.compacted; }
Revision StateMachine::compaction_done() const { return rep_->state.compaction_done; }

void StateMachine::CompactStep(int64_t events_max) {
  if (!compacting()) return;
  int64_t left =
      std::min(events_max, std::clamp(2 * rep_->events_since_step, kStepEventsMin, kStepEventsMax));
  // What a step cannot deal with is left to the next ones.
  rep_->events_since_step = std::max<int64_t>(0, rep_->events_since_step - left / 2);
  while (left > 0 && compacting()) rep_->CompactBatch(&left);
}

void StateMachine::Rep::CompactBatch(int64_t* events_left) {
  CHECK(batch.empty());
  const bool done = mvcc::CompactSome(*engine, state.compacted, events_left, &state.compaction_next,
                                      &batch, &writer);
  // On the way, everything before the next event's revision is as if that were compacted.
  state.compaction_done =
      done ? state.compacted : std::max(state.compaction_done, state.compaction_next.revision - 1);
  if (RAFTKV_MUTANT("compaction-saves-its-own-revision")) {
    batch.Put(kStateKey, [s = state]() mutable {
      s.revision = s.compaction_done;
      return EncodeState(s);
    }());
    engine->Write(batch, /*sync=*/false);
    batch.Clear();
  }
  if (RAFTKV_MUTANT("compaction-cursor-outside-the-batch")) {
    WriteBatch ahead;
    ahead.Put(kStateKey, EncodeState(state));
    engine->Write(ahead, /*sync=*/false);
  }
  WriteBatchOut();
}

void StateMachine::StartDefragment() { rep_->engine->StartReclaim(); }

uint64_t StateMachine::DiskBytes() const { return rep_->engine->DiskBytes(); }
bool StateMachine::WouldStall() const { return rep_->engine->WouldStall(); }

}  // namespace raftkv
