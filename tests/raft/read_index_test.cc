// Linearizable reads (§8, thesis §6.4).

#include "server/raft/read_index.h"

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

using Reads = std::vector<ReadIndexResult>;

TEST(ReadIndexQueue, ReadsThatArriveDuringARoundJoinTheNext) {
  ReadIndexQueue queue;
  EXPECT_FALSE(queue.WantsRound());
  queue.Add({1, 10});
  queue.Add({1, 11});
  ASSERT_TRUE(queue.WantsRound());
  queue.Begin(5, 100);
  queue.Add({2, 12});
  EXPECT_FALSE(queue.WantsRound()) << "one round at a time";
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(queue.TakeInFlight(), (std::vector<Reader>{{1, 10}, {1, 11}}));
  EXPECT_FALSE(queue.in_flight());
  ASSERT_TRUE(queue.WantsRound());
  queue.Begin(6, 100);
  queue.Add({1, 13});
  EXPECT_EQ(queue.TakeAll(), (std::vector<Reader>{{2, 12}, {1, 13}}));
  EXPECT_EQ(queue.size(), 0u);
}

TEST(ReadIndexQueueDeathTest, RoundIsNeverUsedTwice) {
  ReadIndexQueue queue;
  queue.Add({1, 10});
  queue.Begin(5, 100);
  queue.TakeInFlight();
  queue.Add({1, 11});
  EXPECT_DEATH(queue.Begin(5, 100), "late reply");
}

TEST(ReadIndex, LeaderConfirmsWithOneRoundOfHeartbeats) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "x");
  net.Stabilize();
  net.Read(1, 70);
  EXPECT_TRUE(net.member(1).reads.empty());
  EXPECT_EQ(net.wire().size(), 2u);
  ASSERT_TRUE(net.Deliver(1, 2) && net.Deliver(2, 1));
  EXPECT_EQ(net.member(1).reads, (Reads{{70, 2}}));
}

TEST(ReadIndex, SoleVoterAnswersAtOnce) {
  Network net(1);
  net.Tick(1);
  net.Read(1, 70);
  EXPECT_EQ(net.member(1).reads, (Reads{{70, 1}}));
}

TEST(ReadIndex, ManyReadsCostFewRounds) {
  Network net(3, [](Config& config) { config.pending_reads_max = 1000; });
  net.Elect(1);
  net.Read(1, 1);
  for (uint64_t id = 2; id <= 500; ++id) net.Read(1, id);
  EXPECT_EQ(net.wire().size(), 2u) << "one round in flight";
  net.Deliver(1, 2), net.Deliver(2, 1);
  EXPECT_EQ(net.member(1).reads.size(), 1u) << "the others arrived after the round began";
  net.Stabilize();
  EXPECT_EQ(net.member(1).reads.size(), 500u);
}

// A new leader may not know yet that earlier entries are committed.
TEST(ReadIndex, NewLeaderAnswersOnlyAfterACommitInItsTerm) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "x");
  net.Stabilize();
  net.Crash(1);
  net.Tick(3, 10);  // long enough to forget the leader
  net.Campaign(2);
  net.StabilizeOnly([](const Message& message) {
    return std::holds_alternative<RequestVote>(message.body) ||
           std::holds_alternative<RequestVoteReply>(message.body);
  });
  ASSERT_EQ(net[2].role(), Role::kLeader);
  const auto no_op = net.TakeSent(2, 3);
  net.Read(2, 70);
  net.Step({3, 2, net[2].term(), AppendEntriesReply{.success = true, .match = 0, .round = 99}});
  EXPECT_TRUE(net.member(2).reads.empty()) << "confirmed as leader, but it cannot know what is "
                                              "committed";
  net.Step(no_op.at(0));
  net.Stabilize();
  EXPECT_EQ(net.member(2).reads, (Reads{{70, 3}}));
}

// An echo proves leadership only for reads that arrived before its round began.
TEST(ReadIndex, LateEchoDoesNotConfirmALaterRead) {
  Network net(3);
  net.Elect(1);
  net.Read(1, 70);
  const auto first_round = net.TakeSent(1, 2);
  net.TakeSent(1, 3);
  net.Step(first_round.at(0));
  const auto echo = net.TakeSent(2, 1);
  net.Step(echo.at(0));
  ASSERT_EQ(net.member(1).reads.size(), 1u);
  net.Read(1, 71);
  net.Step(echo.at(0));
  EXPECT_EQ(net.member(1).reads.size(), 1u) << "it echoes the previous round";
  net.Stabilize();
  EXPECT_EQ(net.member(1).reads.size(), 2u);
}

