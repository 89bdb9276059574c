// When leases expire in a cluster, also after changes of the leader: never early, and soon after
// their time is over.

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/member/lessor.h"
#include "server/member/member.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

constexpr absl::Duration kLate = absl::Seconds(2);

class Leases : public testing::Test {
 protected:
  explicit Leases(int size = 3) : c(size) { c.Run(kElection); }

  void Grant(int64_t id, int64_t ttl) {
    proto::Command command;
    command.mutable_lease_grant()->set_id(id);
    command.mutable_lease_grant()->set_ttl(ttl);
    const auto answer = c.Propose(c.leader(), command);
    c.Settle();
    ASSERT_EQ(answer->fate, Fate::kApplied);
    ASSERT_TRUE(answer->result.status.ok()) << answer->result.status;
    const auto put = c.Put(c.leader(), "k" + std::to_string(id), "v", id);
    c.Settle();
    ASSERT_TRUE(put->result.status.ok());
  }
  bool Exists(int64_t id) { return Cluster::Value(c[c.leader()], "k" + std::to_string(id)) == "v"; }
  // How long it takes from now until the lease is gone.
  absl::Duration Lives(int64_t id) {
    const MonotonicTime start = c.now();
    while (c.leader() == raft::kNobody || Exists(id)) {
      c.Run(absl::Milliseconds(10));
      if (c.now() - start > absl::Seconds(200)) break;
    }
    return c.now() - start;
  }

  Cluster c;
};

TEST_F(Leases, ExpireWithTheirKeysWhenTheirTimeIsOver) {
  Grant(1, 10);
  const absl::Duration lived = Lives(1);
  EXPECT_GE(lived, absl::Seconds(10));
  EXPECT_LE(lived, absl::Seconds(10) + kLate);
  for (raft::MemberId id : {1, 2, 3}) {
    c.Run(absl::Seconds(1));
    EXPECT_EQ(c[id].member->replica().lessor().size(), 0u);
    EXPECT_EQ(Cluster::Value(c[id], "k1"), "");
  }
}

TEST_F(Leases, AreKeptAliveThroughAnyMember) {
  Grant(1, 10);
  for (raft::MemberId id : {1, 2, 3, 1}) {
    c.Run(absl::Seconds(8));
    const auto renewal = c.Renew(id, 1);
    c.Run(absl::Seconds(1));
    EXPECT_EQ(renewal->fate, Fate::kApplied);
    EXPECT_EQ(renewal->result.revision, 10);
    EXPECT_EQ(renewal->times, 1);
  }
  const absl::Duration lived = Lives(1);
  EXPECT_GE(lived, absl::Seconds(9));
  EXPECT_LE(lived, absl::Seconds(9) + kLate);
  const auto renewal = c.Renew(c.leader(), 1);
  c.Run(absl::Seconds(1));
  EXPECT_EQ(renewal->fate, Fate::kApplied);
  EXPECT_EQ(renewal->result.revision, 0) << "it is gone";
}

TEST_F(Leases, ANewLeaderContinuesWithTheTimeThatIsLeft) {
  Grant(1, 30);
  c.Run(absl::Seconds(20));
  c.Crash(c.leader());
  const absl::Duration lived = Lives(1);
  EXPECT_GE(lived, absl::Seconds(10));
  EXPECT_LE(lived, absl::Seconds(10) + kLate + kElection);
}

TEST_F(Leases, ANewLeaderLetsClientsRenewWhatExpiredDuringTheElection) {
  Grant(1, 2);
  c.Run(absl::Milliseconds(1900));
  c.Crash(c.leader());
  for (int i = 0; i < 500 && c.leader() == raft::kNobody; ++i) c.Run(absl::Milliseconds(10));
  EXPECT_TRUE(Exists(1)) << "although its time is over";
  const auto renewal = c.Renew(c.follower(), 1);
  c.Run(absl::Seconds(1));
  EXPECT_EQ(renewal->fate, Fate::kApplied);
  EXPECT_EQ(renewal->result.revision, 2);
}

class LeasesOfASoleMember : public Leases {
 protected:
  LeasesOfASoleMember() : Leases(1) {}
};

TEST_F(LeasesOfASoleMember, CanBeRenewedAfterAPauseOfTheProcess) {
  Grant(1, 2);
  c.Pause(absl::Seconds(10));
  c.Turn(1);
  const auto renewal = c.Renew(1, 1);
  c.Run(absl::Milliseconds(200));
  EXPECT_EQ(renewal->fate, Fate::kApplied);
  EXPECT_EQ(renewal->result.revision, 2);
  EXPECT_TRUE(Exists(1));
}

TEST_F(Leases, AMemberThatRestartedNeverExpiresEarly) {
  Grant(1, 10);
  c.Run(absl::Seconds(9));
  for (raft::MemberId id : {1, 2, 3}) c.Crash(id);
  for (raft::MemberId id : {1, 2, 3}) c.Start(id);
  const absl::Duration lived = Lives(1);
  EXPECT_GE(lived, absl::Seconds(10)) << "it does not know how much time has passed";
  EXPECT_LE(lived, absl::Seconds(10) + kLate + kElection);
}

