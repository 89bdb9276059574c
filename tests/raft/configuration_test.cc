// Changes of the members (thesis §4): learners, one change at a time, removal, restart.

#include <algorithm>

#include "server/raft/prng.h"
#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

// A cluster of voters 1 to `size` whose leader is member 1.
struct Cluster : Network {
  explicit Cluster(size_t size) : Network(size) { Elect(1); }
  void AddLearner(MemberId id) {
    Join(id);
    Configuration next = (*this)[1].membership().current();
    next.learners.push_back(id);
    ASSERT_EQ(Change(1, Text(next)), ProposeResult::kAccepted);
    RunFor(3);
    ASSERT_EQ((*this)[id].commit_index(), (*this)[1].last_index());
  }
  static std::string Text(const Configuration& configuration) {
    std::string text;
    for (MemberId id : configuration.voters) text += std::to_string(id) + ",";
    text += "+";
    for (MemberId id : configuration.learners) text += std::to_string(id) + ",";
    return text;
  }
};

TEST(Configuration, IsInForceWhenItsEntryIsAppended) {
  Cluster net(1);
  net.Join(2);
  net.member(1).hold_saves = true;
  ASSERT_EQ(net.Change(1, "1+2"), ProposeResult::kAccepted);
  EXPECT_EQ(net[1].membership().current(), (Configuration{{1}, {2}}));
  EXPECT_LT(net[1].commit_index(), net[1].membership().index());
}

TEST(Configuration, ALearnerGetsTheLogAndAppliesIt) {
  Cluster net(3);
  net.Propose(1, "before");
  net.AddLearner(4);
  net.Propose(1, "after");
  net.RunFor(3);
  EXPECT_EQ(net.member(4).applied, net.member(1).applied);
  EXPECT_EQ(net[4].membership().current(), (Configuration{{1, 2, 3}, {4}}));
}

TEST(Configuration, ALearnerDoesNotCount) {
  Cluster net(3);
  net.AddLearner(4);
  net.Isolate(2);
  net.Isolate(3);
  const Index before = net[1].commit_index();
  net.Propose(1, "x");
  net.Read(1, 7);
  net.Stabilize();
  EXPECT_EQ(net[1].commit_index(), before);
  EXPECT_TRUE(net.member(1).reads.empty());
  net.RunFor(40);  // CheckQuorum: an answering learner is no majority
  EXPECT_NE(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[4].role(), Role::kFollower) << "a learner does not campaign";
}

TEST(Configuration, ALearnerCannotBeMadeLeader) {
  Cluster net(3);
  net.AddLearner(4);
  EXPECT_EQ(net.Transfer(1, 4), TransferResult::kBadTarget);
  net.Step({.from = 1, .to = 4, .term = net[1].term(), .body = TimeoutNow{}});
  EXPECT_EQ(net[4].role(), Role::kFollower);
}

// A learner may not know yet that it is a voter. If it declined to vote, the others might be unable
// to elect a leader.
TEST(Configuration, ALearnerVotesWhenItIsAsked) {
  Cluster net(1);
  net.AddLearner(2);
  net.AddLearner(3);
  ASSERT_EQ(net.Change(1, "1,2+3"), ProposeResult::kAccepted);
  net.RunFor(3);
  net.Cut(1, 3);  // member 3 does not learn that it votes from now on
  ASSERT_EQ(net.Change(1, "1,2,3"), ProposeResult::kAccepted);
  net.RunFor(3);
  ASSERT_FALSE(net[3].membership().IsVoter(3));
  net.Crash(1);
  net.Elect(2);
  EXPECT_TRUE(net[3].membership().IsVoter(3));
}

// The size of the cluster is even for a moment: promote 3, 1 crashes, and 2 and 3 elect a leader.
TEST(Configuration, APromotedLearnerCounts) {
  Cluster net(2);
  net.AddLearner(3);
  ASSERT_EQ(net.Change(1, "1,2,3"), ProposeResult::kAccepted);
  net.Stabilize();
  net.Crash(1);
  net.Elect(2);
  EXPECT_EQ(net[2].membership().voters(), (std::vector<MemberId>{1, 2, 3}));
}

