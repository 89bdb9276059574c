// Large proposals wait for small ones (server/member/large_pace.h).

#include "server/member/large_pace.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/member/pending.h"
#include "server/member/proposals.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

const std::string kLarge(300 << 10, 'v');  // more than one batch takes together with another

// Three members. A message takes a millisecond.
class LargePaceTest : public testing::Test {
 protected:
  LargePaceTest() {
    c.Run(kElection);
    leader = c.leader();
    follower = c.follower();
  }

  void Step() {
    for (raft::MemberId id : {1, 2, 3}) c.Turn(id);
    c.Deliver();
    c.Pause(absl::Milliseconds(1));
  }

  // For `ms` milliseconds. A client puts small values at `member`, one after the other.
  void RunBesideSmallPuts(raft::MemberId member, int ms) {
    for (int i = 0; i < ms; ++i) {
      if (small_ == nullptr || small_->times == 1) {
        if (small_ != nullptr) EXPECT_EQ(small_->fate, Fate::kApplied);
        small_ = c.Put(member, "small", "v");
        small_at_ = i;
      }
      EXPECT_LE(i - small_at_, 12) << "a small put waits";
      Step();
    }
  }

  std::vector<std::shared_ptr<Answer>> PutLargeOnes(raft::MemberId member, int count) {
    std::vector<std::shared_ptr<Answer>> puts;
    for (int i = 0; i < count; ++i) puts.push_back(c.Put(member, absl::StrCat("l", i), kLarge));
    return puts;
  }

  static int Applied(const std::vector<std::shared_ptr<Answer>>& puts) {
    int applied = 0;
    for (const auto& put : puts) applied += put->fate == Fate::kApplied;
    return applied;
  }

  Cluster c{3};
  raft::MemberId leader = raft::kNobody, follower = raft::kNobody;

 private:
  std::shared_ptr<Answer> small_;
  int small_at_ = 0;
};

TEST_F(LargePaceTest, WithoutSmallOnesLargeOnesAreProposedAtOnce) {
  c.Run(absl::Seconds(1));
  const uint64_t before = c[leader].log->synced_batches();
  const auto puts = PutLargeOnes(leader, 20);
  c.Settle();
  EXPECT_EQ(Applied(puts), 20);
  EXPECT_EQ(c[leader].log->synced_batches() - before, 1);
}

TEST_F(LargePaceTest, SmallOnesPassLargeOnesThatWait) {
  RunBesideSmallPuts(leader, 50);
  const auto puts = PutLargeOnes(leader, 20);
  RunBesideSmallPuts(leader, 5);
  EXPECT_EQ(Applied(puts), 1);
  auto small = c.Put(leader, "k", "v");
  for (int i = 0; i < 5; ++i) Step();
  EXPECT_EQ(small->fate, Fate::kApplied);
  EXPECT_EQ(Applied(puts), 1);
}

// The first batch takes 3 ms, so the second one comes after a rest of 9.
TEST_F(LargePaceTest, BesideSmallOnesLargeOnesRestAfterEachBatch) {
  for (const raft::MemberId member : {leader, follower}) {
    RunBesideSmallPuts(leader, 50);
    const auto puts = PutLargeOnes(member, 4);
    RunBesideSmallPuts(leader, 8);
    EXPECT_EQ(Applied(puts), 1);
    RunBesideSmallPuts(leader, 100);
    EXPECT_EQ(Applied(puts), 4) << "large ones are not proposed";
  }
}

TEST_F(LargePaceTest, SmallerOnesAreInOneBatch) {
  RunBesideSmallPuts(leader, 50);
  std::vector<std::shared_ptr<Answer>> puts;
  for (int i = 0; i < 8; ++i) puts.push_back(c.Put(leader, "k", std::string(64 << 10, 'v')));
  RunBesideSmallPuts(leader, 8);
  EXPECT_EQ(Applied(puts), 4);
}

// Ten of them, within 100 ms.
void CommitManySmallOnes(MonotonicTime now, LargePace* pace) {
  for (int i = 0; i < 10; ++i) pace->OnSmallCommitted(now);
}

TEST_F(LargePaceTest, AFewSmallOnesDoNotMatter) {
  LargePace pace(100);
  MonotonicTime now;
  for (int i = 0; i < 200; ++i) {
    pace.OnSmallCommitted(now += absl::Milliseconds(12));
    pace.OnProposed(400, now);
    EXPECT_TRUE(pace.MayPropose(now));
  }
  for (int i = 0; i < 10; ++i) pace.OnSmallCommitted(now += absl::Milliseconds(5));
  EXPECT_FALSE(pace.MayPropose(now)) << "now they are many";
}

