// Compares the real state machine with the model, on both engines: random commands and reads,
// physical compaction, and restarts that lose everything unflushed and replay the log.
// RAFTKV_SEED=n repeats a run.

#include "tests/model/model.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "storage/engine/memory_engine.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/range_parts.h"
#include "storage/state_machine.h"
#include "storage/tables/tables.h"
#include "tests/model/random_requests.h"
#include "tests/model/small_rules.h"
#include "tests/storage/rocks.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

constexpr int kOperations = 100'000;
constexpr int kRestarts = 210;

uint64_t Seed() {
  const char* given = std::getenv("RAFTKV_SEED");
  if (given != nullptr) return std::strtoull(given, nullptr, 10);
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

// Engines on a disk that loses what was not flushed at a crash.
class MemoryDiskRig {
 public:
  std::unique_ptr<Engine> Open() {
    return std::make_unique<MemoryEngine>(disk_, Durability::kFlushed);
  }
  // Some of the unflushed batches may have survived, as when a write buffer fills up.
  void Crash(RandomRequests* random) {
    disk_->Crash(
        static_cast<uint64_t>(random->Below(static_cast<int64_t>(disk_->batches_at_risk()) + 1)));
  }

 private:
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
};

class RocksDiskRig {
 public:
  std::unique_ptr<Engine> Open() { return OpenRocks(dir_ / "sm"); }
  void Crash(RandomRequests*) {
  }  // closing the engine already loses it: there is no write-ahead log and no flush at the end

 private:
  TempDir dir_;
};

std::string Text(const google::protobuf::Message& m) { return m.ShortDebugString(); }

absl::StatusOr<std::unique_ptr<StateMachine>> OpenInMemory(const StateMachineOptions& options) {
  return StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed),
      options);
}

// The cluster version can be raised after this many entries. Other attempts to raise it fail.
constexpr size_t kEntriesOfVersion1 = 5'000;
constexpr size_t kEntriesOfALaterVersion = 3'000;

// The state machine under test, which is restarted many times, and another one (sleeper_) that
// applies the same log, is never restarted, and does little of its physical compaction.
template <typename Rig>
class Trial {
 public:
  Trial(uint64_t seed, int operations, int restarts, int64_t many_keys = 0,
        StateMachineOptions options = {})
      : options_(std::move(options)),
        operations_(operations),
        fill_(many_keys / 3),
        restarts_wanted_(restarts),
        random_(seed, many_keys),
        model_(options_.rules_of) {
    Open();
    sleeper_ = *OpenInMemory(options_);
  }

  void Everything() {
    for (int done = 0; done < operations_ && !testing::Test::HasFailure();) {
      if (random_.OneIn(20)) Pin();
      if (random_.OneIn(10)) {
        done += ApplySome();
      } else {
        Read();
        done += 1;
      }
      if (random_.OneIn(5)) Compact(state_.get(), 1);
      if (random_.OneIn(700)) Compact(sleeper_.get(), INT64_MAX);
      if (random_.OneIn(500)) CheckHashes();
      if (random_.OneIn(200)) state_->StartFlush();
      if (random_.OneIn(1000)) state_->Flush();
      state_->MaybeFlush();
      if (done / (operations_ / restarts_wanted_) > restarts_) Restart();
    }
    Restart();
    CheckLetters();
    EXPECT_GE(restarts_, restarts_wanted_);
    EXPECT_GT(replayed_, 100u) << "restarts must lose something, or they prove nothing";
    EXPECT_LT(same_hashes_, 2) << "a hash that does not depend on what is hashed";
    for (const auto& [what, times] : counts_) {
      std::cout << "  " << times << " " << what << "\n";
      if (operations_ == kOperations && !testing::Test::HasFailure()) {
        EXPECT_GT(times, 20) << what;
      }
    }
    std::cout << "  " << log_.size() << " entries, revision " << model_.revision() << ", compacted "
              << model_.now().compacted << ", " << restarts_ << " restarts replayed " << replayed_
              << " entries, " << hashes_.size() << " hashes\n";
  }

 private:
  void Open() {
    absl::StatusOr<std::unique_ptr<StateMachine>> state = StateMachine::Open(rig_.Open(), options_);
    ASSERT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
  }