TEST(Configuration, OneChangeAtATime) {
  Cluster net(3);
  net.Join(4);
  net.Isolate(1);
  ASSERT_EQ(net.Change(1, "1,2,3+4"), ProposeResult::kAccepted);
  EXPECT_EQ(net.Change(1, "1,2,3,4"), ProposeResult::kChangePending);
  net.Recover();
  net.RunFor(8);
  EXPECT_EQ(net.Change(1, "1,2,3,4"), ProposeResult::kAccepted);
}

TEST(Configuration, OnlyALeaderChangesIt) {
  Cluster net(3);
  EXPECT_EQ(net.Change(2, "1,2"), ProposeResult::kNotLeader);
  net.Transfer(1, 2);
  EXPECT_EQ(net.Change(1, "1,2"), ProposeResult::kTransferring);
}

// The bug in the first publication of single-server changes: without this rule, two leaders may use
// different configurations that follow the same one, and their majorities need no common member.
TEST(Configuration, NoChangeBeforeTheLeaderHasCommittedAnEntryOfItsTerm) {
  Cluster net(4);
  net.RunFor(3);
  net.Transfer(1, 2);
  net.StabilizeOnly([](const Message& m) {
    return std::holds_alternative<TimeoutNow>(m.body) ||
           std::holds_alternative<RequestVote>(m.body) ||
           std::holds_alternative<RequestVoteReply>(m.body);
  });
  ASSERT_EQ(net[2].role(), Role::kLeader);
  EXPECT_EQ(net.Change(2, "2,3,4"), ProposeResult::kChangePending);
  net.RunFor(3);
  EXPECT_EQ(net.Change(2, "2,3,4"), ProposeResult::kAccepted);
}

TEST(Configuration, ANewLeaderKeepsAnUncommittedConfiguration) {
  Cluster net(3);
  net.Join(4);
  ASSERT_EQ(net.Change(1, "1,2,3,4"), ProposeResult::kAccepted);
  net.Deliver(1, 2);  // only member 2 has the entry
  net.Crash(1);
  net.DropAll();
  net.Elect(2);
  EXPECT_EQ(net[2].membership().voters(), (std::vector<MemberId>{1, 2, 3, 4}));
  net.RunFor(3);
  EXPECT_EQ(net[4].membership().voters(), (std::vector<MemberId>{1, 2, 3, 4}));
}

TEST(Configuration, ATruncationBringsTheOneBeforeBack) {
  Cluster net(3);
  net.Isolate(1);
  ASSERT_EQ(net.Change(1, "1,2"), ProposeResult::kAccepted);
  net.Elect(2);
  net.Propose(2, "x");
  EXPECT_EQ(net[1].membership().voters(), (std::vector<MemberId>{1, 2}));
  net.Recover();
  net.RunFor(3);
  EXPECT_EQ(net[1].membership().voters(), (std::vector<MemberId>{1, 2, 3}));
  EXPECT_EQ(net.member(1).applied, net.member(2).applied);
}

TEST(Configuration, ARestartFindsItInTheLog) {
  Cluster net(3);
  net.member(2).hold_apply = true;
  net.Join(4);
  ASSERT_EQ(net.Change(1, "1,2,3+4"), ProposeResult::kAccepted);
  net.RunFor(3);
  net.Isolate(1);
  ASSERT_EQ(net.Change(1, "1,2,3,4"), ProposeResult::kAccepted);  // saved here, not committed
  net.Restart(1);
  EXPECT_EQ(net[1].membership().current(), (Configuration{{1, 2, 3, 4}, {}}));
  EXPECT_GT(net[1].membership().index(), net[1].commit_index());
  net.Restart(2);
  EXPECT_EQ(net[2].membership().current(), (Configuration{{1, 2, 3}, {4}}));
}