TEST(ReadIndex, NextHeartbeatReplacesALostRound) {
  Network net(3);
  net.Elect(1);
  net.Read(1, 70);
  net.DropAll();
  net.RunFor(2);
  EXPECT_EQ(net.member(1).reads, (Reads{{70, 1}}));
}

// Such a leader may have been replaced, so its reads could be stale.
TEST(ReadIndex, LeaderWithoutAMajorityConfirmsNoRead) {
  Network net(3);
  net.Elect(1);
  net.Isolate(1);
  net.Read(1, 70);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(net.member(1).reads.empty());
    net.Tick(1);
  }
  EXPECT_EQ(net.member(1).reads, (Reads{{70, 0}}));
}

TEST(ReadIndex, RoundIsEchoedBeforeTheFollowerHasSaved) {
  Network net(3);
  net.Elect(1);
  net.member(2).hold_saves = true;
  net.Propose(1, "x");
  net.Into(1, [](Raft& raft) { raft.ReadIndex(70); });
  net.Turn(1);
  net.CutOneWay(1, 3);
  net.StabilizeOnly([](const Message& message) { return message.to != 3; });
  EXPECT_EQ(net.member(1).reads, (Reads{{70, 1}}));
  EXPECT_EQ(net[1].commit_index(), 1u) << "the entry itself is not acknowledged";
}

TEST(ReadIndex, FollowerAsksItsLeader) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "x");
  net.Stabilize();
  net.Read(2, 70);
  net.Read(2, 71);
  EXPECT_EQ(net.wire().size(), 1u) << "the second read waits for the next request";
  net.Stabilize();
  EXPECT_EQ(net.member(2).reads, (Reads{{70, 2, 2}, {71, 2, 2}}));
}

TEST(ReadIndex, LostRequestOfAFollowerIsRepeated) {
  Network net(3);
  net.Elect(1);
  net.Read(2, 70);
  net.DropAll();
  net.RunFor(2);
  EXPECT_EQ(net.member(2).reads, (Reads{{70, 1, 1}}));
}

TEST(ReadIndex, WithoutALeaderReadsFailAtOnce) {
  Network net(3);
  net.Read(1, 70);
  EXPECT_EQ(net.member(1).reads, (Reads{{70, 0}}));
}

TEST(ReadIndex, EveryPendingReadIsAnsweredWhenTheLeaderIsLost) {
  Network net(3);
  net.Elect(1);
  net.Isolate(2);
  net.Read(2, 70);
  net.Read(2, 71);
  net.RunFor(20);
  EXPECT_EQ(net.member(2).reads, (Reads{{70, 0}, {71, 0}}));
}

TEST(ReadIndex, SteppingDownFailsTheReadsOfFollowers) {
  Network net(3);
  net.Elect(1);
  net.Read(2, 70);
  net.Deliver(2, 1);
  net.DropAll();
  net.Into(1, [](Raft& raft) { raft.StepDown(); });
  net.Turn(1);
  net.Stabilize();
  EXPECT_EQ(net.member(2).reads, (Reads{{70, 0}}));
}

TEST(ReadIndex, OtherMembersGiveNoReadIndex) {
  Network net(3);
  net.Step({3, 2, 0, ReadIndexRequest{.id = 5}});
  EXPECT_EQ(net.TakeSent(2).at(0), (Message{2, 3, 0, ReadIndexReply{.id = 5, .index = 0}}));
}

TEST(ReadIndex, PendingReadsAreBounded) {
  Network net(3);  // pending_reads_max = 8
  net.Elect(1);
  for (uint64_t id = 1; id <= 10; ++id) net.Read(1, id);
  EXPECT_EQ(net.member(1).reads, (Reads{{9, 0}, {10, 0}}));
  net.Stabilize();
  EXPECT_EQ(net.member(1).reads.size(), 10u);
}

// A follower never uses the id of a read index request twice, not even after a restart. A late
// reply to a request from before the restart would miss the writes since then.
TEST(ReadIndex, LateReplyFromBeforeARestartIsIgnored) {
  Network net(3);
  net.Elect(1);
  net.Read(2, 70);
  net.StabilizeOnly(
      [](const Message& message) { return !std::holds_alternative<ReadIndexReply>(message.body); });
  const auto late = net.TakeSent(1, 2);
  ASSERT_EQ(late.size(), 1u);
  net.Restart(2);
  net.RunFor(2);
  net.Propose(1, "since");
  net.Stabilize();
  net.Read(2, 71);
  net.Step(late.at(0));
  EXPECT_EQ(net.member(2).reads.size(), 0u);
  net.Stabilize();
  EXPECT_EQ(net.member(2).reads, (Reads{{71, 2, 2}}));
}

}  // namespace
}  // namespace raftkv::raft