// etcd issue 15247: a leader that was cut off must not end leases that another one keeps.
TEST_F(Leases, ALeaderThatIsCutOffExpiresNothing) {
  Grant(1, 20);
  const raft::MemberId old = c.leader();
  c.Run(absl::Seconds(8));
  c.Cut(old);
  c.Run(kElection);
  ASSERT_NE(c.leader(), old);
  for (int i = 0; i < 4; ++i) {
    const auto renewal = c.Renew(c.leader(), 1);
    c.Run(absl::Seconds(10));
    EXPECT_EQ(renewal->result.revision, 20);
  }
  c.Heal();
  c.Run(absl::Seconds(3));
  for (raft::MemberId id : {1, 2, 3}) EXPECT_EQ(Cluster::Value(c[id], "k1"), "v");
}

TEST_F(Leases, RenewalsOfAMemberShareEntries) {
  std::vector<std::shared_ptr<Answer>> renewals;
  for (int64_t id = 1; id <= 20; ++id) Grant(id, 60);
  c.Run(absl::Seconds(1));
  const raft::Index before = c[c.leader()].raft().last_index();
  for (int round = 0; round < 10; ++round) {
    for (int64_t id = 1; id <= 20; ++id) renewals.push_back(c.Renew(c.follower(), id));
    c.Run(absl::Milliseconds(10));
  }
  c.Run(absl::Seconds(1));
  for (const auto& renewal : renewals) EXPECT_EQ(renewal->result.revision, 60);
  EXPECT_LE(c[c.leader()].raft().last_index() - before, 3u) << "of 200 renewals in 100 ms";
}

TEST_F(Leases, VeryManyExpireInBoundedEntries) {
  constexpr int kLeases = 5000;
  for (int64_t id = 1; id <= kLeases; ++id) {
    proto::Command command;
    command.mutable_lease_grant()->set_id(id);
    command.mutable_lease_grant()->set_ttl(10);
    c.Propose(c.leader(), command);
    if (id % 1000 == 0) c.Settle();
  }
  c.Run(absl::Seconds(1));
  const Lessor& lessor = c[c.leader()].member->replica().lessor();
  ASSERT_EQ(lessor.size(), kLeases);
  const raft::Index before = c[c.leader()].raft().last_index();
  c.Run(absl::Seconds(10) + kLate);
  EXPECT_EQ(lessor.size(), 0u);
  const raft::Index entries = c[c.leader()].raft().last_index() - before;
  EXPECT_GE(entries, raft::Index{kLeases / Lessor::kExpiredTogetherMax});
  EXPECT_LE(entries, raft::Index{2 * kLeases / Lessor::kExpiredInInterval});
}

// While they are not too late, there is time for other requests between the entries.
TEST(LessorTest, ExpiresFewTogetherUntilTheyAreLate) {
  Lessor lessor;
  LeaseChanges changes;
  for (int64_t id = 1; id <= 1000; ++id) changes.changes.push_back({.id = id, .ttl = 10});
  const MonotonicTime granted;
  lessor.OnApplied(changes, granted);
  const MonotonicTime due = granted + absl::Seconds(10);
  const auto size = [&](absl::Duration late, raft::Index applied) {
    const auto command = lessor.CommandToExpire(due + late, applied);
    return command ? command->expire_leases().leases_size() : 0;
  };
  const absl::Duration moment = absl::Nanoseconds(1);
  EXPECT_EQ(size(-moment, 0), 0);
  EXPECT_EQ(size(absl::ZeroDuration(), 0), Lessor::kExpiredTogetherMax) << "none was before it";
  lessor.OnProposed(1, due);
  EXPECT_EQ(size(Lessor::kInterval, 0), 0) << "the entry is not applied";
  EXPECT_EQ(size(Lessor::kInterval - moment, 1), 0);
  EXPECT_EQ(size(Lessor::kInterval, 1), Lessor::kExpiredInInterval);
  EXPECT_EQ(size(3 * Lessor::kInterval, 1), 3 * Lessor::kExpiredInInterval);
  EXPECT_EQ(size(absl::Seconds(1), 1), Lessor::kExpiredTogetherMax);
  lessor.OnProposed(2, due + Lessor::kLateMax - moment);
  EXPECT_EQ(size(Lessor::kLateMax - moment, 2), 0);
  EXPECT_EQ(size(Lessor::kLateMax, 2), Lessor::kExpiredTogetherMax) << "at once";
  EXPECT_EQ(size(Lessor::kLateMax, 1), 0) << "the entry is not applied";
}

TEST_F(Leases, WaitingRenewalsAreAnsweredWhenTheMemberStops) {
  Grant(1, 10);
  c.Renew(c.leader(), 1);
  c.Settle();
  const auto renewal = c.Renew(c.leader(), 1);
  c.Settle();
  EXPECT_EQ(renewal->times, 0) << "it waits for the next proposal";
  c[c.leader()].member->StopRequests();
  EXPECT_EQ(renewal->fate, Fate::kStoppedUnproposed);
}

}  // namespace
}  // namespace raftkv
