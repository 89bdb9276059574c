// Changes of the members, from a client's request to the members that apply them.

#include <algorithm>

#include "gtest/gtest.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

using proto::ChangeMembers;

class MembersTest : public ::testing::Test {
 protected:
  explicit MembersTest(int size = 3, const LogTail& tail = {})
      : c(size, /*pending_max=*/64, /*pending_bytes_max=*/1 << 20, tail, /*in_log=*/true) {
    c.Run(absl::Seconds(8));  // an election, the cluster version, the members
  }

  std::shared_ptr<Answer> Change(raft::MemberId asked, const ChangeMembers& change,
                                 absl::Duration run = absl::Seconds(1)) {
    proto::Command command;
    *command.mutable_change_members() = change;
    auto answer = c.Propose(asked, command);
    c.Run(run);
    return answer;
  }
  static ChangeMembers Add(raft::MemberId id, bool learner) {
    ChangeMembers change;
    *change.mutable_add() = Cluster::Info(id);
    change.mutable_add()->clear_name();
    change.mutable_add()->clear_clienturls();
    change.mutable_add()->set_islearner(learner);
    return change;
  }
  static ChangeMembers Remove(raft::MemberId id) {
    ChangeMembers change;
    change.set_remove(id);
    return change;
  }
  static ChangeMembers Promote(raft::MemberId id) {
    ChangeMembers change;
    change.set_promote(id);
    return change;
  }
  const Members& KnownBy(raft::MemberId id) { return c[id].state->members(); }

  void ExpectRejected(const std::shared_ptr<Answer>& answer, absl::StatusCode code,
                      std::string_view text) {
    ASSERT_EQ(answer->fate, Fate::kRejected);
    EXPECT_EQ(answer->result.status, absl::Status(code, std::string(text)));
    EXPECT_EQ(answer->times, 1);
  }

  Cluster c;
};

// A member with a new data directory may not vote yet. If too many others were removed, no leader
// could be elected.
TEST(Members, MostOfThoseThatCountMustHaveStarted) {
  Members members;
  const auto apply = [&](ChangeMembers change) {
    members.Complete(&change);
    members.Apply(change);
  };
  const auto publish = [&](raft::MemberId id) {
    ChangeMembers change;
    *change.mutable_publish() = Cluster::Info(id);
    apply(change);
  };
  const auto may_remove = [&](raft::MemberId id) {
    ChangeMembers change;
    change.set_remove(id);
    return members.Check(change).ok();
  };
  ChangeMembers change;
  for (raft::MemberId id : {1, 2, 3}) *change.mutable_begin()->add_members() = Cluster::Info(id);
  apply(change);
  EXPECT_FALSE(may_remove(3));
  publish(2);
  publish(3);
  EXPECT_FALSE(may_remove(3)) << "2 alone is no majority of 1 and 2";
  EXPECT_TRUE(may_remove(1));
  *change.mutable_add() = Cluster::Info(4);  // a joining voter
  apply(change);
  publish(4);
  EXPECT_FALSE(may_remove(3)) << "1 and 2 would be the voters";
  change.set_count(4);
  apply(change);
  EXPECT_TRUE(may_remove(3));
}

TEST_F(MembersTest, TheFirstLeaderWritesThemToTheLog) {
  for (raft::MemberId id = 1; id <= 3; ++id) {
    ASSERT_TRUE(KnownBy(id).known());
    EXPECT_EQ(KnownBy(id).configuration(), (raft::Configuration{{1, 2, 3}, {}}));
    EXPECT_EQ(KnownBy(id).Find(2)->info.name(), "n2");
    EXPECT_EQ(c[id].state->digest(), c[1].state->digest());
  }
}

