#include "server/member/applier.h"

#include "gtest/gtest.h"
#include "proto/command.pb.h"
#include "storage/engine/memory_engine.h"

namespace raftkv {
namespace {

constexpr int kPuts = 300;

// A state machine with one key that was put many times.
class ApplierTest : public testing::Test {
 protected:
  void SetUp() override {
    CommittedTask task;
    for (int i = 1; i <= kPuts; ++i) {
      proto::Command put;
      put.mutable_put()->set_key("k");
      Add(put, &task);
    }
    applier_.Post(std::move(task));
    applier_.Run({});
  }

  // Applies a compaction at the newest revision, for which `request` waits.
  void Compact(PendingRequestPtr request) {
    proto::Command compaction;
    compaction.mutable_compaction()->set_revision(1 + kPuts);
    CommittedTask task;
    task.entries.push_back({.id = {.term = 1, .index = kPuts + 1},
                            .type = raft::EntryType::kCommand,
                            .payload = raft::Payload(compaction.SerializeAsString())});
    task.requests.emplace_back(kPuts + 1, std::move(request));
    applier_.Post(std::move(task));
    applier_.Run({});
    ASSERT_TRUE(state_machine_->compacting());
  }

  static void Add(const proto::Command& command, CommittedTask* task) {
    task->entries.push_back({.id = {.term = 1, .index = task->entries.size() + 1},
                             .type = raft::EntryType::kCommand,
                             .payload = raft::Payload(command.SerializeAsString())});
  }

  // Posts puts of new keys.
  void Post(const std::string& prefix, int puts, Applier* applier) {
    CommittedTask task;
    for (int i = 0; i < puts; ++i) {
      proto::Command put;
      put.mutable_put()->set_key(prefix + std::to_string(i));
      Add(put, &task);
      task.entries.back().id.index += state_machine_->applied().index;
    }
    applier->Post(std::move(task));
  }

  // A request that waits for the end of a physical compaction.
  PendingRequestPtr Compaction(MonotonicTime deadline, std::optional<Fate>* fate) {
    auto done = [fate](Fate f, ApplyResult) {
      EXPECT_FALSE(fate->has_value()) << "answered twice";
      *fate = f;
    };
    return pending_.Add(ProposalDone(std::move(done)), MonotonicTime(absl::Seconds(1)), deadline);
  }

