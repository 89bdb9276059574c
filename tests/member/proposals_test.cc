// Proposals that wait, are forwarded, are declined, or whose leader is lost
// (server/member/proposals.h).

#include "gtest/gtest.h"
#include "server/member/member.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

TEST(Proposals, ProposalWhoseLeaderIsLostIsUnknownAndNeverProposedAgain) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  c.Cut(old);
  auto put = c.Put(old, "k", "v");
  c.Run(kElection);
  EXPECT_EQ(put->fate, Fate::kUnknownLeaderLost);
  ASSERT_NE(c.leader(), raft::kNobody);
  auto other = c.Put(c.leader(), "k", "other");
  c.Settle();
  ASSERT_EQ(other->fate, Fate::kApplied);
  c.Heal();
  c.Run(kElection);
  for (raft::MemberId id : {1, 2, 3}) EXPECT_EQ(Cluster::Value(c[id], "k"), "other");
  EXPECT_EQ(put->times, 1);
}

TEST(Proposals, BrokenConnectionMakesForwardedProposalsUnknownAndSparesUnsentOnes) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  auto first = c.Put(follower, "k", "1");
  auto second = c.Put(follower, "k", "2");
  c.Cut(leader);
  c.Turn(follower);  // handed to the transport
  std::vector<uint64_t> numbers;
  for (const PeerMessage& m : c[follower].sent) {
    if (auto* p = std::get_if<ForwardedProposal>(&m.body)) numbers.push_back(p->number);
  }
  ASSERT_EQ(numbers.size(), 2);
  c.Deliver();  // lost
  c[follower].Post(ForwardLost{leader, {numbers[1]}});
  c.Turn(follower);
  EXPECT_EQ(first->fate, Fate::kUnknownConnection);
  EXPECT_EQ(second->times, 0) << "it was never sent, so it waits for a leader";
  c.Heal();
  c.Run(kElection);
  EXPECT_EQ(second->fate, Fate::kApplied);
  EXPECT_EQ(Cluster::Value(c[follower], "k"), "2");
}

TEST(Proposals, ProposalsDeclinedByAStoppingLeaderWaitForTheNextOne) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  const raft::MemberId follower = c.follower();
  c[old].phase.Set(Phase::kDeclining);
  auto put = c.Put(follower, "k", "v");
  auto own = c.Put(old, "own", "v");
  c.Settle();
  EXPECT_EQ(own->fate, Fate::kApplied) << "it still leads";
  EXPECT_EQ(put->times, 0);
  EXPECT_EQ(c[follower].member->Status().pending, 1);
  auto later = c.Put(follower, "l", "v");  // not even handed to it
  c.Crash(old);
  c.Run(kElection);
  EXPECT_EQ(put->fate, Fate::kApplied);
  EXPECT_EQ(later->fate, Fate::kApplied);
}

// The leader stops before it has read, or answered, what was forwarded to it. Only the next
// leader's first entry shows that it was not proposed.
TEST(Proposals, ProposalsThatAStoppedLeaderHasNotProposedAreProposedAgain) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  const raft::MemberId follower = c.follower();
  auto proposed = c.Put(follower, "k", "1");
  c.Turn(follower);
  c.Deliver();
  c.Turn(old);
  c.Deliver();
  auto unread = c.Put(follower, "l", "2");
  c.Turn(follower);
  c.Crash(old);
  c.Deliver();  // lost
  c[follower].Post(ForwardLost{.peer = old, .unsent = {}, .stopped = true});
  c.Turn(follower);
  EXPECT_EQ(proposed->times + unread->times, 0);
  auto later = c.Put(follower, "m", "3");
  c.Turn(follower);
  for (const PeerMessage& m : c[follower].sent) {
    EXPECT_FALSE(std::holds_alternative<ForwardedProposal>(m.body)) << "it has stopped";
  }
  c.Run(kElection);
  EXPECT_EQ(proposed->fate, Fate::kApplied);
  EXPECT_EQ(unread->fate, Fate::kApplied);
  EXPECT_EQ(later->fate, Fate::kApplied);
}

// The proposal is still on its way when its leader has stepped down, and another member leads.
TEST(Proposals, AProposalThatMissedTheTermOfItsLeaderIsProposedOnceMore) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId old = c.leader();
  const raft::MemberId follower = c.follower();
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);
  std::vector<PeerMessage> late;
  for (const PeerMessage& m : c[follower].sent) {
    if (std::holds_alternative<ForwardedProposal>(m.body)) late.push_back(m);
  }
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
TEST(Proposals, ADeclineOfAnEarlierTermIsIgnored) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  const raft::Term term = c[leader].raft().term();
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);
  for (const raft::Term of : {term - 1, term}) {
    c[follower].Post(
        PeerMessage{leader, follower, c[leader].store_id,
                    ForwardedProposalReply{.number = 1, .too_many_requests = true, .term = of}});
    c.Turn(follower);
    EXPECT_EQ(put->times, of == term ? 1 : 0);
  }
}

