// Votes and terms beyond the paper's cases: what must be saved before a message is sent, and what
// survives a restart.

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

void GrantPreVote(Network& net, MemberId from) {
  net.Step(From(from, net[1].term() + 1, RequestVoteReply{.granted = true, .pre_vote = true}));
}

TEST(Vote, CandidateAsksOnlyOnceItsTermAndVoteAreSaved) {
  Network net(3);
  net.Campaign(1);
  net.DropAll();
  net.member(1).hold_saves = true;
  GrantPreVote(net, 2);
  ASSERT_EQ(net[1].role(), Role::kCandidate);
  EXPECT_TRUE(net.wire().empty());
  net.Saved(1, 10);
  EXPECT_EQ(net.TakeSent(1).size(), 2u);
  EXPECT_EQ(net.member(1).disk.hard_state(), (HardState{1, 1, 0}));
}

TEST(Vote, NoMemberLeadsAnUnsavedTerm) {
  Network net(5);
  net.Campaign(1);
  GrantPreVote(net, 2);
  net.member(1).hold_saves = true;
  GrantPreVote(net, 3);
  ASSERT_EQ(net[1].role(), Role::kCandidate);
  for (MemberId voter : {2, 3, 4, 5}) net.Step(From(voter, 1, RequestVoteReply{.granted = true}));
  EXPECT_EQ(net[1].role(), Role::kCandidate) << "all others voted for it, but its own is not saved";
  net.Saved(1, 10);
  EXPECT_EQ(net[1].role(), Role::kLeader);
}

TEST(Vote, SoleVoterLeadsAndCommitsOnlyWhatItHasSaved) {
  Network net(1);
  net.member(1).hold_saves = true;
  net.Tick(1);
  EXPECT_EQ(net[1].role(), Role::kCandidate);
  net.Saved(1, 1);
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[1].commit_index(), 0u);
  net.Saved(1, 10);
  EXPECT_EQ(net[1].commit_index(), 1u);
}

TEST(Vote, GrantLeavesAfterTheSave) {
  Network net(3);
  net.member(1).hold_saves = true;
  net.Step(From(2, 1, RequestVote{}));
  EXPECT_TRUE(net.wire().empty());
  net.Saved(1, 10);
  EXPECT_EQ(net.member(1).disk.hard_state(), (HardState{1, 2, 0}));
  EXPECT_TRUE(std::get<RequestVoteReply>(net.TakeSent(1).at(0).body).granted);
}

TEST(Vote, IsRememberedOverARestart) {
  Network net(3);
  net.Step(From(2, 1, RequestVote{}));
  net.DropAll();
  net.Restart(1);
  net.Step(From(3, 1, RequestVote{}));
  EXPECT_FALSE(std::get<RequestVoteReply>(net.TakeSent(1).at(0).body).granted);
  net.Step(From(2, 1, RequestVote{}));
  EXPECT_TRUE(std::get<RequestVoteReply>(net.TakeSent(1).at(0).body).granted)
      << "a repeated request";
}

// A repeated request may arrive after the term has its leader. It must not delay this member's own
// campaign.
TEST(Vote, RepeatedRequestIsAnsweredAgainAndChangesNothing) {
  Network net(3);
  net.Step(From(2, 1, RequestVote{}));
  const int timeouts = 2 * net.member(1).config.election_timeout_ticks;
  for (int i = 0; i < timeouts && net[1].role() == Role::kFollower; ++i) {
    net.DropAll();
    net.Step(From(2, 1, RequestVote{}));
    EXPECT_TRUE(std::get<RequestVoteReply>(net.TakeSent(1).at(0).body).granted);
    net.Tick(1);
  }
  EXPECT_EQ(net[1].role(), Role::kPreCandidate);
  const std::vector<Event>& events = net.member(1).events;
  EXPECT_EQ(std::count_if(events.begin(), events.end(),
                          [](const Event& e) { return std::holds_alternative<VoteGranted>(e); }),
            1);
}

// The request was delayed until its term had a leader. The voter hears that leader, so it grants no
// pre-vote, not even to the candidate that it had voted for.
TEST(Vote, LatePreVoteRequestIsDeclinedOnceTheTermHasItsLeader) {
  Network net(3);
  net.Step(From(2, 1, RequestVote{}));
  EXPECT_TRUE(std::get<RequestVoteReply>(net.TakeSent(1).at(0).body).granted);
  net.Step(From(3, 1, AppendEntries{}));
  ASSERT_EQ(net[1].leader(), 3u);
  net.DropAll();
  net.Step(From(2, 1, RequestVote{.pre_vote = true}));
  EXPECT_FALSE(std::get<RequestVoteReply>(net.TakeSent(1).at(0).body).granted);
}

// A member that forgot its vote could vote twice in the term.
TEST(Vote, SteppingDownInTheSameTermKeepsTheVote) {
  Network net(3);
  net.Elect(1);
  net.Into(1, [](Raft& raft) { raft.StepDown(); });
  net.Turn(1);
  EXPECT_EQ(net[1].role(), Role::kFollower);
  EXPECT_EQ(net[1].term(), 1u);
  net.Step(From(3, 1, RequestVote{.last = {1, 9}}));
  EXPECT_FALSE(std::get<RequestVoteReply>(net.TakeSent(1, 3).at(0).body).granted);
}