// Followers reject a leader with two of them (plausibility.cc).
TEST(Configuration, AfterARestartTooAtMostOneIsNotCommitted) {
  Cluster net(3);
  for (MemberId id : {1, 2, 3}) net.member(id).hold_apply = true;
  net.Join(4);
  ASSERT_EQ(net.Change(1, "1,2,3+4"), ProposeResult::kAccepted);
  net.Stabilize();
  net.Cut(1, 3);
  net.Cut(1, 4);
  ASSERT_EQ(net.Change(1, "1,2,3,4"), ProposeResult::kAccepted);
  net.Stabilize();  // the leader and 2 have it, of four voters
  for (MemberId id : {1, 2}) {
    net.Restart(id);
    EXPECT_EQ(net[id].membership().current(), (Configuration{{1, 2, 3, 4}, {}})) << id;
    EXPECT_EQ(net[id].membership().NumberAfter(net[id].commit_index()), 1u) << id;
  }
}

// --- snapshots

TEST(Configuration, ASnapshotBringsTheOneThatItContains) {
  Cluster net(3);
  net.Isolate(3);
  net.AddLearner(4);
  ASSERT_EQ(net.Change(1, "1,2,3,4"), ProposeResult::kAccepted);
  net.Propose(1, "x");
  net.RunFor(3);
  net.CutLog(1, net[1].last_index());
  ASSERT_GT(net[1].status().first_index, net[1].membership().index());
  net.Recover();
  net.RunFor(10);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(net[3].status().first_index, net[3].last_index() + 1) << "it got a snapshot";
    EXPECT_EQ(net[3].membership().voters(), (std::vector<MemberId>{1, 2, 3, 4}));
    net.Restart(3);
  }
}

TEST(Configuration, ASnapshotReplacesOneThatWasNotCommitted) {
  Cluster net(3);
  net.Isolate(1);
  ASSERT_EQ(net.Change(1, "1,2"), ProposeResult::kAccepted);
  net.Elect(2);
  net.Propose(2, "x");
  net.RunFor(3);
  net.CutLog(2, net[2].last_index());
  net.Recover();
  net.RunFor(10);
  EXPECT_EQ(net[1].status().first_index, net[1].last_index() + 1) << "it got a snapshot";
  EXPECT_EQ(net[1].membership().voters(), (std::vector<MemberId>{1, 2, 3}));
}

TEST(Configuration, AMemberThatJoinsMayBeginWithASnapshot) {
  Cluster net(1);
  for (int i = 0; i < 5; ++i) net.Propose(1, "x");
  net.CutLog(1, net[1].last_index());
  net.AddLearner(2);
  EXPECT_GT(net[2].status().first_index, 1u);
  EXPECT_EQ(net[2].membership().current(), (Configuration{{1}, {2}}));
  ASSERT_EQ(net.Change(1, "1,2"), ProposeResult::kAccepted);
  net.RunFor(3);
  EXPECT_EQ(net[2].commit_index(), net[1].last_index());
}

// --- removal

TEST(Configuration, ARemovedFollowerIsToldThatAndGetsNothingMore) {
  Cluster net(3);
  ASSERT_EQ(net.Change(1, "1,2"), ProposeResult::kAccepted);
  const Index removal = net[1].last_index();
  EXPECT_TRUE(net[1].status().peers.contains(3)) << "its removal is not committed yet";
  net.Stabilize();
  EXPECT_EQ(net[3].commit_index(), removal);
  EXPECT_FALSE(net[1].status().peers.contains(3));
  net.Propose(1, "x");
  net.RunFor(3);
  EXPECT_EQ(net[1].commit_index(), net[1].last_index());
  EXPECT_LT(net[3].last_index(), net[1].last_index());
}

TEST(Configuration, ARemovedFollowerThatDoesNotAnswerIsForgotten) {
  Cluster net(3);
  net.Isolate(3);
  ASSERT_EQ(net.Change(1, "1,2"), ProposeResult::kAccepted);
  net.RunFor(3);
  EXPECT_EQ(net[1].commit_index(), net[1].last_index());
  EXPECT_TRUE(net[1].status().peers.contains(3));
  net.RunFor(10);
  EXPECT_FALSE(net[1].status().peers.contains(3));
}

