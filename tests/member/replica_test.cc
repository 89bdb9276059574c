#include "gtest/gtest.h"
#include "server/member/member.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

TEST(Replica, SoleMemberServesAtOnce) {
  Cluster c(1);
  c.Run(kElection);
  ASSERT_EQ(c.leader(), 1);
  auto put = c.Put(1, "k", "v");
  c.Settle();
  EXPECT_EQ(put->fate, Fate::kApplied);
  EXPECT_TRUE(put->result.status.ok());
}

TEST(Replica, ASoleVoterLeadsOnAfterALongPause) {
  Cluster c(1);
  c.Run(kElection);
  ASSERT_EQ(c.leader(), 1);
  const raft::Term term = c[1].raft().term();
  c.Pause(absl::Seconds(10));
  c.Turn(1);
  EXPECT_EQ(c[1].raft().role(), raft::Role::kLeader);
  auto put = c.Put(1, "k", "v");
  c.Settle();
  EXPECT_EQ(put->fate, Fate::kApplied);
  EXPECT_EQ(c[1].raft().term(), term);
}

TEST(Replica, OneOfSeveralVotersStepsDownAfterALongPause) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  ASSERT_NE(leader, raft::kNobody);
  c.Pause(absl::Seconds(10));
  c.Turn(leader);
  EXPECT_NE(c[leader].raft().role(), raft::Role::kLeader);
  EXPECT_EQ(c.Count<LeaderStepsDown>(leader), 1) << "the log must give the reason";
}

TEST(Replica, PutThroughAnyMemberIsAnsweredByThatMember) {
  Cluster c(3);
  c.Run(kElection);
  ASSERT_NE(c.leader(), raft::kNobody);
  for (raft::MemberId id : {1, 2, 3}) {
    auto put = c.Put(id, "k", "v" + std::to_string(id));
    c.Settle();
    EXPECT_EQ(put->fate, Fate::kApplied);
    EXPECT_EQ(put->times, 1);
  }
  c.Run(absl::Seconds(1));
  for (raft::MemberId id : {1, 2, 3}) EXPECT_EQ(Cluster::Value(c[id], "k"), "v3");
}

TEST(Replica, ManyPutsOfOneTurnCostOneSyncedBatchOnEachMember) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  const uint64_t leader_before = c[leader].log->synced_batches();
  const uint64_t follower_before = c[follower].log->synced_batches();
  std::vector<std::shared_ptr<Answer>> puts;
  for (int i = 0; i < 64; ++i) puts.push_back(c.Put(leader, "k" + std::to_string(i), "v"));
  c.Settle();
  for (const auto& put : puts) EXPECT_EQ(put->fate, Fate::kApplied);
  EXPECT_EQ(c[leader].log->synced_batches() - leader_before, 1);
  EXPECT_EQ(c[follower].log->synced_batches() - follower_before, 1);
}

TEST(Replica, LinearizableReadThroughAnyMemberSeesWhatWasAcknowledged) {
  Cluster c(3);
  c.Run(kElection);
  for (raft::MemberId id : {1, 2, 3}) {
    const std::string value = "v" + std::to_string(id);
    auto put = c.Put(c.leader(), "k", value);
    c.Settle();
    ASSERT_EQ(put->fate, Fate::kApplied);
    std::string got;
    auto get = c.Get(id, "k", &got);
    c.Settle();
    EXPECT_EQ(get->fate, Fate::kApplied);
    EXPECT_EQ(got, value);
  }
}

TEST(Replica, ReadWaitsUntilWhatItMustSeeIsApplied) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId follower = c.follower();
  c[follower].hold_apply = true;
  auto put = c.Put(c.leader(), "k", "new");
  c.Settle();
  ASSERT_EQ(put->fate, Fate::kApplied);
  std::string got;
  auto get = c.Get(follower, "k", &got);
  c.Settle();
  EXPECT_EQ(get->times, 0) << "this member has not applied the put yet";
  c[follower].hold_apply = false;
  c.Settle();
  EXPECT_EQ(get->fate, Fate::kApplied);
  EXPECT_EQ(got, "new");
}

TEST(Replica, WithoutALeaderRequestsEndAtTheirTimeout) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId alone = c.follower();
  for (raft::MemberId id : {1, 2, 3}) {
    if (id != alone) c.Crash(id);
  }
  c.Run(absl::Seconds(3));  // until it notices that there is no leader
  std::string got;
  auto put = c.Put(alone, "k", "v");
  auto get = c.Get(alone, "k", &got);
  c.Run(absl::Milliseconds(6900));
  EXPECT_EQ(put->times + get->times, 0);
  c.Run(absl::Milliseconds(200));
  EXPECT_EQ(put->fate, Fate::kTimedOut);
  EXPECT_EQ(get->fate, Fate::kTimedOut);
  EXPECT_EQ(c[alone].member->Status().pending, 0);
}