// The member was restarted, and uses the same request numbers again. The leader's answer to its
// earlier process arrives late.
TEST(Proposals, ADeclineOfAnEarlierLifeIsIgnored) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);
  for (const uint64_t boot : {99, 0}) {  // 0: the leader is of the first release
    c[follower].Post(PeerMessage{
        leader, follower, c[leader].store_id,
        ForwardedProposalReply{.number = 1, .too_many_requests = true, .boot_id = boot}});
    c.Turn(follower);
    EXPECT_EQ(put->times, boot == 0 ? 1 : 0);
  }
}

// The transport has no connection, and reports each proposal by itself.
TEST(Proposals, ProposalsThatWereNeverSentAllWaitForALeader) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  auto first = c.Put(follower, "k", "1");
  auto second = c.Put(follower, "k", "2");
  c.Cut(leader);
  c.Turn(follower);
  c.Deliver();
  for (const PeerMessage& m : c[follower].sent) {
    if (auto* p = std::get_if<ForwardedProposal>(&m.body)) {
      c[follower].Post(ForwardLost{leader, {p->number}});
    }
  }
  c.Turn(follower);
  EXPECT_EQ(first->times + second->times, 0);
  c.Run(kElection);
  EXPECT_EQ(first->fate, Fate::kApplied);
  EXPECT_EQ(second->fate, Fate::kApplied);
}

TEST(Proposals, ABrokenStreamDoesNotAffectTheOther) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);  // handed to the transport
  c[follower].Post(AppendLost{leader});
  c.Turn(follower);
  EXPECT_EQ(put->times, 0) << "its own stream is intact";
  c.Settle();
  EXPECT_EQ(put->fate, Fate::kApplied);
}

TEST(Proposals, AForwardedProposalThatNeedsANewerVersionIsNotProposed) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), follower = c.follower();
  const ClusterVersion in_force = c[leader].member->cluster_version();
  const raft::Index last = c[leader].raft().last_index();
  proto::Command command;
  command.mutable_put()->set_key("k");
  for (const ClusterVersion needs : {in_force, in_force + 1}) {
    c[leader].Post(
        PeerMessage{follower, leader, c[follower].store_id,
                    ForwardedProposal{77, raft::Payload(command.SerializeAsString()), needs}});
  }
  c.Turn(leader);
  EXPECT_EQ(c[leader].raft().last_index(), last + 1) << "only the first one";
  int not_understood = 0;
  for (const PeerMessage& m : c[leader].sent) {
    const auto* reply = std::get_if<ForwardedProposalReply>(&m.body);
    not_understood += reply != nullptr && reply->not_understood;
  }
  EXPECT_EQ(not_understood, 1);
}

// The members of a new cluster know the newest version, but it is in force only once its entry is
// committed. Clients do not see that.
TEST(Proposals, ARequestThatNeedsTheVersionOfANewClusterWaitsForIt) {
  Cluster c(3);
  proto::Command grant;
  std::vector<std::shared_ptr<Answer>> answers;
  for (const raft::MemberId id : {1, 2, 3}) {
    grant.mutable_lease_grant()->set_id(static_cast<int64_t>(id));
    grant.mutable_lease_grant()->set_ttl(60);
    answers.push_back(c.Propose(id, grant));
  }
  c.Run(kElection);
  for (const auto& answer : answers) EXPECT_EQ(answer->fate, Fate::kApplied);
}

// A leader of an older release may not know that the command needs a newer version, and would
// propose it.
TEST(Proposals, AProposalIsNotForwardedToALeaderThatDoesNotKnowItsVersion) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), follower = c.follower();
  c[follower].Post(PeerMessage{leader, follower, c[leader].store_id, ForwardedProposalReply{},
                               /*newest_version=*/kFirstVersion});
  c.Turn(follower);
  proto::Command grant;
  grant.mutable_lease_grant()->set_id(7);
  grant.mutable_lease_grant()->set_ttl(60);
  const auto answer = c.Propose(follower, grant);
  c.Turn(follower);
  EXPECT_EQ(answer->fate, Fate::kNotSupported);
  for (const PeerMessage& m : c[follower].sent) {
    EXPECT_FALSE(std::holds_alternative<ForwardedProposal>(m.body));
  }
}

TEST(Proposals, AProposalThatFindsItsQueueFullFailsAlone) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId follower = c.follower();
  auto first = c.Put(follower, "k", "1");
  auto second = c.Put(follower, "k", "2");
  c.Turn(follower);
  std::vector<uint64_t> numbers;
  for (const PeerMessage& m : c[follower].sent) {
    if (auto* p = std::get_if<ForwardedProposal>(&m.body)) numbers.push_back(p->number);
  }
  ASSERT_EQ(numbers.size(), 2);
  c[follower].Post(ForwardQueueFull{c.leader(), numbers[1]});
  c.Turn(follower);
  EXPECT_EQ(first->times, 0);
  EXPECT_EQ(second->fate, Fate::kTooManyRequests) << "it was certainly never sent";
  c.Settle();
  EXPECT_EQ(first->fate, Fate::kApplied);
}

}  // namespace
}  // namespace raftkv