  std::unique_ptr<StateMachine> state_machine_ =
      StateMachine::Open(
          std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed))
          .value();
  struct NoTransport final : Transport {
    void Send(PeerMessage) override { FAIL() << "nothing is sent"; }
    void SendSnapshot(raft::MemberId, raft::Term) override { FAIL(); }
    void StopSnapshots() override { FAIL(); }
  };
  NoTransport transport_;
  Outbox outbox_{{.id = 1}, /*log=*/nullptr, &transport_};  // sends nothing
  PendingRequests pending_;
  Applier applier_{state_machine_.get(), &outbox_};
};

class CountedReads final : public ParallelReads {
 public:
  bool useful() const override { return use; }
  void RunAll(size_t n, const std::function<void(size_t)>& read) override {
    count += n;
    for (size_t i = 0; i < n; ++i) read(i);
  }
  bool use = true;
  size_t count = 0;
};

TEST_F(ApplierTest, ReadsHeadsSideBySideIfThatIsUseful) {
  CountedReads reads;
  Applier applier(state_machine_.get(), &outbox_, &reads);
  for (const bool use : {false, true}) {
    reads.use = use;
    Post(use ? "x" : "y", 2, &applier);
    applier.Run({});
    EXPECT_EQ(reads.count, use ? 2 : 0);
  }
}

TEST_F(ApplierTest, ReadsTheHeadsOfManyEntriesPartByPart) {
  CountedReads reads;
  Applier applier(state_machine_.get(), &outbox_, &reads);
  Post("x", 1000, &applier);
  EXPECT_EQ(applier.Run({}), kPuts + 1000) << "one run applies them all";
  EXPECT_EQ(reads.count, 1000);
}

TEST_F(ApplierTest, APhysicalCompactionIsAnsweredWhenItIsDone) {
  std::optional<Fate> fate;
  Compact(Compaction(MonotonicTime::InfiniteFuture(), &fate));
  applier_.MaybeCompact(/*events_max=*/1);
  pending_.Expire(MonotonicTime(absl::Hours(1)));
  EXPECT_EQ(fate, std::nullopt) << "the client waits longer than for other requests";
  while (state_machine_->compacting()) applier_.MaybeCompact(/*events_max=*/1);
  EXPECT_EQ(fate, Fate::kApplied);
}

TEST_F(ApplierTest, APhysicalCompactionIsAnsweredAtItsClientsDeadline) {
  std::optional<Fate> fate;
  Compact(Compaction(MonotonicTime(absl::Seconds(9)), &fate));
  applier_.MaybeCompact(/*events_max=*/1);
  pending_.Expire(MonotonicTime(absl::Seconds(8)));
  EXPECT_EQ(fate, std::nullopt);
  pending_.Expire(MonotonicTime(absl::Seconds(9)));
  ASSERT_TRUE(fate.has_value());
  EXPECT_EQ(fate->kind, Fate::Kind::kTimedOut);
  applier_.ForgetAnswered();
  while (state_machine_->compacting()) applier_.MaybeCompact(/*events_max=*/1);
}

TEST_F(ApplierTest, APhysicalCompactionIsAnsweredAtAStop) {
  std::optional<Fate> fate;
  Compact(Compaction(MonotonicTime::InfiniteFuture(), &fate));
  pending_.Stop();
  ASSERT_TRUE(fate.has_value());
  EXPECT_EQ(fate->kind, Fate::Kind::kStopped);
}

// Very many reads may wait for one entry. Answering all of them at once would delay heartbeats.
TEST_F(ApplierTest, AnswersReadsInBoundedSteps) {
  int answered = 0;
  for (int i = 0; i < 10; ++i) {
    applier_.Post({kPuts, pending_.Add(ReadDone([&](Fate) { ++answered; }),
                                       MonotonicTime::InfiniteFuture())});
  }
  CommittedTask task;
  task.entries.push_back({.id = {.term = 1, .index = kPuts + 1}, .type = raft::EntryType::kNoOp});
  applier_.Post(std::move(task));
  EXPECT_EQ(applier_.Run({.items_max = 4}), kPuts);
  EXPECT_EQ(answered, 4);
  EXPECT_EQ(applier_.Run({.items_max = 4}), kPuts);
  EXPECT_EQ(answered, 8);
  EXPECT_EQ(applier_.Run({.items_max = 4}), kPuts + 1);  // and the entry
  EXPECT_EQ(answered, 10);
  EXPECT_TRUE(applier_.empty());
}

TEST_F(ApplierTest, AReadWaitsUntilItsIndexIsApplied) {
  bool answered = false;
  applier_.Post({kPuts + 1, pending_.Add(ReadDone([&](Fate) { answered = true; }),
                                         MonotonicTime::InfiniteFuture())});
  EXPECT_TRUE(applier_.empty()) << "there is nothing to do yet";
  EXPECT_TRUE(applier_.reads_wait());
  applier_.Run({});
  EXPECT_FALSE(answered);
  CommittedTask task;
  task.entries.push_back({.id = {.term = 1, .index = kPuts + 1}, .type = raft::EntryType::kNoOp});
  applier_.Post(std::move(task));
  applier_.Run({});
  EXPECT_TRUE(answered);
}

TEST_F(ApplierTest, ARunEndsBetweenBatchesWhenItIsOutOfTime) {
  for (raft::Index index : {kPuts + 1, kPuts + 2}) {
    CommittedTask task;
    task.entries.push_back({.id = {.term = 1, .index = index}, .type = raft::EntryType::kNoOp});
    applier_.Post(std::move(task));
  }
  EXPECT_EQ(applier_.Run({.items_max = 1, .out_of_time = [] { return true; }}), kPuts + 1);
  EXPECT_FALSE(applier_.empty());
}

}  // namespace
}  // namespace raftkv