TEST(Replica, RequestsThatWaitForALeaderAreServedOnceThereIsOne) {
  Cluster c(3);
  std::string got;
  auto put = c.Put(1, "k", "v");
  c.Run(kElection);
  EXPECT_EQ(put->fate, Fate::kApplied);
  auto get = c.Get(2, "k", &got);
  c.Settle();
  EXPECT_EQ(got, "v");
}

// The leader is cut off for less or for more than the request timeout, and another member leads.
TEST(Replica, AProposalOfALostLeaderIsDecidedByTheNextOneOrIsUnknown) {
  for (const bool in_time : {true, false}) {
    Cluster c(3);
    c.Run(kElection);
    const raft::MemberId old = c.leader();
    c.Cut(old);
    auto put = c.Put(old, "k", "v");
    c.Run(in_time ? kElection : 2 * kElection);
    EXPECT_EQ(put->fate, in_time ? std::nullopt : std::optional(Fate::kUnknownTimedOut));
    ASSERT_NE(c.leader(), raft::kNobody);
    auto other = c.Put(c.leader(), "k", "other");
    c.Settle();
    ASSERT_EQ(other->fate, Fate::kApplied);
    c.Heal();
    c.Run(kElection);
    if (in_time) EXPECT_EQ(put->fate, Fate::kApplied);
    for (raft::MemberId id : {1, 2, 3}) {
      EXPECT_EQ(Cluster::Value(c[id], "k"), in_time ? "v" : "other");
    }
    EXPECT_EQ(put->times, 1);
  }
}

TEST(Replica, BrokenConnectionSparesUnsentProposals) {
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
  EXPECT_EQ(first->times + second->times, 0);
  c.Heal();
  c.Run(kElection);
  EXPECT_EQ(first->fate, Fate::kUnknownConnection) << "the leader still leads";
  EXPECT_EQ(second->fate, Fate::kApplied);
  EXPECT_EQ(Cluster::Value(c[follower], "k"), "2");
}

TEST(Replica, ProposalsDeclinedByAStoppingLeaderWaitForTheNextOne) {
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

// The member was restarted, and uses the same request numbers again. The leader's answer to its
// earlier process arrives late.
TEST(Replica, ADeclineOfAnEarlierLifeIsIgnored) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId follower = c.follower();
  auto put = c.Put(follower, "k", "v");
  c.Turn(follower);
  for (const uint64_t boot : {99, 0}) {  // 0: the leader is of the first release
    c[follower].Post(PeerMessage{
        {.id = leader, .store_id = c[leader].store_id},
        follower,
        ForwardedProposalReply{.number = 1, .too_many_requests = true, .boot_id = boot}});
    c.Turn(follower);
    EXPECT_EQ(put->times, boot == 0 ? 1 : 0);
  }
}

