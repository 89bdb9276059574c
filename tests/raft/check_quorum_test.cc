// CheckQuorum (thesis §6.2): a leader without contact to a majority steps down within one election
// timeout.

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

template <typename E>
const E* LastEvent(const Network::Member& member) {
  for (auto it = member.events.rbegin(); it != member.events.rend(); ++it) {
    if (const E* event = std::get_if<E>(&*it)) return event;
  }
  return nullptr;
}

TEST(CheckQuorum, LeaderWithoutAMajorityStepsDownInItsTerm) {
  Network net(5);
  net.Elect(1);
  net.Cut(1, 2), net.Cut(1, 3), net.Cut(1, 4);
  for (int i = 0; i < 9; ++i) {
    net.Tick(1);
    net.Stabilize();
  }
  EXPECT_EQ(net[1].role(), Role::kLeader);
  net.Tick(1);
  EXPECT_EQ(net[1].role(), Role::kFollower);
  EXPECT_EQ(net[1].leader(), kNobody);
  EXPECT_EQ(net[1].term(), 1u);
  const auto* event = LastEvent<SteppedDown>(net.member(1));
  ASSERT_NE(event, nullptr);
  EXPECT_EQ(event->why, SteppedDown::Why::kNoQuorum);
  EXPECT_EQ(net.Propose(1, "x"), ProposeResult::kNotLeader);
}

TEST(CheckQuorum, BareMajorityIsEnough) {
  Network net(5);
  net.Elect(1);
  net.Cut(1, 2), net.Cut(1, 3);
  for (int i = 0; i < 100; ++i) {
    net.Tick(1);
    net.Stabilize();
  }
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_FALSE(net[1].status().peers.at(2).recently_active);
  EXPECT_TRUE(net[1].status().peers.at(4).recently_active);
}

// A leader whose appends do not arrive cannot commit anything, whatever else it hears.
TEST(CheckQuorum, OnlyAnswersToAppendsCount) {
  Network net(3);
  net.Elect(1);
  for (int i = 0; i < 10; ++i) {
    net.DropAll();
    for (MemberId member : {2, 3}) net.Step({member, 1, 1, ReadIndexRequest{.id = 7}});
    net.Tick(1);
  }
  EXPECT_EQ(net[1].role(), Role::kFollower);
}

TEST(CheckQuorum, RejectionsCountAsContact) {
  Network net(3);
  net.Elect(1);
  net.Isolate(3);
  for (int i = 0; i < 30; ++i) {
    net.Tick(1);
    net.DropAll();
    net.Step({2, 1, 1, AppendEntriesReply{.success = false}});
    net.DropAll();
  }
  EXPECT_EQ(net[1].role(), Role::kLeader);
}

TEST(CheckQuorum, SoleVoterLeadsForever) {
  Network net(1);
  net.Tick(1, 1000);
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[1].term(), 1u);
}

TEST(CheckQuorum, MinorityLeaderIsReplacedAndComesBackAsAFollower) {
  Network net(5);
  net.Elect(1);
  net.Propose(1, "kept");
  net.Stabilize();
  for (MemberId a : {1, 2}) {
    for (MemberId b : {3, 4, 5}) net.Cut(a, b);
  }
  net.Propose(1, "lost");
  net.RunFor(60);
  EXPECT_NE(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[2].last_index(), 3u);
  net.Recover();
  net.RunFor(60);
  for (MemberId id = 1; id <= 5; ++id) {
    EXPECT_EQ(net[id].commit_index(), net[1].commit_index());
    for (const Entry& entry : net.member(id).applied) EXPECT_NE(entry.payload.view(), "lost");
  }
}

TEST(CheckQuorum, SteppedDownByRequest) {
  Network net(3);
  net.Elect(1);
  net.Into(1, [](Raft& raft) { raft.StepDown(); });
  net.Turn(1);
  EXPECT_EQ(net[1].role(), Role::kFollower);
  EXPECT_EQ(net[1].leader(), kNobody);
  net.RunFor(60);
  EXPECT_NE(net[1].leader(), kNobody) << "a leader was elected again";
}

TEST(CheckQuorumDeathTest, OneCallTakesAtMostOneHeartbeatIntervalOfTicks) {
  Network net(1);
  EXPECT_DEATH(net[1].Tick(3), "must limit the ticks");
}

}  // namespace
}  // namespace raftkv::raft