TEST_F(MembersTest, ALearnerJoinsIsPromotedAndTellsItsName) {
  auto added = Change(c.follower(), Add(4, /*learner=*/true));
  ASSERT_EQ(added->fate, Fate::kApplied);
  EXPECT_EQ(added->result.response.change_members().members_size(), 4);
  ExpectRejected(Change(c.leader(), Promote(4)), absl::StatusCode::kFailedPrecondition,
                 "can only promote a learner member which is in sync with leader");
  c.Join(4);
  c.Run(absl::Seconds(2));
  EXPECT_EQ(KnownBy(4).configuration(), (raft::Configuration{{1, 2, 3}, {4}}));
  EXPECT_EQ(KnownBy(1).Find(4)->info.name(), "n4");
  EXPECT_TRUE(c[4].member->is_learner());
  ExpectRejected(Change(c.leader(), Add(5, /*learner=*/true)),
                 absl::StatusCode::kFailedPrecondition, "too many learner members in cluster");
  EXPECT_EQ(Change(c.follower(), Promote(4))->fate, Fate::kApplied);
  EXPECT_EQ(KnownBy(4).configuration(), (raft::Configuration{{1, 2, 3, 4}, {}}));
  EXPECT_FALSE(c[4].member->is_learner());
  ExpectRejected(Change(c.leader(), Promote(4)), absl::StatusCode::kFailedPrecondition,
                 "can only promote a learner member");
}

// In etcd an added member is a voter at once, and a cluster of one stops until the added voter
// runs.
TEST_F(MembersTest, AnAddedVoterBecomesOneWhenItHasCaughtUp) {
  auto added = Change(c.leader(), Add(4, /*learner=*/false));
  ASSERT_EQ(added->fate, Fate::kApplied);
  EXPECT_FALSE(KnownBy(1).Find(4)->info.islearner());
  EXPECT_EQ(KnownBy(1).configuration(), (raft::Configuration{{1, 2, 3}, {4}}));
  c.Join(4);
  c.Run(absl::Seconds(2));
  EXPECT_EQ(KnownBy(1).configuration(), (raft::Configuration{{1, 2, 3, 4}, {}}));
}

TEST_F(MembersTest, ChecksWhatIsAskedFor) {
  const raft::MemberId leader = c.leader();
  ExpectRejected(Change(leader, Remove(9)), absl::StatusCode::kNotFound, "member not found");
  ExpectRejected(Change(c.follower(), Promote(9)), absl::StatusCode::kNotFound, "member not found");
  ChangeMembers again = Add(5, false);
  again.mutable_add()->set_peerurls(0, Cluster::Info(2).peerurls(0));
  ExpectRejected(Change(leader, again), absl::StatusCode::kFailedPrecondition,
                 "Peer URLs already exists");
  const raft::MemberId down = c.follower();
  c.Cut(down);
  c.Run(absl::Seconds(2));
  ExpectRejected(Change(leader, Add(5, false)), absl::StatusCode::kUnavailable,
                 "unhealthy cluster");
  const raft::MemberId other = 6 - leader - down;
  ExpectRejected(Change(leader, Remove(other)), absl::StatusCode::kUnavailable,
                 "unhealthy cluster");
  EXPECT_EQ(Change(leader, Remove(down))->fate, Fate::kApplied) << "it does not answer anyway";
}

// A removed follower answers its clients, also the one that asked for the removal, and learns at
// once that it was removed.
TEST_F(MembersTest, ARemovedFollowerAnswers) {
  const raft::MemberId removed = c.follower();
  auto before = c.Put(removed, "k", "before");
  auto removal = Change(removed, Remove(removed), absl::Milliseconds(100));
  EXPECT_EQ(before->fate, Fate::kApplied);
  EXPECT_EQ(removal->fate, Fate::kApplied);
  EXPECT_EQ(removal->result.response.change_members().members_size(), 2);
  EXPECT_EQ(c.Count<RemovedFromCluster>(removed), 1);
  // The outcome of a later put would not be known here, so it is not proposed. Its client uses
  // another member.
  auto after = c.Put(removed, "k", "after");
  c.Settle();
  ASSERT_EQ(after->times, 1);
  EXPECT_FALSE(after->fate->proposed);
  EXPECT_EQ(Cluster::Value(c[c.leader()], "k"), "before");
}

TEST_F(MembersTest, ARemovedFollowerThatWasAwayIsToldByTheOthers) {
  const raft::MemberId removed = c.follower();
  c.Cut(removed);
  EXPECT_EQ(Change(c.leader(), Remove(removed), absl::Seconds(3))->fate, Fate::kApplied);
  c.Heal();
  c.Run(absl::Seconds(5));
  EXPECT_EQ(c.Count<RemovedFromCluster>(removed), 1);
  EXPECT_FALSE(KnownBy(removed).removed(removed)) << "its log does not have the entry";
  EXPECT_GE(c.Count<PeerRejected>(c.leader()), 1) << "its operator is told there, too";
}

