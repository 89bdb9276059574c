// Leadership transfer (thesis §3.10).

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

template <typename Body>
size_t CountSent(const Network& net, MemberId from) {
  size_t count = 0;
  for (const Message& message : const_cast<Network&>(net).wire()) {
    count += message.from == from && std::holds_alternative<Body>(message.body);
  }
  return count;
}

template <typename Wanted>
std::vector<Wanted> EventsOf(Network& net, MemberId member) {
  std::vector<Wanted> events;
  for (const Event& event : net.member(member).events) {
    if (const auto* wanted = std::get_if<Wanted>(&event)) events.push_back(*wanted);
  }
  return events;
}

TEST(Transfer, TargetLeadsTheNextTerm) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "x");
  net.Stabilize();
  EXPECT_EQ(net.Transfer(1, 3), TransferResult::kStarted);
  net.Stabilize();
  EXPECT_EQ(net[3].role(), Role::kLeader);
  EXPECT_EQ(net[3].term(), 2u);
  for (MemberId member : {1, 2}) EXPECT_EQ(net[member].leader(), 3u);
  EXPECT_EQ(net[1].transferee(), kNobody);
}

// The log lines of a planned change of leader must not look like a failure.
TEST(Transfer, IsReportedAsOne) {
  Network net(3);
  net.Elect(1);
  net.Stabilize();
  net.Transfer(1, 3);
  net.Stabilize();
  for (MemberId member : {1, 2, 3}) {
    int lost = 0;
    for (const auto& changed : EventsOf<LeaderChanged>(net, member)) {
      if (changed.leader != kNobody) continue;
      ++lost;
      EXPECT_TRUE(changed.transfer);
    }
    EXPECT_EQ(lost, 1);
  }
  const auto down = EventsOf<SteppedDown>(net, 1);
  ASSERT_EQ(down.size(), 1u);
  EXPECT_EQ(down[0].why, SteppedDown::Why::kTransfer);
}

// A follower may get an append of the next leader before its vote request. It must not report that
// it lost its leader.
TEST(Transfer, AFollowerThatHearsTheNextLeaderFirstLosesNone) {
  Network net(3);
  net.Elect(1);
  net.Stabilize();
  net.member(2).events.clear();
  net.Step({3, 2, 2, AppendEntries{.prev = {1, 1}}});
  net.Stabilize();
  const auto changed = EventsOf<LeaderChanged>(net, 2);
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].leader, 3u);
}

TEST(Transfer, NeedsALeaderAndAnotherVoter) {
  Network net(3);
  EXPECT_EQ(net.Transfer(1, 2), TransferResult::kNotLeader);
  net.Elect(1);
  EXPECT_EQ(net.Transfer(2, 3), TransferResult::kNotLeader);
  for (MemberId target : {MemberId{1}, MemberId{4}, kNobody}) {
    EXPECT_EQ(net.Transfer(1, target), TransferResult::kBadTarget);
  }
  EXPECT_EQ(net.Propose(1, "x"), ProposeResult::kAccepted);
}

// A candidate without the whole log would lose.
TEST(Transfer, BringsTheTargetUpToDateFirst) {
  Network net(3);
  net.Elect(1);
  net.Isolate(3);
  for (const char* text : {"a", "b", "c"}) net.Propose(1, text);
  net.Stabilize();
  EXPECT_LT(net[3].last_index(), net[1].last_index());
  net.Transfer(1, 3);
  EXPECT_EQ(CountSent<TimeoutNow>(net, 1), 0u);
  net.Recover();
  for (int i = 0; i < 5; ++i) {
    net.Tick(1);
    net.Stabilize();
  }
  EXPECT_EQ(net[3].role(), Role::kLeader);
  EXPECT_EQ(net[3].last_index(), net[1].last_index());
}

// What is not committed might be lost with the change of leader.
TEST(Transfer, CommitsTheWholeLogFirst) {
  Network net(3);
  net.Elect(1);
  net.Cut(1, 2);
  net.member(3).hold_saves = true;
  net.Propose(1, "x");
  net.Transfer(1, 3);
  net.Stabilize();
  EXPECT_EQ(CountSent<TimeoutNow>(net, 1), 0u);
  EXPECT_EQ(net[1].role(), Role::kLeader);
  net.member(3).hold_saves = false;
  net.Saved(3, 10);
  net.Recover();
  net.Stabilize();
  EXPECT_EQ(net[3].role(), Role::kLeader);
}

