// Proposals that a follower has forwarded when their leader stops or another member leads.

#include <vector>

#include "gtest/gtest.h"
#include "server/member/member.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

struct ForwardedTwice {
  std::shared_ptr<Answer> proposed, unread;
};

// The follower forwards two puts of "k" and "l" to the leader, which then crashes. It has proposed
// the first one, and has not read the second one.
ForwardedTwice ForwardToALeaderThatCrashes(Cluster& c, raft::MemberId leader,
                                           raft::MemberId follower) {
  ForwardedTwice forwarded;
  forwarded.proposed = c.Put(follower, "k", "1");
  c.Turn(follower);
  c.Deliver();
  c.Turn(leader);
  c.Deliver();
  forwarded.unread = c.Put(follower, "l", "2");
  c.Turn(follower);
  c.Crash(leader);
  c.Deliver();  // lost
  return forwarded;
}

// The leader stops before it has read, or answered, what was forwarded to it. Only the next
// leader's first entry shows that it was not proposed.
TEST(Forwarded, ProposalsThatAStoppedLeaderHasNotProposedAreProposedAgain) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  const raft::MemberId follower = c.follower();
  const auto [proposed, unread] = ForwardToALeaderThatCrashes(c, old, follower);
  c[follower].Post(ForwardLost{.peer = old, .unsent = {}, .stopped = true});
  c.Turn(follower);
  EXPECT_EQ(proposed->times + unread->times, 0);
  auto later = c.Put(follower, "m", "3");
  c.Turn(follower);
  EXPECT_TRUE(c[follower].Sent<ForwardedProposal>().empty()) << "it has stopped";
  c[follower].Post(PeerLost{old, UINT64_MAX});  // its process has ended
  c.Run(kElection);
  EXPECT_EQ(proposed->fate, Fate::kApplied);
  EXPECT_EQ(unread->fate, Fate::kApplied);
  EXPECT_EQ(later->fate, Fate::kApplied);
}

// The leader has stopped, and this is noticed while no leader is known. Then a late heartbeat lets
// the follower take it for the leader again, and forward to it once more. The connection breaks.
TEST(Forwarded, ALateHeartbeatOfAStoppedLeaderMakesNothingUnknown) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  const raft::MemberId follower = c.follower();
  const PeerMessage heartbeat{
      {.id = old, .store_id = c[old].store_id, .newest_version = kNewestVersion},
      follower,
      raft::Message{old, follower, c[follower].raft().term(), raft::AppendEntries{}}};
  c.Crash(old);
  c[follower].Post(PeerLost{old, UINT64_MAX});
  c[follower].Post(ForwardLost{.peer = old, .unsent = {}, .stopped = true});
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);
  ASSERT_EQ(c[follower].raft().leader(), raft::kNobody);
  c[follower].Post(heartbeat);
  c.Turn(follower);
  ASSERT_EQ(c[follower].raft().leader(), old);
  EXPECT_EQ(c[follower].Sent<ForwardedProposal>().size(), 1) << "this test is about it";
  c[follower].Post(ForwardLost{old, {}});
  c.Turn(follower);
  EXPECT_EQ(put->times, 0);
  c.Run(kElection);
  EXPECT_EQ(put->fate, Fate::kApplied);
}

// A leader dies. What a follower had forwarded to it is decided by the next leader's first entry.
// Either of the ends of the two connections may be noticed first.
TEST(Forwarded, ProposalsToALeaderThatDiesHaveADefiniteOutcome) {
  for (const bool forward_first : {true, false}) {
    Cluster c(3);
    c.Run(kElection);
    const raft::MemberId old = c.leader();
    const raft::MemberId follower = c.follower();
    const auto [proposed, unread] = ForwardToALeaderThatCrashes(c, old, follower);
    for (const bool forward : {forward_first, !forward_first}) {
      c[follower].Post(forward ? Input(ForwardLost{old, {}}) : Input(PeerLost{old, UINT64_MAX}));
      c.Turn(follower);
    }
    c.Run(kElection);
    EXPECT_EQ(proposed->fate, Fate::kApplied);
    EXPECT_EQ(unread->fate, Fate::kApplied);
    EXPECT_EQ(Cluster::Value(c[follower], "l"), "2");
  }
}

// No next leader shows what has become of the proposal.
TEST(Forwarded, IsUnknownIfOnlyTheConnectionBrokeAndTheLeaderStays) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  auto proposed = c.Put(follower, "k", "1");
  c.Turn(follower);
  c.Deliver();
  auto lost = c.Put(follower, "l", "2");
  c.Cut(leader);
  c.Turn(follower);
  c.Deliver();  // lost
  c.Heal();
  c[follower].Post(ForwardLost{leader, {}});
  c.Settle();
  EXPECT_EQ(proposed->fate, Fate::kApplied);
  EXPECT_EQ(lost->times, 0) << "the leader may have died";
  auto later = c.Put(follower, "m", "3");
  c.Run(absl::Milliseconds(300));
  EXPECT_EQ(lost->fate, Fate::kUnknownConnection) << "it has sent heartbeats since";
  EXPECT_EQ(later->fate, Fate::kApplied) << "it was sent on the new connection";
  EXPECT_EQ(Cluster::Value(c[follower], "l"), "");
}

// The end of the old connection is noticed when the next process of the leader leads already.
TEST(Forwarded, ALeaderThatWasTakenForStoppedGetsProposalsLater) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  c[follower].Post(ForwardLost{.peer = leader, .unsent = {}, .stopped = true});
  auto put = c.Put(follower, "k", "v");
  c.Settle();
  EXPECT_EQ(put->times, 0);
  c.Run(kElection);
  EXPECT_EQ(c.leader(), leader);
  EXPECT_EQ(put->fate, Fate::kApplied);
}

// The proposal is still on its way when its leader has stepped down, and another member leads.
TEST(Forwarded, AProposalThatMissedTheTermOfItsLeaderIsProposedOnceMore) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  const raft::MemberId follower = c.follower();
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);
  const std::vector<PeerMessage> late = c[follower].Sent<ForwardedProposal>();
  ASSERT_EQ(late.size(), 1);
  c.Cut(old);
  c.Deliver();  // lost
  c.Heal();
  auto transfer = c.Transfer(old, follower);
  c.Run(absl::Milliseconds(100));
  ASSERT_EQ(transfer->fate, Fate::kApplied);
  EXPECT_EQ(put->fate, Fate::kApplied);
  auto other = c.Put(follower, "k", "other");
  c.Settle();
  ASSERT_EQ(other->fate, Fate::kApplied);

  auto back = c.Transfer(follower, old);
  c.Run(absl::Milliseconds(100));
  ASSERT_EQ(c.leader(), old);
  c[old].Post(late[0]);
  c.Settle();
  EXPECT_EQ(Cluster::Value(c[old], "k"), "other") << "it is of an earlier term";
}

// Its origin has sent the proposal again, in a later term.
TEST(Forwarded, ADeclineOfAnotherTermIsIgnored) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  const raft::Term term = c[leader].raft().term();
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);
  for (const raft::Term of : {term + 1, term}) {
    c[follower].Post(
        PeerMessage{{.id = leader, .store_id = c[leader].store_id},
                    follower,
                    ForwardedProposalReply{.number = 1, .too_many_requests = true, .term = of}});
    c.Turn(follower);
    EXPECT_EQ(put->times, of == term ? 1 : 0);
  }
}

}  // namespace
}  // namespace raftkv
