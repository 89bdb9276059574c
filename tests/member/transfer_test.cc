// Leadership transfer as clients see it: their requests wait, and none fails.

#include "gtest/gtest.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

// Proposals wait while leadership is transferred, wherever they arrive, and none is lost.
TEST(MemberTransfer, FailsNoProposal) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  const raft::MemberId next = c.follower();
  const raft::MemberId other = 6 - old - next;
  std::vector<std::shared_ptr<Answer>> puts;
  for (raft::MemberId id : {old, next, other}) puts.push_back(c.Put(id, "k", "before"));
  c.Turn(next);
  c.Turn(other);
  c.Deliver();  // the leader proposes them in the turn in which the transfer begins
  auto transfer = c.Transfer(old, next);
  for (raft::MemberId id : {old, next, other}) puts.push_back(c.Put(id, "k", "meanwhile"));
  c.Run(absl::Milliseconds(200));
  EXPECT_EQ(c.leader(), next);
  EXPECT_EQ(transfer->fate, Fate::kApplied);
  for (const auto& put : puts) EXPECT_EQ(put->fate, Fate::kApplied);
}

// The target is cut off. The leader gives up, and what waited is proposed.
TEST(MemberTransfer, ThatIsGivenUpFailsNoProposal) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId target = c.follower();
  c.Cut(target);
  auto transfer = c.Transfer(leader, target);
  c.Settle();
  auto own = c.Put(leader, "k", "v");
  auto put = c.Put(6 - leader - target, "k", "v");
  c.Run(absl::Milliseconds(900));
  EXPECT_EQ(transfer->times + own->times + put->times, 0);
  c.Run(absl::Milliseconds(300));
  EXPECT_EQ(transfer->fate, Fate::kTimedOut);
  EXPECT_EQ(own->fate, Fate::kApplied);
  EXPECT_EQ(put->fate, Fate::kApplied);
}

TEST(MemberTransfer, NeedsALeaderAndAnotherVoter) {
  Cluster c(3);
  c.Run(kElection);
  auto follower = c.Transfer(c.follower(), c.leader());
  auto stranger = c.Transfer(c.leader(), 9);
  auto itself = c.Transfer(c.leader(), c.leader());
  c.Settle();
  EXPECT_EQ(follower->fate, Fate::kNotLeader);
  EXPECT_EQ(stranger->fate, Fate::kBadTransferee);
  EXPECT_EQ(itself->fate, Fate::kApplied);
}

TEST(MemberTransfer, ALeaderThatStopsHandsItsLeadershipOver) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  c[old].member->HandOverLeadership();
  auto put = c.Put(old, "k", "v");
  c.Run(absl::Milliseconds(100));
  EXPECT_NE(c.leader(), old);
  EXPECT_EQ(put->fate, Fate::kApplied) << "it is forwarded to the new leader";
  c[old].member->HandOverLeadership();  // no effect on a follower
  c.Settle();
}

// The entry of a deposed leader is on a majority, so the next leader commits it.
TEST(MemberTransfer, AProposalThatSurvivesItsLeadersTermIsAnswered) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  const raft::MemberId follower = c.follower();
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);
  c.Deliver();
  c.Turn(old);  // proposes and sends it
  c.Deliver();
  // Before the acknowledgements arrive, another member campaigns at the request of the leader.
  c[follower].Post(
      PeerMessage{{.id = old, .store_id = c[old].store_id},
                  follower,
                  raft::Message{old, follower, c[old].raft().term(), raft::TimeoutNow{}}});
  c.Settle();
  EXPECT_EQ(c.leader(), follower);
  EXPECT_EQ(put->fate, Fate::kApplied);
  EXPECT_EQ(Cluster::Value(c[old], "k"), "v");
}

}  // namespace
}  // namespace raftkv