TEST(Vote, RepliesOfAnOlderTermDoNotCount) {
  Network net(3);
  net.Campaign(1);
  GrantPreVote(net, 2);
  net.DropAll();
  net.Tick(1, 20);
  GrantPreVote(net, 2);
  ASSERT_EQ(net[1].term(), 2u);
  ASSERT_EQ(net[1].role(), Role::kCandidate);
  net.Step(From(2, 1, RequestVoteReply{.granted = true}));
  net.Step(From(3, 1, RequestVoteReply{.granted = true}));
  EXPECT_EQ(net[1].role(), Role::kCandidate);
}

TEST(Vote, RepeatedReplyCountsOnce) {
  Network net(5);
  net.Campaign(1);
  GrantPreVote(net, 2), GrantPreVote(net, 2);
  EXPECT_EQ(net[1].role(), Role::kPreCandidate);
  GrantPreVote(net, 3);
  ASSERT_EQ(net[1].role(), Role::kCandidate);
  for (int i = 0; i < 3; ++i) net.Step(From(2, 1, RequestVoteReply{.granted = true}));
  EXPECT_EQ(net[1].role(), Role::kCandidate);
}

// A delayed append of an old leader must not change the term, the vote or the log.
TEST(Vote, LateAppendOfAnOldTermChangesNothing) {
  Network net(3);
  net.Step(From(2, 5, RequestVote{}));
  net.DropAll();
  net.Step(From(3, 4, AppendEntries{.prev = {}, .entries = {Command(4, 1)}, .commit = 1}));
  EXPECT_EQ(net[1].term(), 5u);
  EXPECT_EQ(net[1].last_index(), 0u);
  EXPECT_EQ(net.member(1).disk.hard_state(), (HardState{5, 2, 0}));
}

// A member that declines a vote takes over the higher term, but must not record a vote in it.
TEST(Vote, DeclinedCandidateOfAHigherTermGetsNoVote) {
  Network net({{1, MemoryDisk({2, 0, 0}, LogOfTerms({2, 2}))}, {2, {}}, {3, {}}});
  net.Step(From(2, 3, RequestVote{.last = {1, 9}}));
  EXPECT_EQ(net.member(1).disk.hard_state(), (HardState{3, kNobody, 0}));
  net.Step(From(3, 3, RequestVote{.last = {2, 2}}));
  EXPECT_EQ(net.member(1).disk.hard_state(), (HardState{3, 3, 0}));
}

// §5.2: only a granted vote and a leader restart the election timer.
TEST(Vote, DeclinedCandidateDoesNotDelayAnElection) {
  Network net({{1, MemoryDisk({1, 0, 0}, LogOfTerms({1}))}, {2, {}}, {3, {}}});
  int ticks = 0;
  for (; net[1].role() == Role::kFollower && ticks < 20; ++ticks) {
    net.Step(From(2, 2 + ticks, RequestVote{}));
    net.Tick(1);
  }
  EXPECT_LT(ticks, 20);
  EXPECT_EQ(net[1].role(), Role::kPreCandidate);
}

// A member with a new data directory may have forgotten that it voted in this term.
TEST(Vote, MemberThatMayNotVoteNeitherGrantsNorCampaignsButFollows) {
  Network net(3);
  net.Into(1, [](Raft& raft) { raft.SetVoting(false); });
  for (bool pre_vote : {true, false}) {
    net.Step(From(2, 1, RequestVote{.last = {1, 9}, .pre_vote = pre_vote}));
    EXPECT_FALSE(std::get<RequestVoteReply>(net.TakeSent(1).at(0).body).granted);
  }
  net.Tick(1, 100);
  EXPECT_EQ(net[1].role(), Role::kFollower);
  EXPECT_TRUE(net.wire().empty());
  net.Step(From(2, 1, AppendEntries{.prev = {}, .entries = {Command(1, 1)}, .commit = 1}));
  EXPECT_EQ(net.member(1).applied.size(), 1u);
  EXPECT_TRUE(std::get<AppendEntriesReply>(net.TakeSent(1).at(0).body).success);
  net.Into(1, [](Raft& raft) { raft.SetVoting(true); });
  net.Campaign(1);
  EXPECT_EQ(net[1].role(), Role::kPreCandidate);
}

TEST(Vote, LeaderThatMayNotVoteAnyMoreStepsDown) {
  Network net(3);
  net.Elect(1);
  net.Into(1, [](Raft& raft) { raft.SetVoting(false); });
  EXPECT_EQ(net[1].role(), Role::kFollower);
}

// Thesis §4.1: a member answers every candidate, also one that is not in its configuration.
TEST(Vote, CandidateOutsideTheConfigurationIsAnswered) {
  Network net(3);
  net.Step(From(9, 1, RequestVote{}));
  const Message sent = net.TakeSent(1).at(0);
  EXPECT_EQ(sent.to, 9u);
  EXPECT_TRUE(std::get<RequestVoteReply>(sent.body).granted);
}

TEST(Vote, AcknowledgementsFromOutsideTheConfigurationCommitNothing) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "x");
  for (MemberId stranger : {7, 8, 9}) {
    net.Step(From(stranger, 1, AppendEntriesReply{.success = true, .match = 2}));
  }
  EXPECT_EQ(net[1].commit_index(), 1u);
}

TEST(Vote, LearnerFollowsAndNeverCampaigns) {
  MemoryDisk disk;
  Raft learner(TestConfig(4), {.voters = {1, 2, 3}, .learners = {4}}, 0, &disk);
  for (int i = 0; i < 100; ++i) learner.Tick(1);
  EXPECT_EQ(learner.role(), Role::kFollower);
  EXPECT_FALSE(learner.HasReady());
}

}  // namespace
}  // namespace raftkv::raft