// The transport has no connection, and reports each proposal by itself.
TEST(Replica, ProposalsThatWereNeverSentAllWaitForALeader) {
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

TEST(Replica, ABrokenStreamDoesNotAffectTheOther) {
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

TEST(Replica, AForwardedProposalThatNeedsANewerVersionIsNotProposed) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), follower = c.follower();
  const ClusterVersion in_force = c[leader].member->cluster_version();
  const raft::Index last = c[leader].raft().last_index();
  proto::Command command;
  command.mutable_put()->set_key("k");
  for (const ClusterVersion needs : {in_force, in_force + 1}) {
    c[leader].Post(
        PeerMessage{{.id = follower, .store_id = c[follower].store_id},
                    leader,
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
TEST(Replica, ARequestThatNeedsTheVersionOfANewClusterWaitsForIt) {
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
TEST(Replica, AProposalIsNotForwardedToALeaderThatDoesNotKnowItsVersion) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), follower = c.follower();
  c[follower].Post(
      PeerMessage{{.id = leader, .store_id = c[leader].store_id, .newest_version = kFirstVersion},
                  follower,
                  ForwardedProposalReply{}});
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

TEST(Replica, AMessageThatNoCorrectPeerWouldSendIsCountedAndReported) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), follower = c.follower();
  const raft::Message message{follower, leader, c[leader].raft().term(),
                              raft::AppendEntriesReply{.success = true, .match = 1 << 20}};
  c[leader].Post(PeerMessage{{.id = follower, .store_id = c[follower].store_id}, leader, message});
  c.Turn(leader);
  EXPECT_EQ(c[leader].member->Status().rejected_messages, 1);
  int reported = 0;
  for (const ReplicaEvent& event : c[leader].events) {
    const auto* of_raft = std::get_if<raft::Event>(&event);
    reported += of_raft != nullptr && std::holds_alternative<raft::MessageRejected>(*of_raft);
  }
  EXPECT_EQ(reported, 1);
  auto put = c.Put(leader, "k", "v");
  c.Settle();
  EXPECT_EQ(put->fate, Fate::kApplied);
}

TEST(Replica, AProposalThatFindsItsQueueFullFailsAlone) {
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

// The applier may be slow, or run on a worker. Requests are answered at their deadline all the
// same.
TEST(Replica, RequestsInTheApplierAreAnsweredAtTheirDeadline) {
  Cluster c(1);
  c.Run(kElection);
  c[1].hold_apply = true;
  std::string got;
  auto put = c.Put(1, "k", "v");
  auto get = c.Get(1, "k", &got);
  c.Run(absl::Milliseconds(6900));
  EXPECT_EQ(put->times + get->times, 0);
  c.Run(absl::Milliseconds(200));
  EXPECT_EQ(put->fate, Fate::kUnknownTimedOut);
  EXPECT_EQ(get->fate, Fate::kTimedOut);
  c[1].hold_apply = false;
  c.Settle();
  EXPECT_EQ(Cluster::Value(c[1], "k"), "v");
  for (const auto& answer : {put, get}) EXPECT_EQ(answer->times, 1);
}

TEST(Replica, AFollowersReadQuestionThatIsLostIsAskedAgain) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId follower = c.follower();
  std::string got;
  auto get = c.Get(follower, "k", &got);
  c.Turn(follower);
  c.Cut(follower);
  c.Deliver();  // the question is lost
  c.Heal();
  EXPECT_EQ(get->times, 0);
  c.Run(absl::Milliseconds(300));
  EXPECT_EQ(get->fate, Fate::kApplied);
}

TEST(Replica, RequestsBeyondPendingMaxAreRejected) {
  Cluster c(3, /*pending_max=*/2);
  std::string got;
  auto a = c.Put(1, "a", "1");
  auto b = c.Get(1, "a", &got);
  auto over = c.Put(1, "b", "1");
  auto over_read = c.Get(1, "b", &got);
  c.Turn(1);
  EXPECT_EQ(over->fate, Fate::kTooManyRequests);
  EXPECT_EQ(over_read->fate, Fate::kTooManyRequests);
  EXPECT_EQ(a->times + b->times, 0);
}

// Otherwise the loop would wait for the disk, and the leader would be replaced.
TEST(Replica, ALeaderTakesNoProposalsWhileItsLogWouldStall) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), follower = c.follower();
  c[leader].log_disk->would_stall = true;
  auto own = c.Put(leader, "a", "1");
  auto forwarded = c.Put(follower, "b", "1");
  c.Settle();
  EXPECT_EQ(own->fate, Fate::kTooManyRequests);
  EXPECT_EQ(forwarded->fate, Fate::kTooManyRequests);
  c[leader].log_disk->would_stall = false;
  c[follower].log_disk->would_stall = true;  // the others save what it proposes
  auto later = c.Put(follower, "b", "2");
  c.Settle();
  EXPECT_EQ(later->fate, Fate::kApplied);
}

TEST(Replica, BytesBeyondPendingBytesMaxAreRejectedWhereverProposalsWait) {
  Cluster c(3, /*pending_max=*/16384, /*pending_bytes_max=*/4096);
  const std::string large(3000, 'v'), huge(5000, 'v');
  auto alone = c.Put(1, "a", huge);  // one always passes
  auto beside = c.Put(1, "b", "v");
  c.Turn(1);
  EXPECT_EQ(alone->times, 0);
  EXPECT_EQ(beside->fate, Fate::kTooManyRequests);
  c.Run(kElection);
  EXPECT_EQ(alone->fate, Fate::kApplied);

  const raft::MemberId follower = c.follower();
  auto forwarded = c.Put(follower, "a", large);
  c.Turn(follower);
  ASSERT_EQ(forwarded->times, 0) << "in the hands of the leader";
  auto fits = c.Put(follower, "b", "v");
  auto over = c.Put(follower, "c", large);
  c.Turn(follower);
  EXPECT_EQ(over->fate, Fate::kTooManyRequests);
  c.Settle();
  EXPECT_EQ(forwarded->fate, Fate::kApplied);
  EXPECT_EQ(fits->fate, Fate::kApplied);
  auto after = c.Put(follower, "c", large);
  c.Settle();
  EXPECT_EQ(after->fate, Fate::kApplied) << "what is answered does not count any more";
}