// The removed follower no longer hears from the leader, and asks for votes again and again. Members
// that hear from the leader do not take over a new term (thesis §4.2.3).
TEST(Configuration, ARemovedFollowerDisturbsNobody) {
  Cluster net(3);
  ASSERT_EQ(net.Change(1, "1,2"), ProposeResult::kAccepted);
  const Term term = net[1].term();
  net.RunFor(200);
  EXPECT_EQ(net[1].term(), term);
  EXPECT_EQ(net[1].role(), Role::kLeader);
  net.Propose(1, "x");
  net.RunFor(3);
  EXPECT_EQ(net.member(2).applied, net.member(1).applied);
}

TEST(Configuration, ARemovedLeaderLeadsUntilThatIsCommittedAndDoesNotCountItself) {
  Cluster net(3);
  net.Cut(1, 3);
  ASSERT_EQ(net.Change(1, "2,3"), ProposeResult::kAccepted);
  const Index removal = net[1].last_index();
  net.Stabilize();
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_LT(net[1].commit_index(), removal) << "2 alone is no majority of 2 and 3";
  net.Recover();
  net.RunFor(8);
  EXPECT_GE(net[1].commit_index(), removal);
  EXPECT_NE(net[1].role(), Role::kLeader);
  const MemberId leader = net[2].leader();
  EXPECT_TRUE(leader == 2 || leader == 3) << "it asked the best voter to campaign at once";
  const Term term = net[leader].term();
  net.RunFor(200);
  EXPECT_EQ(net[leader].term(), term);
  EXPECT_EQ(net[1].role(), Role::kFollower);
}

TEST(Configuration, ARemovedLeaderReportsWhy) {
  Cluster net(2);
  ASSERT_EQ(net.Change(1, "2"), ProposeResult::kAccepted);
  net.RunFor(3);
  const auto& events = net.member(1).events;
  EXPECT_TRUE(std::any_of(events.begin(), events.end(), [](const Event& event) {
    const auto* down = std::get_if<SteppedDown>(&event);
    return down != nullptr && down->why == SteppedDown::Why::kNoVoter;
  }));
  EXPECT_EQ(net[2].role(), Role::kLeader);
}

TEST(Configuration, RemovingAVoterMayCommitWhatWaited) {
  Cluster net(2);
  net.Isolate(2);
  net.Propose(1, "x");
  EXPECT_LT(net[1].commit_index(), net[1].last_index());
  ASSERT_EQ(net.Change(1, "1"), ProposeResult::kAccepted);
  EXPECT_EQ(net[1].commit_index(), net[1].last_index());
}

// No more answers arrive. But after the removal the leader alone is a majority.
TEST(Configuration, RemovingAVoterMayConfirmAReadThatWaited) {
  Cluster net(2);
  net.Isolate(2);
  net.Read(1, 7);
  EXPECT_TRUE(net.member(1).reads.empty());
  ASSERT_EQ(net.Change(1, "1"), ProposeResult::kAccepted);
  ASSERT_EQ(net.member(1).reads.size(), 1u);
  EXPECT_GT(net.member(1).reads[0].index, 0u);
  net.Read(1, 8);
  EXPECT_EQ(net.member(1).reads.size(), 2u);
}

// Member 1 has its own removal in its log, so its log is longer than that of member 2, which is no
// majority without member 1. So member 1 must win one more election (thesis §4.2.2, figure 4.6).
TEST(Configuration, AVoterWhoseRemovalIsNotCommittedCampaigns) {
  Cluster net(2);
  net.Isolate(1);
  ASSERT_EQ(net.Change(1, "2"), ProposeResult::kAccepted);
  net.Restart(1);
  net.Recover();
  net.RunFor(100);
  EXPECT_EQ(net[2].role(), Role::kLeader);
  EXPECT_EQ(net[2].membership().voters(), (std::vector<MemberId>{2}));
  const Term term = net[2].term();
  net.RunFor(100);
  EXPECT_EQ(net[2].term(), term);
}