// A leader that is removed transfers its leadership first. The member that is asked answers, and
// every put is answered.
TEST_F(MembersTest, ARemovedLeaderTransfersItsLeadershipFirst) {
  const raft::MemberId leader = c.leader();
  std::vector<std::shared_ptr<Answer>> puts;
  for (raft::MemberId id = 1; id <= 3; ++id) puts.push_back(c.Put(id, "k", "v"));
  auto removal = Change(leader, Remove(leader), absl::Milliseconds(300));
  EXPECT_EQ(removal->fate, Fate::kApplied);
  for (const auto& put : puts) EXPECT_EQ(put->fate, Fate::kApplied);
  EXPECT_EQ(c.Count<RemovedFromCluster>(leader), 1);
  ASSERT_NE(c.leader(), raft::kNobody);
  EXPECT_NE(c.leader(), leader);
  for (const ReplicaEvent& event : c[leader].events) {
    const auto* raft_event = std::get_if<raft::Event>(&event);
    const auto* down = raft_event == nullptr ? nullptr : std::get_if<raft::SteppedDown>(raft_event);
    EXPECT_TRUE(down == nullptr || down->why == raft::SteppedDown::Why::kTransfer);
  }
  auto put = c.Put(c.leader(), "k", "again");
  c.Settle();
  EXPECT_EQ(put->fate, Fate::kApplied);
}

TEST_F(MembersTest, AFollowerIsAskedToRemoveTheLeader) {
  const raft::MemberId leader = c.leader();
  auto removal = Change(c.follower(), Remove(leader), absl::Milliseconds(300));
  EXPECT_EQ(removal->fate, Fate::kApplied);
  EXPECT_EQ(c.Count<RemovedFromCluster>(leader), 1);
}

struct MembersOfFiveTest : MembersTest {
  MembersOfFiveTest() : MembersTest(5) {}
};

// The member that should take over is cut off. Then the leader carries out its own removal.
TEST_F(MembersOfFiveTest, ALeaderThatCannotTransferRemovesItself) {
  const raft::MemberId leader = c.leader();
  const raft::MemberId target = c[leader].raft().BestTransferee();
  c.Cut(target);
  auto removal = Change(leader, Remove(leader), absl::Milliseconds(900));
  EXPECT_EQ(removal->times, 0);
  c.Run(absl::Seconds(2));
  EXPECT_EQ(removal->fate, Fate::kApplied);
  EXPECT_EQ(c.Count<RemovedFromCluster>(leader), 1);
  EXPECT_NE(c.leader(), leader);
}

// For `endpoint status`.
TEST_F(MembersTest, AMemberWithoutALeaderTellsWhoIsSilent) {
  EXPECT_EQ(c[1].member->Status().voters, 3u);
  EXPECT_TRUE(c[1].member->Status().silent.empty());
  c.Cut(1);
  c.Run(absl::Seconds(8));
  EXPECT_EQ(c[1].member->Status().silent, (std::vector<raft::MemberId>{2, 3}));
  c.Heal();
  c.Run(absl::Seconds(5));
  EXPECT_TRUE(c[1].member->Status().silent.empty());
}

// The stream of a process that died breaks at once, so nobody need wait to find that it is silent.
TEST_F(MembersTest, AMemberWhoseStreamBrokeIsSilentUntilItIsHeardAgain) {
  const raft::MemberId leader = c.leader(), other = c.follower();
  const auto is_silent = [&] {
    const std::vector<raft::MemberId> silent = c[other].member->Status().silent;
    return std::count(silent.begin(), silent.end(), leader) > 0;
  };
  c.Cut(other);
  c[other].Post(PeerLost{leader, UINT64_MAX});
  c.Run(absl::Milliseconds(10));
  ASSERT_EQ(c[other].raft().leader(), raft::kNobody);
  EXPECT_TRUE(is_silent());
  c.Heal();
  c.Run(kElection);
  EXPECT_FALSE(is_silent());
}

