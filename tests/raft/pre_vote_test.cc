// PreVote (thesis §9.6), and the rule that members which hear from a leader drop vote requests
// (thesis §4.2.3). A member that was cut off must not depose a working leader, and no member may
// stay outside of the cluster for ever.

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

TEST(PreVote, MemberThatWasCutOffDoesNotDisturb) {
  Network net(3);
  net.Elect(1);
  net.Isolate(3);
  net.RunFor(200);
  EXPECT_EQ(net[3].term(), 1u) << "asking does not raise the term";
  EXPECT_EQ(net[3].role(), Role::kPreCandidate);
  net.Recover();
  net.RunFor(30);
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[1].term(), 1u);
  EXPECT_EQ(net[3].leader(), 1u);
}

TEST(PreVote, GrantingChangesNoState) {
  Network net(3);
  for (MemberId candidate : {2, 3}) {
    net.Step(From(candidate, 1, RequestVote{.pre_vote = true}));
    const Message sent = net.TakeSent(1).at(0);
    EXPECT_TRUE(std::get<RequestVoteReply>(sent.body).granted);
    EXPECT_EQ(sent.term, 1u) << "the term that was asked about";
  }
  EXPECT_EQ(net[1].term(), 0u);
  EXPECT_EQ(net.member(1).disk.hard_state(), HardState{});
}

TEST(PreVote, FollowerOfALiveLeaderIgnoresVotesAndPreVotes) {
  Network net(3);
  net.Elect(1);
  for (bool pre_vote : {true, false}) {
    for (MemberId member : {1, 2}) {
      net.Step(From(3, 9, RequestVote{.last = {1, 99}, .pre_vote = pre_vote}, member));
      EXPECT_TRUE(net.wire().empty());
      EXPECT_EQ(net[member].term(), 1u);
    }
  }
  for (int i = 0; i < 9; ++i) net.Into(2, [](Raft& raft) { raft.Tick(1); });
  net.Step(From(3, 9, RequestVote{.last = {1, 99}}, 2));
  EXPECT_EQ(net[2].term(), 1u) << "the election timeout has not passed yet";
  net.Into(2, [](Raft& raft) { raft.Tick(1); });
  net.Step(From(3, 9, RequestVote{.last = {1, 99}}, 2));
  EXPECT_EQ(net[2].term(), 9u);
}

// Pre-vote requests must not restart the election timer of a member without a leader.
TEST(PreVote, BeingAskedIsNotHearingFromALeader) {
  Network net(3);
  net.Elect(1);
  net.Isolate(1);
  int ticks = 0;
  for (; ticks < 20 && net[2].role() == Role::kFollower; ++ticks) {
    net.Step(From(3, 2, RequestVote{.last = {1, 1}, .pre_vote = true}, 2));
    net.Tick(2);
  }
  EXPECT_EQ(net[2].role(), Role::kPreCandidate);
}

// The member with the longer log has the lower term. It must still be able to win.
TEST(PreVote, LongerLogOnALowerTermIsElected) {
  for (Term high : {2, 5}) {
    Network net({{1, MemoryDisk({1, 0, 0}, LogOfTerms({1, 1, 1}))},
                 {2, MemoryDisk({high, 2, 0}, LogOfTerms({1}))}});
    net.RunFor(100);
    EXPECT_EQ(net[1].role(), Role::kLeader);
    EXPECT_EQ(net[2].leader(), 1u);
    EXPECT_GT(net[1].term(), high);
  }
}

TEST(PreVote, DeclinedPreVoteTeachesAHigherTerm) {
  Network net({{1, MemoryDisk({1, 0, 0}, {})}, {2, MemoryDisk({7, 0, 0}, {})}, {3, {}}});
  net.Campaign(1);
  ASSERT_TRUE(net.Deliver(1, 2));
  ASSERT_TRUE(net.Deliver(2, 1));
  EXPECT_EQ(net[1].role(), Role::kFollower);
  EXPECT_EQ(net[1].term(), 7u);
}

TEST(PreVote, OnlyRepliesAboutTheNextTermCount) {
  Network net({{1, MemoryDisk({5, 0, 0}, {})}, {2, {}}, {3, {}}});
  net.Campaign(1);
  for (Term term : {4, 5, 7}) {
    net.Step(From(2, term, RequestVoteReply{.granted = true, .pre_vote = true}));
    EXPECT_EQ(net[1].role(), Role::kPreCandidate) << term;
    EXPECT_EQ(net[1].term(), 5u);
  }
  net.Step(From(2, 6, RequestVoteReply{.granted = true, .pre_vote = false}));
  EXPECT_NE(net[1].role(), Role::kCandidate) << "a vote must not count as a pre-vote";
}

// A member may reach a higher term than the leader's, if its vote request was lost. It must be able
// to follow again.
TEST(PreVote, MemberOnAHigherTermFollowsAgain) {
  Network net({{1, {}}, {2, {}}, {3, MemoryDisk({8, 3, 0}, {})}});
  net.Isolate(3);
  net.Elect(1);
  net.Propose(1, "x");
  net.Stabilize();
  net.Recover();
  net.RunFor(100);
  EXPECT_GE(net[1].term(), 8u);
  for (MemberId id : {1, 2, 3}) EXPECT_EQ(net[id].commit_index(), net[1].last_index());
}

// A member without PreVote campaigns at once and so raises the term. The other members take over
// the higher term and elect a leader.
TEST(PreVote, ClusterWithAMemberWithoutPreVoteElectsALeader) {
  Network net({{1, MemoryDisk({3, 0, 0}, LogOfTerms({1}))},
               {2, MemoryDisk({3, 0, 0}, LogOfTerms({1}))},
               {3, {}}});
  net.Isolate(3);  // the test sends the messages of member 3
  net.Step(From(3, 9, RequestVote{.last = {}}, 1));
  net.Step(From(3, 9, RequestVote{.last = {}}, 2));
  net.DropAll();
  net.RunFor(60);
  EXPECT_TRUE(net[1].role() == Role::kLeader || net[2].role() == Role::kLeader);
}

}  // namespace
}  // namespace raftkv::raft