// --- joining

TEST(Configuration, AMemberThatJoinsCampaignsForNobodyAndLearnsTheMembers) {
  Cluster net(3);
  net.Join(4);
  net.Tick(4, 100);
  EXPECT_EQ(net[4].role(), Role::kFollower);
  EXPECT_TRUE(net.wire().empty());
  ASSERT_EQ(net.Change(1, "1,2,3+4"), ProposeResult::kAccepted);
  net.RunFor(3);
  EXPECT_EQ(net[4].membership().current(), (Configuration{{1, 2, 3}, {4}}));
  EXPECT_EQ(net[4].leader(), 1u);
}

TEST(Configuration, AClusterGrowsFromOneAndReplacesAll) {
  Cluster net(1);
  for (MemberId id = 2; id <= 6; ++id) {
    const MemberId leader = net[id - 1].role() == Role::kLeader ? id - 1 : net[id - 1].leader();
    net.Join(id);
    Configuration next = net[leader].membership().current();
    next.learners = {id};
    ASSERT_EQ(net.Change(leader, Cluster::Text(next)), ProposeResult::kAccepted);
    net.RunFor(5);
    next.learners.clear();
    next.voters.push_back(id);
    ASSERT_EQ(net.Change(leader, Cluster::Text(next)), ProposeResult::kAccepted);
    net.RunFor(5);
    if (next.voters.size() <= 3) continue;
    next.voters.erase(next.voters.begin());
    ASSERT_EQ(net.Change(leader, Cluster::Text(next)), ProposeResult::kAccepted);
    net.RunFor(30);
  }
  EXPECT_EQ(net[6].membership().voters(), (std::vector<MemberId>{4, 5, 6}));
  EXPECT_EQ(net.member(6).applied, net.member(5).applied);
}

// --- class Membership alone

TEST(Membership, EachMajorityOfTwoFollowingConfigurationsHasACommonMember) {
  Prng prng(1);
  Configuration configuration{.voters = {1, 2, 3}, .learners = {}};
  for (int i = 0; i < 10'000; ++i) {
    const Membership membership(1, configuration);
    Configuration next;
    for (MemberId id = 1; id <= 7; ++id) {
      if (prng.Below(4) == 0 ? prng.Below(2) == 0 : membership.IsVoter(id))
        next.voters.push_back(id);
    }
    if (!membership.IsSingleChange(next)) continue;
    std::vector<MemberId> all;
    std::set_union(configuration.voters.begin(), configuration.voters.end(), next.voters.begin(),
                   next.voters.end(), std::back_inserter(all));
    EXPECT_GT(Majority(configuration.voters.size()) + Majority(next.voters.size()), all.size());
    configuration = next;
  }
}

TEST(Membership, KeepsWhatATruncationMayBringBack) {
  Membership membership(2, {{1, 2, 3}, {}});
  membership.Append(5, {{1, 2, 3}, {4}});
  membership.Append(9, {{1, 2, 3, 4}, {}});
  EXPECT_EQ(membership.NumberAfter(5), 1u);
  EXPECT_FALSE(membership.TruncateFrom(10));
  EXPECT_TRUE(membership.TruncateFrom(7));
  EXPECT_EQ(membership.current(), (Configuration{{1, 2, 3}, {4}}));
  EXPECT_EQ(membership.everyone(), (std::vector<MemberId>{1, 2, 3, 4}));
  membership.Commit(4);
  EXPECT_TRUE(membership.TruncateFrom(5));
  EXPECT_EQ(membership.index(), 2u);
  membership.Append(5, {{1, 2}, {}});
  EXPECT_TRUE(membership.Reset(8, {{1, 2, 3}, {4}}));
  EXPECT_FALSE(membership.TruncateFrom(9));
  EXPECT_EQ(membership.index(), 8u);
  EXPECT_FALSE(membership.MayBeVoter(4));
}

}  // namespace
}  // namespace raftkv::raft
