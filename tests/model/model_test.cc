// The real state machine against the oracle, on both engines: random commands and reads, and
// restarts which drop everything unflushed and replay the log. RAFTKV_SEED=n repeats a run.

#include "tests/model/model.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "storage/memory_engine.h"
#include "storage/rocks_engine.h"
#include "storage/state_machine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

constexpr int kOperations = 100'000;
constexpr int kRestarts = 220;

uint64_t Seed() {
  const char* given = std::getenv("RAFTKV_SEED");
  if (given != nullptr) return std::strtoull(given, nullptr, 10);
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int Below(int n) { return static_cast<int>(engine_() % static_cast<uint64_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

// Engines on a disk that forgets what was not flushed when it is restarted.
class MemoryDiskRig {
 public:
  std::unique_ptr<Engine> Open() {
    return std::make_unique<MemoryEngine>(disk_, Durability::kFlushed);
  }
  // Some of the unflushed batches may have survived, as when a write buffer fills up.
  void Crash(Random* random) {
    disk_->Crash(
        static_cast<uint64_t>(random->Below(static_cast<int>(disk_->batches_at_risk()) + 1)));
  }

 private:
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
};

class RocksDiskRig {
 public:
  std::unique_ptr<Engine> Open() {
    RocksOptions options;
    options.dir = dir_ / "sm";
    options.durability = Durability::kFlushed;
    options.create_if_missing = true;
    absl::StatusOr<std::unique_ptr<Engine>> engine = OpenRocksEngine(options);
    CHECK(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  void Crash(Random*) {}  // closing forgets: without a log, and without a flush on the way out

 private:
  TempDir dir_;
};

std::string Text(const google::protobuf::Message& m) { return m.ShortDebugString(); }

template <typename Rig>
class Trial {
 public:
  explicit Trial(uint64_t seed) : random_(seed) { Open(); }

  void Everything() {
    for (int done = 0; done < kOperations && !testing::Test::HasFailure();) {
      if (!random_.OneIn(10)) {
        CheckRange(RandomRange());
        done += 1;
      } else {
        done += ApplySome();
      }
      if (random_.OneIn(200)) state_->StartFlush();
      if (random_.OneIn(1000)) state_->Flush();
      state_->MaybeFlush();
      if (done / (kOperations / kRestarts) > restarts_) Restart();
    }
    Restart();
    EXPECT_GE(restarts_, 200);
    EXPECT_GT(replayed_, 1000u) << "restarts must lose something, or they prove nothing";
    std::cout << "  " << log_.size() << " entries, revision " << model_.revision() << ", "
              << restarts_ << " restarts replayed " << replayed_ << " entries, " << ranges_
              << " ranges\n";
  }

 private:
  void Open() {
    absl::StatusOr<std::unique_ptr<StateMachine>> state = StateMachine::Open(rig_.Open());
    ASSERT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
  }

  std::string RandomKey() {
    static const std::string kAlphabet("\0\1ab\xff", 5);
    std::string key;
    for (int i = 1 + random_.Below(2) + random_.OneIn(20); i > 0; --i)
      key += kAlphabet[random_.Below(5)];
    return key;
  }
  std::string RandomRangeEnd() {
    switch (random_.Below(4)) {
      case 0:
        return "";
      case 1:
        return std::string(1, '\0');
      default:
        return RandomKey();
    }
  }

  proto::Command RandomCommand() {
    proto::Command command;
    command.mutable_origin()->set_number(log_.size());
    const int kind = random_.Below(100);
    if (kind < 80) {
      etcdserverpb::PutRequest& put = *command.mutable_put();
      put.set_key(random_.OneIn(200) ? "" : RandomKey());
      if (!random_.OneIn(10)) put.set_value(std::string(random_.Below(40), 'a' + random_.Below(9)));
      put.set_prev_kv(random_.OneIn(3));
      put.set_ignore_value(random_.OneIn(8));
      put.set_ignore_lease(random_.OneIn(8));
      if (put.ignore_value() && !random_.OneIn(4)) put.clear_value();
      if (random_.OneIn(20)) put.set_lease(random_.Below(3) - 1);
    } else if (kind < 98) {
      etcdserverpb::DeleteRangeRequest& del = *command.mutable_delete_range();
      del.set_key(random_.OneIn(200) ? "" : RandomKey());
      if (random_.OneIn(3)) del.set_range_end(RandomRangeEnd());
      del.set_prev_kv(random_.OneIn(2));
    } else {
      proto::RecordStoreId& record = *command.mutable_record_store_id();
      record.set_member_id(1 + random_.Below(3));
      record.set_store_id(std::string(16, static_cast<char>('a' + random_.Below(2))));
    }
    return command;
  }

  // A few entries in one batch, so that later ones must see what earlier ones did.
  int ApplySome() {
    std::vector<raft::Entry> entries;
    std::vector<Model::Answer> answers;
    const int count = 1 + random_.Below(20);
    for (int i = 0; i < count; ++i) {
      const raft::Index index = log_.size() + 1;
      if (random_.OneIn(50)) {
        log_.push_back({{.term = 1, .index = index}, raft::EntryType::kNoOp, {}});
        answers.emplace_back();
        answers.back().revision = model_.revision();
      } else {
        const proto::Command command = RandomCommand();
        log_.push_back(MakeEntry(1, index, command));
        answers.push_back(model_.Apply(command));
      }
      entries.push_back(log_.back());
    }
    const std::vector<ApplyResult> results = state_->Apply(entries);
    for (size_t i = 0; i < results.size(); ++i) {
      Check(entries[i], answers[i], results[i]);
      replies_.push_back(Text(results[i].response));
    }
    digests_.resize(log_.size());
    digests_.back() = state_->digest();
    return count;
  }

  void Check(const raft::Entry& entry, const Model::Answer& expected, const ApplyResult& actual) {
    proto::Command command;
    command.ParseFromString(std::string(entry.payload.view()));
    ASSERT_EQ(actual.status, expected.status) << Text(command);
    ASSERT_EQ(actual.revision, expected.revision) << Text(command);
    ASSERT_EQ(Text(actual.response), Text(expected.response)) << Text(command);
    ASSERT_EQ(actual.origin.number(), command.origin().number());
  }

  RangeRequest RandomRange() {
    RangeRequest request;
    request.set_key(random_.OneIn(100) ? "" : RandomKey());
    request.set_range_end(RandomRangeEnd());
    if (random_.OneIn(2)) request.set_limit(random_.Below(12) - 1);
    if (random_.OneIn(2))
      request.set_revision(random_.Below(static_cast<int>(model_.revision()) + 3) - 1);
    if (random_.OneIn(2)) {
      request.set_sort_order(static_cast<RangeRequest::SortOrder>(random_.Below(3)));
      request.set_sort_target(static_cast<RangeRequest::SortTarget>(random_.Below(5)));
    }
    if (random_.OneIn(100)) request.set_sort_order(static_cast<RangeRequest::SortOrder>(3));
    request.set_keys_only(random_.OneIn(6));
    request.set_count_only(random_.OneIn(12));
    const auto filter = [this] {
      return random_.OneIn(8) ? random_.Below(static_cast<int>(model_.revision()) + 2) : 0;
    };
    request.set_min_mod_revision(filter());
    request.set_max_mod_revision(filter());
    request.set_min_create_revision(filter());
    request.set_max_create_revision(filter());
    return request;
  }

  void CheckRange(const RangeRequest& request) {
    ++ranges_;
    RangeResponse expected, actual;
    const absl::Status expected_status = model_.Range(request, &expected);
    const absl::Status actual_status = state_->Snapshot()->Range(request, ReadBudget(), &actual);
    ASSERT_EQ(actual_status, expected_status) << Text(request);
    if (expected_status.ok()) {
      ASSERT_EQ(Text(actual), Text(expected)) << Text(request);
    }
  }

  void CheckContents(int64_t revision) {
    RangeRequest all;
    all.set_key(std::string(1, '\0'));
    all.set_range_end(std::string(1, '\0'));
    all.set_revision(revision);
    CheckRange(all);
  }

  void Restart() {
    ++restarts_;
    const raft::EntryId persisted = state_->persisted_applied();
    state_.reset();
    rig_.Crash(&random_);
    Open();
    ASSERT_GE(state_->applied(), persisted) << "what was reported as persisted is lost";
    ASSERT_LE(state_->applied().index, log_.size());
    // The replay starts below what is applied: those entries must be passed over.
    raft::Index next = state_->applied().index - std::min<raft::Index>(state_->applied().index, 3);
    while (next < log_.size()) {
      const size_t count = std::min<size_t>(1 + random_.Below(200), log_.size() - next);
      const raft::Index before = state_->applied().index;
      const std::vector<ApplyResult> results = state_->Apply(absl::MakeSpan(&log_[next], count));
      for (size_t i = 0; i < count; ++i) {
        if (next + i + 1 <= before) continue;
        ++replayed_;
        ASSERT_EQ(Text(results[i].response), replies_[next + i]) << "entry " << next + i + 1;
      }
      next += count;
      if (state_->applied().index == next && digests_[next - 1] != 0) {
        ASSERT_EQ(state_->digest(), digests_[next - 1]) << next;
      }
    }
    ASSERT_EQ(state_->revision(), model_.revision());
    CheckContents(0);
    for (int i = 0; i < 3; ++i) {
      CheckContents(1 + random_.Below(static_cast<int>(model_.revision())));
    }
  }

  Rig rig_;
  Random random_;
  Model model_;
  std::unique_ptr<StateMachine> state_;
  std::vector<raft::Entry> log_;
  std::vector<std::string> replies_;
  std::vector<uint64_t> digests_;  // after an entry, where a batch ended; else 0
  int restarts_ = 0;
  uint64_t replayed_ = 0;
  uint64_t ranges_ = 0;
};

TEST(StateMachineModel, MemoryEngineAnswersAsTheModel) {
  const uint64_t seed = Seed();
  std::cout << "RAFTKV_SEED=" << seed << "\n";
  Trial<MemoryDiskRig>(seed).Everything();
}

TEST(StateMachineModel, RocksEngineAnswersAsTheModel) {
  const uint64_t seed = Seed();
  std::cout << "RAFTKV_SEED=" << seed << "\n";
  Trial<RocksDiskRig>(seed).Everything();
}

}  // namespace
}  // namespace raftkv