TEST_F(MembersTest, ChangesWaitForOneAnother) {
  std::vector<std::shared_ptr<Answer>> answers;
  for (raft::MemberId id = 1; id <= 3; ++id) {
    proto::Command command;
    command.mutable_change_members()->mutable_update()->set_id(id);
    command.mutable_change_members()->mutable_update()->add_peerurls("http://10.0.0.1:" +
                                                                     std::to_string(id));
    answers.push_back(c.Propose(id, command));
  }
  c.Run(absl::Seconds(1));
  for (const auto& answer : answers) EXPECT_EQ(answer->fate, Fate::kApplied);
  EXPECT_EQ(KnownBy(1).Find(3)->info.peerurls(0), "http://10.0.0.1:3");
}

TEST_F(MembersTest, ARestartKnowsThem) {
  ASSERT_EQ(Change(c.leader(), Add(4, true))->fate, Fate::kApplied);
  c[1].state->Flush();
  c.Crash(1);
  c.Start(1);
  EXPECT_EQ(c[1].raft().membership().current(), (raft::Configuration{{1, 2, 3}, {4}}));
  c.Crash(2);  // its state is lost: the configuration comes from the log
  c.Start(2);
  EXPECT_EQ(c[2].raft().membership().current(), (raft::Configuration{{1, 2, 3}, {4}}));
}

struct MembersWithShortLogsTest : MembersTest {
  MembersWithShortLogsTest()
      : MembersTest(3, {.entries_max = 3, .step_entries = 1, .held_bytes_max = 0}) {}
  void CutLogs() {
    for (int i = 0; i < 20; ++i) {
      c.Put(c.leader(), "k", std::to_string(i));
      c.Settle();
    }
    c.Run(absl::Seconds(2));  // the leader no longer keeps entries for members that are away
    for (raft::MemberId id = 1; id <= 3; ++id) c[id].state->Flush();
    c.Run(absl::Seconds(1));
  }
};

TEST_F(MembersWithShortLogsTest, ASnapshotBringsThem) {
  const raft::MemberId behind = c.follower();
  c.Cut(behind);
  ASSERT_EQ(Change(c.leader(), Add(4, /*learner=*/true))->fate, Fate::kApplied);
  CutLogs();
  ASSERT_GT(c[c.leader()].log->first_index(), c[behind].log->last_index() + 1);
  c.Join(4);  // it begins with a snapshot, too
  c.Heal();
  c.Run(absl::Seconds(3));
  for (const raft::MemberId id : {behind, raft::MemberId{4}}) {
    const raft::Configuration expected{{1, 2, 3}, {4}};
    EXPECT_GT(c[id].log->first_index(), 1u);
    EXPECT_EQ(c[id].raft().membership().current(), expected);
    EXPECT_EQ(c[id].member->replica().members().configuration(), expected);
    c.Crash(id);
    c.Start(id);
    EXPECT_EQ(c[id].raft().membership().current(), expected);
    c.Run(absl::Seconds(1));
  }
  EXPECT_EQ(Change(c.leader(), Promote(4))->fate, Fate::kApplied);
  EXPECT_EQ(KnownBy(behind).configuration(), (raft::Configuration{{1, 2, 3, 4}, {}}));
}

struct MembersOfOneTest : MembersTest {
  MembersOfOneTest() : MembersTest(1) {}
};

TEST_F(MembersOfOneTest, ASoleMemberCanBeReplaced) {
  ExpectRejected(Change(1, Remove(1)), absl::StatusCode::kFailedPrecondition,
                 "re-configuration failed due to not enough started members");
  ASSERT_EQ(Change(1, Add(2, /*learner=*/false))->fate, Fate::kApplied);
  EXPECT_EQ(c.leader(), 1u) << "the new member does not run, and the cluster serves";
  c.Join(2);
  c.Run(absl::Seconds(2));
  ASSERT_EQ(Change(2, Remove(1))->fate, Fate::kApplied);
  c.Run(absl::Seconds(2));
  EXPECT_EQ(c.leader(), 2u);
  EXPECT_EQ(KnownBy(2).configuration(), (raft::Configuration{{2}, {}}));
  EXPECT_EQ(c.Count<RemovedFromCluster>(1), 1);
}

}  // namespace
}  // namespace raftkv
