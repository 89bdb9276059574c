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

// A lessor with `leases` leases that are due at `due()`.
class DueLeases {
 public:
  explicit DueLeases(int leases) {
    LeaseChanges changes;
    for (int64_t id = 1; id <= leases; ++id) changes.changes.push_back({.id = id, .ttl = 10});
    lessor.OnApplied(changes, MonotonicTime());
  }
  MonotonicTime due() const { return MonotonicTime() + absl::Seconds(10); }
  // Those that the next entry expires.
  std::vector<int64_t> Next(absl::Duration late, raft::Index applied) {
    const auto command = lessor.CommandToExpire(due() + late, applied);
    std::vector<int64_t> ids;
    if (!command) return ids;
    for (const auto& lease : command->expire_leases().leases()) ids.push_back(lease.id());
    return ids;
  }
  size_t Size(absl::Duration late, raft::Index applied) { return Next(late, applied).size(); }

  Lessor lessor;
};

// While they are not too late, there is time for other requests between the entries.
TEST(LessorTest, ExpiresFewTogetherUntilTheyAreLate) {
  DueLeases leases(1000);
  const absl::Duration moment = absl::Nanoseconds(1);
  EXPECT_EQ(leases.Size(-moment, 0), 0u);
  EXPECT_EQ(leases.Size(absl::ZeroDuration(), 0), size_t{Lessor::kExpiredTogetherMax})
      << "none was before it";
  leases.lessor.OnProposed(1, leases.due());
  EXPECT_EQ(leases.Size(Lessor::kInterval, 0), 0u) << "the entry is not applied";
  EXPECT_EQ(leases.Size(Lessor::kInterval - moment, 1), 0u);
  EXPECT_EQ(leases.Size(Lessor::kInterval, 1), size_t{Lessor::kExpiredInInterval});
  EXPECT_EQ(leases.Size(3 * Lessor::kInterval, 1), size_t{3 * Lessor::kExpiredInInterval});
  EXPECT_EQ(leases.Size(absl::Seconds(1), 1), size_t{Lessor::kExpiredTogetherMax});
  leases.lessor.OnProposed(2, leases.due() + Lessor::kLateMax - moment);
  EXPECT_EQ(leases.Size(Lessor::kLateMax - moment, 2), 0u);
  EXPECT_EQ(leases.Size(Lessor::kLateMax, 2), size_t{Lessor::kExpiredTogetherMax}) << "at once";
  EXPECT_EQ(leases.Size(Lessor::kLateMax, 1), 0u) << "the entry is not applied";
}

// All that are due expire at an even rate, the last ones when they are late by kLateMax.
TEST(LessorTest, SpreadsTheLeasesThatAreDueOverTheTimeThatTheyMayBeLate) {
  constexpr int kLeases = 100'000;
  DueLeases leases(kLeases);
  leases.Next(absl::ZeroDuration(), 0);
  leases.lessor.OnProposed(1, leases.due());
  const size_t even = kLeases / (Lessor::kLateMax / Lessor::kInterval);
  size_t expired = 0, most = 0;
  absl::Duration late = Lessor::kInterval;
  for (raft::Index index = 1; expired < kLeases; ++index, late += Lessor::kInterval) {
    ASSERT_LE(late, Lessor::kLateMax);
    const std::vector<int64_t> next = leases.Next(late, index);
    leases.lessor.OnProposed(index + 1, leases.due() + late);
    LeaseChanges ended;
    for (const int64_t id : next) ended.changes.push_back({.id = id});
    leases.lessor.OnApplied(ended, leases.due() + late);
    expired += next.size();
    most = std::max(most, next.size());
    if (late == Lessor::kLateMax / 2) EXPECT_NEAR(expired, kLeases / 2, kLeases / 50);
  }
  EXPECT_LE(most, even + 2);
  EXPECT_GT(late, Lessor::kLateMax * 0.9);
}

// A renewed lease, a revoked one, and those of an installed snapshot are counted once.
TEST(LessorTest, CountsTheLeasesThatAreDueOnce) {
  constexpr int kLeases = 50'000;
  DueLeases leases(kLeases);
  const size_t all = leases.Size(Lessor::kLateMax / 2, 0);
  leases.lessor.OnProposed(1, leases.due());
  const absl::Duration late = Lessor::kInterval;
  const size_t before = leases.Size(late, 1);
  EXPECT_GT(before, size_t{2 * Lessor::kExpiredInInterval});
  EXPECT_EQ(all, size_t{Lessor::kExpiredTogetherMax});
  LeaseChanges changes;
  for (int64_t id = 1; id <= kLeases / 2; ++id) {  // half of them are renewed or revoked
    changes.changes.push_back({.id = id, .ttl = id % 2 == 0 ? 10 : 0, .renewed = 7});
  }
  leases.lessor.OnApplied(changes, leases.due() + late);
  EXPECT_NEAR(leases.Size(late, 1), before / 2, 1);
  changes = {.all = true, .changes = {}};
  for (int64_t id = 1; id <= kLeases; ++id) changes.changes.push_back({.id = id, .ttl = 10});
  leases.lessor.OnApplied(changes, leases.due() + late);
  EXPECT_NEAR(leases.Size(late, 1), before / 2, 1) << "those that it knew keep their deadlines";
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
