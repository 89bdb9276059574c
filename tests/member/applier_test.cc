#include "server/member/applier.h"

#include "gtest/gtest.h"
#include "proto/command.pb.h"
#include "storage/engine/memory_engine.h"

namespace raftkv {
namespace {

constexpr int kPuts = 300;

// A state machine with one key put many times, compacted at the newest revision; nothing is removed
// yet.
class ApplierTest : public testing::Test {
 protected:
  void SetUp() override {
    CommittedTask task;
    for (int i = 1; i <= kPuts; ++i) {
      proto::Command put;
      put.mutable_put()->set_key("k");
      Add(put, &task);
    }
    proto::Command compaction;
    compaction.mutable_compaction()->set_revision(1 + kPuts);
    Add(compaction, &task);
    applier_.Post(std::move(task));
    applier_.Run(SIZE_MAX);
    ASSERT_TRUE(state_machine_->compacting());
  }

  static void Add(const proto::Command& command, CommittedTask* task) {
    task->entries.push_back({.id = {.term = 1, .index = task->entries.size() + 1},
                             .type = raft::EntryType::kCommand,
                             .payload = raft::Payload(command.SerializeAsString())});
  }

  ReadDone Into(std::optional<Fate>* fate) {
    return [fate](Fate f) {
      EXPECT_FALSE(fate->has_value()) << "answered twice";
      *fate = f;
    };
  }

  void Compact(absl::Time now) { applier_.MaybeCompact(now, /*events_max=*/1); }

  const absl::Time start_ = absl::UnixEpoch();
  std::unique_ptr<StateMachine> state_machine_ =
      StateMachine::Open(
          std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed))
          .value();
  Applier applier_{state_machine_.get()};
};

TEST_F(ApplierTest, ACompactionIsAwaitedUntilItIsDoneOrUntilTheDeadline) {
  std::optional<Fate> soon, later, patient;
  applier_.WhenCompacted(1 + kPuts, start_ + absl::Seconds(2), Into(&later));
  applier_.WhenCompacted(1 + kPuts, start_ + absl::Seconds(1), Into(&soon));
  applier_.WhenCompacted(1 + kPuts, absl::InfiniteFuture(), Into(&patient));
  Compact(start_ + absl::Milliseconds(999));
  EXPECT_EQ(soon, std::nullopt);
  Compact(start_ + absl::Seconds(1));
  EXPECT_EQ(soon, Fate::kUnknownTimedOut);
  EXPECT_EQ(later, std::nullopt);
  Compact(start_ + absl::Hours(1));
  EXPECT_EQ(later, Fate::kUnknownTimedOut);
  EXPECT_EQ(patient, std::nullopt);
  ASSERT_TRUE(state_machine_->compacting());
  while (state_machine_->compacting()) Compact(start_ + absl::Hours(2));
  EXPECT_EQ(patient, Fate::kApplied);
}

TEST_F(ApplierTest, ACompactionIsNotAwaitedBeyondAStop) {
  std::optional<Fate> fate;
  applier_.WhenCompacted(1 + kPuts, absl::InfiniteFuture(), Into(&fate));
  applier_.StopWaiting();
  EXPECT_EQ(fate, Fate::kStopped);
}

// So many reads may have waited for an entry that answering all at once would hold up heartbeats.
TEST_F(ApplierTest, AnswersReadsInBoundedSteps) {
  int answered = 0;
  ReadTask reads;
  for (int i = 0; i < 10; ++i) reads.dones.push_back([&](Fate) { ++answered; });
  applier_.Post(std::move(reads));
  CommittedTask task;
  task.entries.push_back({.id = {.term = 1, .index = kPuts + 2}, .type = raft::EntryType::kNoOp});
  applier_.Post(std::move(task));
  EXPECT_EQ(applier_.Run(4), kPuts + 1);
  EXPECT_EQ(answered, 4);
  EXPECT_EQ(applier_.Run(4), kPuts + 1);
  EXPECT_EQ(answered, 8);
  EXPECT_EQ(applier_.Run(4), kPuts + 2);  // the entry behind them keeps its turn
  EXPECT_EQ(answered, 10);
  EXPECT_TRUE(applier_.empty());
}

}  // namespace
}  // namespace raftkv