TEST(Transfer, AcceptsNoProposalsMeanwhile) {
  Network net(3);
  net.Elect(1);
  net.Isolate(3);
  net.Transfer(1, 3);
  EXPECT_EQ(net.Propose(1, "x"), ProposeResult::kTransferring);
  EXPECT_EQ(net[1].transferee(), 3u);
}

TEST(Transfer, IsGivenUpAfterAnElectionTimeout) {
  Network net(3);
  net.Elect(1);
  net.Isolate(3);
  net.Transfer(1, 3);
  for (int i = 0; i < 9; ++i) {
    net.Tick(1);
    net.Stabilize();
  }
  EXPECT_EQ(net.Propose(1, "x"), ProposeResult::kTransferring);
  net.Tick(1);
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[1].transferee(), kNobody);
  EXPECT_EQ(net.Propose(1, "x"), ProposeResult::kAccepted);
}

TEST(Transfer, AsksAgainIfTheMessageIsLost) {
  Network net(3);
  net.Elect(1);
  net.Transfer(1, 3);
  EXPECT_EQ(CountSent<TimeoutNow>(net, 1), 1u);
  net.DropAll();
  net.Tick(1, 2);
  net.Stabilize();
  EXPECT_EQ(net[3].role(), Role::kLeader);
}

TEST(Transfer, TwoMessagesStartOneElection) {
  Network net(3);
  net.Elect(1);
  net.Transfer(1, 3);
  const Message first = net.TakeSent(1, 3).at(0);
  net.Step(first);
  net.Step(first);
  EXPECT_EQ(net[3].term(), 2u);
  net.Stabilize();
  net.Step(first);
  EXPECT_EQ(net[3].role(), Role::kLeader);
  EXPECT_EQ(net[3].term(), 2u);
}

TEST(Transfer, AnotherTargetBeginsAnew) {
  Network net(3);
  net.Elect(1);
  net.Isolate(3);
  net.Transfer(1, 3);
  net.Tick(1, 2);
  EXPECT_EQ(net.Transfer(1, 2), TransferResult::kStarted);
  net.Stabilize();
  EXPECT_EQ(net[2].role(), Role::kLeader);
}

// Followers that hear from the leader ignore votes, but not this one (thesis §4.2.3).
TEST(Transfer, VotersThatHearTheLeaderVoteForTheTarget) {
  for (bool transfer : {true, false}) {
    Network net(3);
    net.Elect(1);
    net.Step({3, 2, 2, RequestVote{.last = {1, 1}, .leadership_transfer = transfer}});
    EXPECT_EQ(net[2].term(), transfer ? 2u : 1u);
    EXPECT_EQ(net.TakeSent(2).size(), transfer ? 1u : 0u);
  }
}

TEST(Transfer, AMemberThatMayNotVoteDoesNotCampaign) {
  Network net(3);
  net.Elect(1);
  net.Into(3, [](Raft& raft) { raft.SetVoting(false); });
  net.Transfer(1, 3);
  net.Stabilize();
  EXPECT_EQ(net[3].role(), Role::kFollower);
  EXPECT_EQ(net[1].role(), Role::kLeader);
}

// The old leader has stepped down, so the target repeats its election soon, by the usual rounds.
TEST(Transfer, ALostElectionIsRepeatedSoon) {
  Network net(3);
  net.Elect(1);
  net.Transfer(1, 3);
  net.Step(net.TakeSent(1, 3).at(0));
  net.StabilizeOnly([](const Message& message) { return message.from != 1 && message.from != 2; });
  EXPECT_EQ(net[1].term(), 2u);
  net.DropAll();  // the votes
  int ticks = 0;
  for (; net[3].role() != Role::kLeader && ticks < 10; ++ticks) net.RunFor(1);
  EXPECT_EQ(net[3].role(), Role::kLeader) << "before any election timeout has passed";
}

TEST(Transfer, BestTransfereeIsTheMemberWithTheLongestLogOfThoseThatAnswer) {
  Network net(3);
  EXPECT_EQ(net[1].BestTransferee(), kNobody);
  net.Elect(1);
  net.Stabilize();
  net.Cut(1, 2);
  net.Propose(1, "x");
  net.Stabilize();
  EXPECT_EQ(net[1].BestTransferee(), 3u);
  net.Isolate(1);
  for (int i = 0; i < 9; ++i) net.Tick(1);
  EXPECT_NE(net[1].BestTransferee(), kNobody);
  net.Tick(1);
  EXPECT_EQ(net[1].BestTransferee(), kNobody);
}

}  // namespace
}  // namespace raftkv::raft