  // Each record in the engine belongs to one table: two tables never read each other's records.
  void CheckLetters() {
    state_->Flush();
    state_.reset();
    const absl::Status status =
        rig_.Open()->Scan({}, {}, [](std::string_view key, std::string_view) {
          EXPECT_EQ(OwnersOf(key.at(0)), 1) << "records begin with " << key[0];
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
    Open();
  }

  ClusterVersion NextVersion() const {
    if (log_.size() < kEntriesOfVersion1) return kFirstVersion;
    const size_t later = (log_.size() - kEntriesOfVersion1) / kEntriesOfALaterVersion;
    return std::min<ClusterVersion>(kFirstVersion + 1 + later, kNewestVersion);
  }

  // A few entries in one batch, so that later ones must see what earlier ones did.
  int ApplySome() {
    std::vector<raft::Entry> entries;
    std::vector<Model::Answer> answers;
    const int count = 1 + static_cast<int>(random_.Below(20));
    for (int i = 0; i < count; ++i) {
      const raft::Index index = log_.size() + 1;
      if (random_.OneIn(50)) {
        log_.push_back({{.term = 1, .index = index}, raft::EntryType::kNoOp, {}});
        answers.emplace_back();
        answers.back().revision = model_.revision();
      } else {
        proto::Command command;
        if (static_cast<int64_t>(log_.size()) < fill_) {
          command = PutCommand("k" + std::to_string(3 * log_.size()), "v");
        } else if (random_.OneIn(300)) {
          command.mutable_set_cluster_version()->set_version(NextVersion());
        } else if (random_.OneIn(100)) {
          command = random_.ChangeMembers(model_);
        } else if (random_.OneIn(model_.alarms().empty() ? 60 : 10)) {
          command = random_.AlarmCommand(model_);
        } else if (random_.OneIn(8)) {
          command = random_.LeaseCommand(model_);
        } else {
          command = random_.Command(model_.now());
        }
        if (random_.OneIn(4)) Bind(&command);
        const proto::Session& session = command.session();
        if (model_.kept().contains({session.lease_id(), session.seq()}))
          ++counts_["sessions: known"];
        command.mutable_origin()->set_number(log_.size());
        log_.push_back(MakeEntry(1, index, command));
        answers.push_back(model_.Apply(command, index));
      }
      entries.push_back(log_.back());
    }
    const std::vector<ApplyResult> results = Apply(state_.get(), entries);
    const std::vector<ApplyResult> others = sleeper_->Apply(entries);
    sleeper_->Flush();
    sleeper_->TakeLeaseChanges();
    for (size_t i = 0; i < results.size(); ++i) {
      Check(entries[i], answers[i], results[i]);
      Check(entries[i], answers[i], others[i]);
      replies_.push_back(Text(results[i].response));
    }
    CheckLeases();
    CheckMembers();
    CheckAlarms();
    EXPECT_EQ(state_->digest(), sleeper_->digest());
    EXPECT_EQ(state_->compacted_revision(), model_.now().compacted);
    EXPECT_EQ(state_->cluster_version(), model_.cluster_version());
    digests_.resize(log_.size());
    digests_.back() = state_->digest();
    return count;
  }

  // Binds the command to a session, or replaces it by one that was sent before.
  void Bind(proto::Command* command) {
    if (bound_.has_session() && random_.OneIn(3)) {
      *command = bound_;
    } else if (command->has_put() || command->has_delete_range() || command->has_txn() ||
               command->has_lease_revoke() || random_.OneIn(10)) {
      random_.Bind(model_, command);
      if (!random_.OneIn(4)) bound_ = *command;
    }
  }

  // The member must learn of each change of a lease.
  void CheckLeases() {
    const LeaseChanges changes = state_->TakeLeaseChanges();
    if (changes.all) leases_.clear();
    for (const LeaseChange& change : changes.changes) {
      if (change.ttl == 0) {
        ASSERT_EQ(leases_.erase(change.id), 1u);
      } else {
        leases_[change.id] = {.ttl = change.ttl, .renewed = change.renewed};
      }
    }
    ASSERT_EQ(leases_, model_.leases());
  }

  void CheckMembers() {
    const Members& found = state_->members();
    ASSERT_EQ(found.all().size(), model_.members().size());
    for (const auto& [id, member] : model_.members()) {
      ASSERT_NE(found.Find(id), nullptr);
      ASSERT_EQ(Text(found.Find(id)->info), Text(member.info));
      ASSERT_EQ(found.Find(id)->votes, member.votes);
      ASSERT_EQ(found.Find(id)->started, member.started);
    }
    for (const uint64_t id : model_.removed_members()) ASSERT_TRUE(found.removed(id));
    const absl::StatusOr<Members> stored = state_->Snapshot()->ReadMembers();
    ASSERT_TRUE(stored.ok());
    ASSERT_EQ(stored->configuration(), found.configuration());
  }

  void CheckAlarms() {
    Model::Alarms found;
    for (const auto& [id, alarm] : state_->alarms().all()) {
      found[{id.type, id.member}] = alarm.by_member;
    }
    ASSERT_EQ(found, model_.alarms());
    const absl::StatusOr<Alarms> stored = state_->Snapshot()->ReadAlarms();
    ASSERT_TRUE(stored.ok());
    ASSERT_EQ(*stored, state_->alarms());
  }

  void CheckTimeToLive(const StateSnapshot& snapshot) {
    etcdserverpb::LeaseTimeToLiveRequest request;
    request.set_id(random_.LeaseId());
    request.set_keys(true);
    etcdserverpb::LeaseTimeToLiveResponse found, expected;
    ASSERT_TRUE(snapshot.LeaseTimeToLive(request, Limits(), &found).ok());
    expected.mutable_header()->set_revision(model_.revision());
    expected.set_id(request.id());
    const auto lease = model_.leases().find(request.id());
    expected.set_ttl(lease == model_.leases().end() ? -1 : 0);
    if (expected.ttl() == 0) {
      expected.set_grantedttl(lease->second.ttl);
      for (const std::string& key : model_.Attached(request.id())) expected.add_keys(key);
    }
    ASSERT_EQ(Text(found), Text(expected));
    if (found.keys_size() > 0) ++counts_["leases with keys"];
  }

  // Applies, sometimes with a limit of steps. Entries beyond the limit are then applied without
  // one.
  std::vector<ApplyResult> Apply(StateMachine* state, absl::Span<const raft::Entry> entries) {
    if (!random_.OneIn(4)) return state->Apply(entries);
    const raft::Index before = state->applied().index;
    std::vector<ApplyResult> results = state->Apply(entries, {.steps_max = random_.Below(30)});
    EXPECT_EQ(state->applied().index,
              results.empty() ? before : std::max(before, entries[results.size() - 1].id.index));
    if (results.size() == entries.size()) return results;
    ++counts_["batches cut by a limit of keys"];
    Compact(state, 1);
    for (ApplyResult& rest : state->Apply(entries.subspan(results.size()))) {
      results.push_back(std::move(rest));
    }
    return results;
  }

  void Check(const raft::Entry& entry, const Model::Answer& expected, const ApplyResult& actual) {
    proto::Command command;
    command.ParseFromString(std::string(entry.payload.view()));
    ASSERT_EQ(actual.status, expected.status) << Text(command);
    ASSERT_EQ(actual.revision, expected.revision) << Text(command);
    ASSERT_EQ(Text(actual.response), Text(expected.response)) << Text(command);
    ASSERT_EQ(actual.origin.number(), command.origin().number());
    if (command.has_session()) {
      CountSession(expected);
      if (!expected.response.decided()) return;
    }
    if (command.has_change_alarm()) Count("changes of alarms", expected.status);
    if (expected.status.message() == "mvcc: database space exceeded")
      ++counts_["denied by NOSPACE"];
    if (expected.status.message() == "corrupt cluster") ++counts_["denied by CORRUPT"];
    if (command.has_change_members()) Count("changes of the members", expected.status);
    if (command.has_txn()) Count("transactions", expected.status);
    if (command.has_compaction()) Count("compactions", expected.status);
    if (actual.status.ok() && command.has_lease_revoke()) ++counts_["revoked leases"];
    if (actual.status.ok() && command.has_expire_leases()) ++counts_["expiries of leases"];
  }

  void CountSession(const Model::Answer& answer) {
    const std::string text(answer.status.message());
    for (const char* rule : {"session expired", "was acknowledged", "used for another request",
                             "answers that were not acknowledged", "upgrade all members"}) {
      if (text.find(rule) != std::string::npos) ++counts_[std::string("sessions: ") + rule];
    }
    if (!answer.response.decided()) return;
    ++counts_[answer.status.ok() ? "sessions: answers" : "sessions: errors"];
    if (answer.response.reduced() && options_.rules_of != RulesOf)
      ++counts_["sessions: reduced answers"];
  }

  void Count(const std::string& what, const absl::Status& status) {
    if (absl::IsDataLoss(status)) return;  // counted as denied by CORRUPT
    ++counts_[what + (status.ok() ? "" : ": " + std::string(status.message()))];
  }

  // --- reads

  void Pin() {
    pinned_ = (random_.OneIn(4) ? sleeper_ : state_)->Snapshot();
    pinned_at_ = model_.now();
  }

  // Reads the newest state, or one that was pinned earlier.
  void Read() {
    const bool pinned = pinned_ != nullptr && random_.OneIn(4);
    const auto snapshot = pinned ? pinned_ : state_->Snapshot();
    const Model::Moment at = pinned ? pinned_at_ : model_.now();
    if (!pinned && random_.OneIn(10)) CheckTimeToLive(*snapshot);
    if (random_.OneIn(4)) CheckParts();
    if (!random_.OneIn(8)) {
      CheckRange(*snapshot, at, random_.Range(at));
      return;
    }
    const etcdserverpb::TxnRequest request = random_.ReadOnlyTxn(at);
    etcdserverpb::TxnResponse expected, actual;
    const absl::Status expected_status = model_.Txn(request, at, &expected);
    const absl::Status actual_status = snapshot->Txn(request, Limits(), &actual);
    ASSERT_EQ(actual_status, expected_status) << Text(request);
    Count("reading transactions", expected_status);
    if (expected_status.ok()) {
      ASSERT_EQ(Text(actual), Text(expected)) << Text(request);
    }
  }

  void CheckRange(const StateSnapshot& snapshot, const Model::Moment& at,
                  const RangeRequest& request) {
    RangeResponse expected, actual;
    const absl::Status expected_status = model_.Range(request, at, &expected);
    const absl::Status actual_status = snapshot.Range(request, Limits(), &actual);
    ASSERT_EQ(actual_status, expected_status) << Text(request);
    Count("ranges", expected_status);
    if (expected_status.ok()) {
      ASSERT_EQ(Text(actual), Text(expected)) << Text(request);
    }
  }

  // Reads one more part of a range. The merged parts are the answer of the range when the first
  // part was read, whatever was applied since.
  void CheckParts() {
    if (!parts_) {
      RangeRequest request = random_.Range(model_.now());
      request.clear_sort_order();
      request.clear_sort_target();
      request.clear_min_mod_revision();
      request.clear_max_mod_revision();
      request.clear_min_create_revision();
      request.clear_max_create_revision();
      RangeResponse expected;
      const absl::Status status = model_.Range(request, model_.now(), &expected);
      if (absl::IsInvalidArgument(status)) return;
      parts_.emplace(Parts{mvcc::RangeParts(request), status, std::move(expected), {}});
      parts_->revision = request.revision() > 0 ? request.revision() : model_.revision();
    }
    if (parts_->revision < model_.now().compacted) {
      parts_->status = absl::OutOfRangeError("mvcc: required revision has been compacted");
    }
    RangeResponse part;
    const Limits limits{.steps_max = random_.OneIn(2) ? INT64_MAX : random_.Below(30)};
    const absl::Status status =
        state_->Snapshot()->NextPart(&parts_->parts, random_.Below(1'000), limits, &part);
    ASSERT_EQ(status, parts_->status);
    parts_->merged.MergeFrom(part);
    if (status.ok() && !parts_->parts.done()) {
      ASSERT_FALSE(part.has_header() || part.more() || part.count() != 0) << Text(part);
      ++counts_["parts of ranges"];
      return;
    }
    Count("ranges in parts", status);
    if (status.ok()) ASSERT_EQ(Text(parts_->merged), Text(parts_->expected));
    parts_.reset();
  }

  void CheckContents(int64_t revision) {
    RangeRequest all;
    all.set_key(std::string(1, '\0'));
    all.set_range_end(std::string(1, '\0'));
    all.set_revision(revision);
    CheckRange(*state_->Snapshot(), model_.now(), all);
  }

  // Equal histories must have equal hashes, whatever physical compaction has left. Different
  // histories must have different hashes.
  void CheckHashes() {
    ASSERT_EQ(*state_->Snapshot()->Hash(), *sleeper_->Snapshot()->Hash());
    for (int64_t revision : {int64_t{0}, random_.Revision(model_.now()), model_.revision() + 1}) {
      uint64_t known = 0;
      const absl::Status expected = model_.HashOfHistory(model_.now(), revision, &known);
      const auto hash = state_->Snapshot()->HashKv(revision);
      const auto other = sleeper_->Snapshot()->HashKv(revision);
      ASSERT_EQ(hash.status(), expected) << revision;
      ASSERT_EQ(other.status(), expected) << revision;
      if (!expected.ok()) continue;
      ASSERT_EQ(hash->hash, other->hash) << revision;
      ASSERT_EQ(hash->compact_revision, model_.now().compacted);
      ASSERT_EQ(hash->hash_revision, revision > 0 ? revision : model_.revision());
      const auto [found, first] = hashes_.emplace(hash->hash, known);
      if (!first && found->second != known) ++same_hashes_;
    }
  }

  // --- compaction and restarts

  void Compact(StateMachine* state, int64_t steps) {
    for (; steps > 0 && state->compacting(); --steps) state->CompactStep(1 + random_.Below(50));
  }

  void Restart() {
    ++restarts_;
    const raft::EntryId persisted = state_->persisted_applied();
    pinned_.reset();
    state_.reset();
    rig_.Crash(&random_);
    Open();
    ASSERT_GE(state_->applied(), persisted) << "what was reported as persisted is lost";
    ASSERT_LE(state_->applied().index, log_.size());
    // The replay starts below the applied index: those entries must be skipped.
    raft::Index next = state_->applied().index - std::min<raft::Index>(state_->applied().index, 3);
    while (next < log_.size()) {
      const size_t count =
          std::min<size_t>(1 + static_cast<size_t>(random_.Below(200)), log_.size() - next);
      const raft::Index before = state_->applied().index;
      const std::vector<ApplyResult> results =
          Apply(state_.get(), absl::MakeSpan(&log_[next], count));
      for (size_t i = 0; i < count; ++i) {
        if (next + i + 1 <= before) continue;
        ++replayed_;
        ASSERT_EQ(Text(results[i].response), replies_[next + i]) << "entry " << next + i + 1;
      }
      next += count;
      if (random_.OneIn(3)) Compact(state_.get(), 2);
      if (state_->applied().index == next && digests_[next - 1] != 0) {
        ASSERT_EQ(state_->digest(), digests_[next - 1]) << next;
      }
    }
    ASSERT_EQ(state_->revision(), model_.revision());
    ASSERT_EQ(state_->compacted_revision(), model_.now().compacted);
    ASSERT_EQ(state_->cluster_version(), model_.cluster_version());
    CheckLeases();
    CheckMembers();
    CheckAlarms();
    CheckContents(0);
    for (int i = 0; i < 3; ++i) CheckContents(random_.Revision(model_.now()));
    if (restarts_ % 4 == 0) CheckHashes();
  }

  const StateMachineOptions options_;
  const int operations_;
  const int64_t fill_;  // the first entries put this many keys
  const int restarts_wanted_;
  Rig rig_;
  RandomRequests random_;
  Model model_;
  std::unique_ptr<StateMachine> state_;
  std::unique_ptr<StateMachine> sleeper_;
  std::shared_ptr<const StateSnapshot> pinned_;
  Model::Moment pinned_at_;
  struct Parts {
    mvcc::RangeParts parts;
    absl::Status status;  // the expected one
    RangeResponse expected;
    RangeResponse merged;
    int64_t revision = 0;
  };
  std::optional<Parts> parts_;              // a range that is being read in parts
  std::map<int64_t, Model::Lease> leases_;  // as the member would know them
  proto::Command bound_;                    // was sent in a session, and may be sent again
  std::vector<raft::Entry> log_;
  std::vector<std::string> replies_;
  std::vector<uint64_t> digests_;  // by entry; 0 if no batch ended there
  int restarts_ = 0;
  uint64_t replayed_ = 0;
  std::map<std::string, int> counts_;    // how often each kind of verdict was met
  std::map<uint32_t, uint64_t> hashes_;  // the state machine's hash -> the model's hash
  int same_hashes_ = 0;
};

TEST(StateMachineModel, MemoryEngineAnswersAsTheModel) {
  const uint64_t seed = Seed();
  std::cout << "RAFTKV_SEED=" << seed << "\n";
  Trial<MemoryDiskRig>(seed, kOperations, kRestarts).Everything();
}

TEST(StateMachineModel, RocksEngineAnswersAsTheModel) {
  const uint64_t seed = Seed();
  std::cout << "RAFTKV_SEED=" << seed << "\n";
  Trial<RocksDiskRig>(seed, kOperations, kRestarts).Everything();
}

// Enough keys for several blocks of counts (storage/mvcc/counts.h).
TEST(StateMachineModel, ManyKeysAreCountedAsByTheModel) {
  const uint64_t seed = Seed();
  std::cout << "RAFTKV_SEED=" << seed << "\n";
  Trial<MemoryDiskRig>(seed, /*operations=*/12'000, /*restarts=*/10, /*many_keys=*/9000)
      .Everything();
}

// With these rules many entries reach a limit, and the two versions give different verdicts.
TEST(StateMachineModel, EntriesAreJudgedByTheRulesOfTheVersionInForce) {
  const uint64_t seed = Seed();
  std::cout << "RAFTKV_SEED=" << seed << "\n";
  Trial<MemoryDiskRig>(seed, /*operations=*/40'000, /*restarts=*/30, /*many_keys=*/0,
                       SmallOptions())
      .Everything();
}

}  // namespace
}  // namespace raftkv
