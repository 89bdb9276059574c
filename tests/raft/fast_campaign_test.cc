// Fast failover: what a member does when the connection to its leader is aborted. It campaigns
// soon, but a leader that a majority still hears keeps its term.

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

// Of TestConfig: the first round begins within kFirst ticks, a retry within kRetry more.
constexpr int kFirst = 2;
constexpr int kRetry = 3 * kFirst;

// A heartbeat of `leader` in `term` that came on this connection.
Message Heartbeat(MemberId leader, Term term, MemberId to, uint64_t connection) {
  Message message{leader, to, term, AppendEntries{.prev = {}, .round = 1}};
  message.connection = connection;
  return message;
}

TEST(FastCampaign, FollowersOfADeadLeaderElectAnotherAtOnce) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Network net(3, [&](Config& config) { config.seed = seed * 97 + config.id; });
    net.Elect(1);
    net.Crash(1);
    net.Lose(2, 1);
    net.Lose(3, 1);
    EXPECT_EQ(net[2].leader(), kNobody);
    int ticks = 0;
    while (net[2].role() != Role::kLeader && net[3].role() != Role::kLeader && ticks < 30) {
      net.RunFor(1);
      ++ticks;
    }
    EXPECT_LE(ticks, kFirst + 1 + 3 * kRetry) << "seed " << seed;
  }
}

TEST(FastCampaign, BeginsWithinItsTime) {
  Network net(3);
  net.Elect(1);
  net.Isolate(2);
  net.Lose(2, 1);
  EXPECT_EQ(net[2].role(), Role::kFollower) << "after a random time, so that rivals rarely meet";
  net.Tick(2, kFirst + 1);
  EXPECT_EQ(net[2].role(), Role::kPreCandidate);
}

TEST(FastCampaign, AMajorityThatHearsTheLeaderKeepsItsTerm) {
  Network net(3);
  net.Elect(1);
  net.CutOneWay(1, 2);
  net.Lose(2, 1);
  net.RunFor(8);
  EXPECT_EQ(net[2].role(), Role::kPreCandidate);
  net.Recover();
  net.RunFor(4);
  for (MemberId member : {1, 2, 3}) {
    EXPECT_EQ(net[member].term(), 1u);
    EXPECT_EQ(net[member].leader(), 1u);
  }
}

TEST(FastCampaign, EndsProtectionOfTheLeaderFromVotesAndPreVotes) {
  for (bool pre_vote : {true, false}) {
    Network net(3);
    net.Elect(1);
    const Message vote{3, 2, 2, RequestVote{.last = {1, 1}, .pre_vote = pre_vote}};
    net.Step(vote);
    EXPECT_TRUE(net.TakeSent(2).empty());
    net.Lose(2, 1);
    net.Step(vote);
    EXPECT_TRUE(std::get<RequestVoteReply>(net.TakeSent(2).at(0).body).granted);
  }
}

TEST(FastCampaign, IgnoresTheLossOfAnOlderConnection) {
  Network net(3);
  net.Elect(1);
  net.Step(Heartbeat(1, 1, 2, /*connection=*/5));
  net.Lose(2, 1, /*connection=*/4);
  EXPECT_EQ(net[2].leader(), 1u);
  // A delayed message of the old connection does not make it the newest.
  net.Step(Heartbeat(1, 1, 2, /*connection=*/4));
  net.Lose(2, 1, /*connection=*/4);
  EXPECT_EQ(net[2].leader(), 1u);
  net.Lose(2, 1, /*connection=*/5);
  EXPECT_EQ(net[2].leader(), kNobody);
}

TEST(FastCampaign, IgnoresTheLossOfAnotherMember) {
  Network net(3);
  net.Elect(1);
  net.Lose(2, 3);
  EXPECT_EQ(net[2].leader(), 1u);
  net.Lose(1, 2);
  EXPECT_EQ(net[1].role(), Role::kLeader);
}

TEST(FastCampaign, EndsWhenTheLeaderIsHeardAgain) {
  Network net(3);
  net.Elect(1);
  net.Isolate(2);
  net.Lose(2, 1, /*connection=*/1);
  net.Step(Heartbeat(1, 1, 2, /*connection=*/2));
  net.Tick(2, 9);
  EXPECT_EQ(net[2].leader(), 1u) << "its election timeout begins anew";
  EXPECT_EQ(net[2].role(), Role::kFollower);
}

TEST(FastCampaign, RetriesThreeTimesThenTheElectionTimeoutHolds) {
  Network net(3);
  net.Elect(1);
  net.Isolate(2);
  net.Lose(2, 1);
  const auto rounds = [&](bool fast) {
    int count = 0;
    for (const Event& event : net.member(2).events) {
      const auto* e = std::get_if<BecamePreCandidate>(&event);
      count += e != nullptr && e->fast == fast;
    }
    return count;
  };
  net.Tick(2, kFirst + 1 + 3 * kRetry);
  EXPECT_EQ(rounds(/*fast=*/true), 4);
  EXPECT_EQ(rounds(/*fast=*/false), 0);
  net.Tick(2, 20);
  EXPECT_EQ(rounds(/*fast=*/true), 4);
  EXPECT_GE(rounds(/*fast=*/false), 1);
}

TEST(FastCampaign, AMemberThatMayNotVoteOnlyForgetsTheLeader) {
  Network net(3);
  net.Elect(1);
  net.Into(2, [](Raft& raft) { raft.SetVoting(false); });
  net.Isolate(2);
  net.Lose(2, 1);
  EXPECT_EQ(net[2].leader(), kNobody);
  net.Tick(2, 40);
  EXPECT_EQ(net[2].role(), Role::kFollower);
  EXPECT_EQ(net[2].term(), 1u);
}

// A member that has granted its vote waits: the candidate tries again if its round is lost.
TEST(FastCampaign, AGrantedVoteEndsIt) {
  Network net(3);
  net.Elect(1);
  net.Crash(1);
  net.Lose(2, 1);
  net.Isolate(2);
  net.Step({3, 2, 2, RequestVote{.last = {1, 1}}});
  net.Tick(2, 9);
  EXPECT_EQ(net[2].role(), Role::kFollower);
}

}  // namespace
}  // namespace raftkv::raft