TEST_F(LargePaceTest, TheRestEndsWhenNoSmallOneComesAnyMore) {
  LargePace pace(100);
  MonotonicTime now;
  const auto after = [&now](int ms) { return now += absl::Milliseconds(ms); };
  CommitManySmallOnes(after(1), &pace);
  ASSERT_TRUE(pace.MayPropose(now));
  pace.OnProposed(400, now);
  EXPECT_FALSE(pace.MayPropose(now));
  pace.OnNoneInFlight(after(60));
  EXPECT_FALSE(pace.MayPropose(now));
  EXPECT_TRUE(pace.MayPropose(after(41)));
}

TEST_F(LargePaceTest, TheRestIsBounded) {
  LargePace pace(100);
  MonotonicTime now;
  pace.OnProposed(400, now);
  pace.OnNoneInFlight(now += absl::Seconds(60));
  CommitManySmallOnes(now += absl::Milliseconds(99), &pace);
  EXPECT_FALSE(pace.MayPropose(now));
  EXPECT_TRUE(pace.MayPropose(now += absl::Milliseconds(1)));
}

TEST_F(LargePaceTest, ALargeOneThatWaitsEndsAtItsDeadlineUnproposed) {
  RunBesideSmallPuts(leader, 50);
  const auto puts = PutLargeOnes(leader, 1);
  std::optional<Fate> fate;
  proto::Command command;
  command.mutable_put()->set_key("late");
  command.mutable_put()->set_value(kLarge);
  c[leader].Post(ProposeRequest{.command = command.SerializeAsString(),
                                .done = [&fate](Fate f, const ApplyResult&) { fate = f; },
                                .caller = {.deadline = c.now() + absl::Milliseconds(5)}});
  RunBesideSmallPuts(leader, 30);
  EXPECT_EQ(fate, Fate::kTimedOut);
  EXPECT_EQ(Cluster::Value(c[leader], "late"), "");
  EXPECT_EQ(Applied(puts), 1);
}

// Large ones of a follower: one is proposed and one waits when the leader dies.
TEST_F(LargePaceTest, LargeOnesSurviveTheLeader) {
  RunBesideSmallPuts(follower, 50);
  const auto puts = PutLargeOnes(follower, 5);
  c.Turn(follower);
  c.Deliver();
  c.Crash(leader);
  c[follower].Post(ForwardLost{leader, {}});
  c[follower].Post(PeerLost{leader, UINT64_MAX});
  c.Run(kElection);
  EXPECT_EQ(Applied(puts), 5);
  for (const auto& put : puts) EXPECT_EQ(put->times, 1);
  leader = c.leader();
  const auto more = PutLargeOnes(follower, 5);
  c.Run(absl::Seconds(1));
  EXPECT_EQ(Applied(more), 5);
}

TEST_F(LargePaceTest, AStopAnswersLargeOnesThatWait) {
  RunBesideSmallPuts(leader, 50);
  const auto puts = PutLargeOnes(leader, 2);
  RunBesideSmallPuts(leader, 5);
  ASSERT_EQ(Applied(puts), 1);
  c[leader].member->StopRequests();
  EXPECT_EQ(puts[1]->fate, Fate::kStoppedUnproposed);
}

TEST(LargeProposals, AMemberThatWasRemovedAnswersThem) {
  Proposals proposals(/*member=*/1, /*boot_id=*/1, /*large_bytes=*/100);
  PendingRequests pending;
  std::optional<Fate> fate;
  ProposalDone done = [&fate](Fate f, const ApplyResult&) { fate = f; };
  proposals.Add(ProposeRequest{.command = std::string(200, 'v'), .done = nullptr},
                pending.Add(std::move(done), MonotonicTime::InfiniteFuture()), {});
  proposals.FailWaiting(Fate::kStoppedUnproposed);
  EXPECT_EQ(fate, Fate::kStoppedUnproposed);
}

TEST_F(LargePaceTest, SmallOnesHaveRoomWhenLargeOnesHaveNone) {
  for (raft::MemberId id : {1, 2, 3}) {
    if (id != leader) c.Crash(id);
  }
  std::vector<std::shared_ptr<Answer>> puts;
  for (int i = 0; i < 128; ++i) {
    puts.push_back(c.Put(leader, "k", std::string(1 << 20, 'v')));
    c.Turn(leader);
  }
  const auto small = c.Put(leader, "k", "v");
  c.Turn(leader);
  EXPECT_EQ(puts.back()->fate, Fate::kTooManyRequests);
  EXPECT_EQ(small->times, 0);
}

}  // namespace
}  // namespace raftkv