TEST(Replica, WritesAreRejectedWhileTheStateMachineIsFarBehind) {
  Cluster c(1);
  c.Run(kElection);
  c[1].hold_apply = true;
  for (int i = 0; i < 5100; ++i) {
    c.Put(1, "k", "v");
    if (i % 1000 == 0) c.Settle();  // an inbox is bounded
  }
  c.Settle();
  auto over = c.Put(1, "k", "v");
  c.Settle();
  EXPECT_EQ(over->fate, Fate::kTooManyRequests);
  c[1].hold_apply = false;
  c.Settle();
  auto put = c.Put(1, "k", "v");
  c.Settle();
  EXPECT_EQ(put->fate, Fate::kApplied);
}

TEST(Replica, StopAnswersEverythingPending) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId id = c.leader();
  std::string got;
  c[id].hold_apply = true;
  auto in_apply_queue = c.Get(id, "a", &got);
  c.Settle();
  auto put = c.Put(id, "a", "1");
  auto get = c.Get(id, "a", &got);
  c.Turn(id);
  c[id].member->StopRequests();
  EXPECT_EQ(put->fate, Fate::kStopped);
  for (const auto& read : {get, in_apply_queue}) EXPECT_EQ(read->fate, Fate::kStoppedUnproposed);
}

TEST(Replica, StopTellsWhichWritesWereNeverProposed) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId id = c.follower();
  for (raft::MemberId other : {1, 2, 3}) {
    if (other != id) c.Crash(other);
  }
  auto handed_over = c.Put(id, "a", "1");  // the member has not noticed that the leader is gone
  c.Turn(id);
  c[id].member->StopRequests();
  EXPECT_EQ(handed_over->fate, Fate::kStopped);
  c.Run(absl::Seconds(3));  // notices
  auto waiting = c.Put(id, "a", "2");
  c.Turn(id);
  c[id].member->StopRequests();
  EXPECT_EQ(waiting->fate, Fate::kStoppedUnproposed);
}

TEST(Replica, RestartServesWhatWasAcknowledged) {
  Cluster c(3);
  c.Run(kElection);
  auto put = c.Put(c.leader(), "k", "v");
  c.Settle();
  ASSERT_EQ(put->fate, Fate::kApplied);
  for (raft::MemberId id : {1, 2, 3}) c.Crash(id);
  for (raft::MemberId id : {1, 2, 3}) c.Start(id);
  c.Run(kElection);
  std::string got;
  auto get = c.Get(2, "k", &got);
  c.Settle();
  EXPECT_EQ(get->fate, Fate::kApplied);
  EXPECT_EQ(got, "v");
}

TEST(Replica, LateTurnStepsDownFirst) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  for (raft::MemberId id : {1, 2, 3}) {
    if (id != leader) c.Crash(id);  // so that no other member runs a turn
  }
  c[leader].member->Turn(c.now() + absl::Milliseconds(900));
  EXPECT_EQ(c[leader].raft().role(), raft::Role::kLeader);
  c[leader].member->Turn(c.now() + absl::Milliseconds(2000));
  EXPECT_NE(c[leader].raft().role(), raft::Role::kLeader);
}

// --- clients that have given up

// If the client of a write that waits for a leader gives up, the write must not be proposed later:
// the client may have sent it again.
TEST(Replica, AWriteWhoseClientHasGoneBeforeItWasProposedIsDropped) {
  Cluster c(3);
  bool gone = false;
  std::optional<Fate> fate;
  proto::Command command;
  command.mutable_put()->set_key("k");
  c[1].Post(ProposeRequest{.command = command.SerializeAsString(),
                           .done = [&](Fate f, ApplyResult) { fate = f; },
                           .caller = {.gone = [&] { return gone; }}});
  c.Turn(1);
  gone = true;
  auto other = c.Put(1, "other", "v");
  c.Run(kElection);
  EXPECT_EQ(other->fate, Fate::kApplied) << "writes behind it are carried out";
  EXPECT_EQ(fate, Fate::kTimedOut);
  EXPECT_EQ(Cluster::Value(c[1], "k"), "");
  EXPECT_EQ(c[1].state->Snapshot()->revision(), 2);
}

TEST(Replica, AWriteWaitsForALeaderUntilItsClientsDeadline) {
  Cluster c(3);
  c.Crash(2);
  c.Crash(3);
  std::optional<Fate> fate;
  proto::Command command;
  command.mutable_put()->set_key("k");
  c[1].Post(ProposeRequest{.command = command.SerializeAsString(),
                           .done = [&](Fate f, ApplyResult) { fate = f; },
                           .caller = {.deadline = c.now() + absl::Seconds(1)}});
  c.Run(absl::Milliseconds(990));
  EXPECT_EQ(fate, std::nullopt);
  c.Run(absl::Milliseconds(30));
  EXPECT_EQ(fate, Fate::kTimedOut);
  c.Start(2);
  c.Start(3);
  c.Run(kElection);
  EXPECT_EQ(c[1].state->Snapshot()->revision(), 1) << "it was carried out later";
}

}  // namespace
}  // namespace raftkv
