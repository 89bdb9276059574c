// What a member does when its disk has little space left, and compactions by a leader.

#include "server/member/space.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "server/member/auto_compaction.h"
#include "server/member/member.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

constexpr uint64_t kVolume = 1000, kEnough = 500, kLow = 60, kFull = 10;

// Space at a time that a test moves on.
class SpaceInTime : public testing::Test {
 protected:
  Space::Level After(absl::Duration time, Space* space, const SpaceReport& report) {
    now_ += time;
    space->OnReport(report);
    space->Update(now_);
    return space->level();
  }

  static constexpr absl::Duration kMoment = absl::Milliseconds(100);
  MonotonicTime now_;
};

TEST_F(SpaceInTime, TheLevelFallsOnlyWithMoreSpaceForSomeTime) {
  Space space({.low_bytes = 100});
  const auto after = [&](absl::Duration time, uint64_t free) {
    return After(time, &space, {.volume_bytes = kVolume, .free_bytes = free});
  };
  EXPECT_EQ(after(kMoment, 100), Space::Level::kEnough);
  EXPECT_EQ(after(kMoment, 99), Space::Level::kLow);
  EXPECT_EQ(after(Space::kSettle, 124), Space::Level::kLow);
  EXPECT_EQ(after(Space::kSettle, 125), Space::Level::kLow) << "only now is there more space";
  EXPECT_EQ(after(Space::kSettle - kMoment, 125), Space::Level::kLow);
  EXPECT_EQ(after(kMoment, 124), Space::Level::kLow) << "it begins again";
  EXPECT_EQ(after(kMoment, 125), Space::Level::kLow);
  EXPECT_EQ(after(Space::kSettle, 125), Space::Level::kEnough);

  EXPECT_EQ(after(kMoment, 24), Space::Level::kFull) << "at once";
  EXPECT_EQ(after(kMoment, 500), Space::Level::kFull);
  EXPECT_EQ(after(Space::kSettle, 500), Space::Level::kLow) << "one step";
  EXPECT_EQ(after(kMoment, 500), Space::Level::kLow);
  EXPECT_EQ(after(Space::kSettle, 500), Space::Level::kEnough);
}

TEST_F(SpaceInTime, AQuotaIsForTheStateAlone) {
  Space space({.low_bytes = 100, .quota_bytes = 1600});
  const auto after = [&](absl::Duration time, uint64_t state) {
    return After(time, &space, {.volume_bytes = kVolume, .free_bytes = 101, .state_bytes = state});
  };
  EXPECT_EQ(after(kMoment, 1600), Space::Level::kEnough);
  EXPECT_EQ(after(kMoment, 1601), Space::Level::kLow);
  EXPECT_EQ(after(Space::kSettle, 1501), Space::Level::kLow);
  EXPECT_EQ(after(Space::kSettle, 1500), Space::Level::kLow);
  EXPECT_EQ(after(Space::kSettle, 1500), Space::Level::kEnough);
}

class SpaceOfMembers : public testing::Test {
 protected:
  SpaceOfMembers() { c.Run(absl::Seconds(5)); }

  void Report(raft::MemberId id, uint64_t free) {
    c[id].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = free});
    c.Run(2 * Space::kSettle + absl::Seconds(3));
  }
  absl::Status Put(raft::MemberId id) {
    const auto put = c.Put(id, "k", "v");
    c.Run(absl::Seconds(1));
    return put->fate == Fate::kApplied ? put->result.status : absl::UnavailableError("");
  }
  void ExpectAlarms(size_t count) {
    for (raft::MemberId id : {1, 2, 3}) EXPECT_EQ(c[id].state->alarms().all().size(), count) << id;
  }

  Cluster c{3};
};

TEST_F(SpaceOfMembers, AMemberRaisesItsAlarmAndEndsIt) {
  const raft::MemberId member = c.follower();
  Report(member, kLow);
  ExpectAlarms(1);
  EXPECT_TRUE(absl::IsResourceExhausted(Put(c.leader())));
  Report(c.leader(), kLow);
  ExpectAlarms(2);
  Report(member, kEnough);
  ExpectAlarms(1);
  EXPECT_TRUE(absl::IsResourceExhausted(Put(c.leader()))) << "the other one is still there";
  Report(c.leader(), kEnough);
  ExpectAlarms(0);
  EXPECT_TRUE(Put(c.leader()).ok());
}

TEST_F(SpaceOfMembers, AnAlarmOfAClientStays) {
  const raft::MemberId member = c.follower();
  proto::Command command;
  auto& request = *command.mutable_change_alarm()->mutable_request();
  request.set_action(etcdserverpb::AlarmRequest::ACTIVATE);
  request.set_alarm(etcdserverpb::NOSPACE);
  request.set_memberid(member);
  c.Propose(c.leader(), command);
  c.Settle();
  Report(member, kLow);
  Report(member, kEnough);
  ExpectAlarms(1);
}

TEST_F(SpaceOfMembers, AFullFollowerTakesNoEntriesUntilItHasSpace) {
  const raft::MemberId full = c.follower(), leader = c.leader();
  Report(full, kFull);
  const raft::Index last = c[full].raft().last_index();
  proto::Command command;
  command.mutable_delete_range()->set_key("k");
  for (int i = 0; i < 5; ++i) c.Propose(leader, command);
  c.Run(absl::Seconds(3));
  EXPECT_GE(c[leader].raft().commit_index(), last + 5);
  EXPECT_EQ(c[full].raft().last_index(), last);
  EXPECT_EQ(c[full].raft().leader(), leader) << "it still hears the leader";
  EXPECT_TRUE(c[full].member->out_of_space());
  Report(full, kEnough);
  EXPECT_EQ(c[full].raft().last_index(), c[leader].raft().last_index());
  ExpectAlarms(0);
}

TEST_F(SpaceOfMembers, AFullFollowerRaisesItsAlarmAgainAlthoughItDoesNotSeeTheEnd) {
  const raft::MemberId full = c.follower(), leader = c.leader();
  Report(full, kLow);  // it sees its alarm
  Report(full, kFull);
  proto::Command command;
  auto& request = *command.mutable_change_alarm()->mutable_request();
  request.set_action(etcdserverpb::AlarmRequest::DEACTIVATE);
  request.set_alarm(etcdserverpb::NOSPACE);
  request.set_memberid(full);
  const auto ended = c.Propose(leader, command);
  c.Run(absl::Seconds(3));
  ASSERT_EQ(ended->fate, Fate::kApplied);
  EXPECT_EQ(c[leader].state->alarms().all().size(), 1);
  EXPECT_TRUE(absl::IsResourceExhausted(Put(leader)));
  Report(full, kEnough);
  ExpectAlarms(0);
}

TEST_F(SpaceOfMembers, AFullLeaderHandsOverAndDoesNotCampaign) {
  const raft::MemberId full = c.leader();
  const raft::Term term = c[full].raft().term();
  Report(full, kFull);
  EXPECT_NE(c.leader(), full);
  EXPECT_NE(c.leader(), raft::kNobody);
  EXPECT_EQ(c[full].raft().term(), term + 1);
  for (raft::MemberId id : {1, 2, 3}) {
    if (id != full) c.Cut(id);
  }
  c.Run(absl::Seconds(10));
  EXPECT_EQ(c[full].raft().term(), term + 1);
  EXPECT_EQ(c[full].raft().role(), raft::Role::kFollower);
}

TEST_F(SpaceOfMembers, WithoutASuccessorAFullLeaderStepsDown) {
  const raft::MemberId full = c.leader();
  for (raft::MemberId id : {1, 2, 3}) {
    if (id != full) Report(id, kFull);
  }
  Report(full, kFull);
  EXPECT_EQ(c.leader(), raft::kNobody);
  for (raft::MemberId id : {1, 2, 3}) Report(id, kEnough);
  c.Run(absl::Seconds(5));
  ASSERT_NE(c.leader(), raft::kNobody);
  EXPECT_TRUE(Put(c.leader()).ok());
  ExpectAlarms(0);
}

TEST_F(SpaceOfMembers, AFullLeaderProposesNothingOfItsClients) {
  const raft::MemberId full = c.leader();
  for (raft::MemberId id : {1, 2, 3}) {
    if (id != full) Report(id, kFull);  // there is no successor
  }
  c[full].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = kFull});
  c.Run(absl::Milliseconds(20));
  ASSERT_EQ(c[full].raft().role(), raft::Role::kLeader);
  const raft::Index last = c[full].raft().last_index();
  proto::Command command;
  command.mutable_delete_range()->set_key("k");
  c.Propose(full, command);
  c.Run(absl::Milliseconds(100));
  EXPECT_EQ(c[full].raft().last_index(), last);
}

TEST_F(SpaceOfMembers, ProposalsOfAFullLeadersClientsGoToTheNextLeader) {
  const raft::MemberId full = c.leader();
  c[full].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = kFull});
  proto::Command command;
  command.mutable_delete_range()->set_key("k");
  const auto deleted = c.Propose(full, command);
  c.Run(absl::Seconds(1));
  const raft::MemberId next = c.leader();
  ASSERT_NE(next, raft::kNobody);
  ASSERT_NE(next, full);
  EXPECT_EQ(Cluster::Value(c[next], "k"), "");
  // The full member stores no entries, so it learns the outcome when it has space again.
  c[full].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = kEnough});
  c.Run(Space::kSettle + absl::Seconds(1));
  EXPECT_EQ(deleted->fate, Fate::kApplied);
  EXPECT_EQ(deleted->times, 1);
}

// No member may log a command before every member knows it.
TEST(SpaceOfOldMembers, TheAlarmsWaitForTheirVersion) {
  Cluster c{3};
  const auto restart_all = [&c](ClusterVersion newest) {
    c.newest_version = newest;
    for (raft::MemberId id : {1, 2, 3}) c.Crash(id);
    for (raft::MemberId id : {1, 2, 3}) c.Start(id);
    c.Run(kElection);
    for (raft::MemberId id : {1, 2, 3}) {
      c[id].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = kLow});
    }
    c.Run(absl::Seconds(3));
  };
  restart_all(kAlarmsVersion - 1);
  EXPECT_EQ(c[1].member->cluster_version(), kAlarmsVersion - 1);
  for (const auto& [index, entry] : c[1].committed) {
    proto::Command command;
    ASSERT_TRUE(command.ParseFromString(std::string(entry.payload.view())));
    EXPECT_FALSE(command.has_change_alarm()) << index;
  }
  restart_all(kNewestVersion);
  EXPECT_EQ(c[1].state->alarms().all().size(), 3);
}

// It cannot hand its leadership over, and still leads until its alarm is logged.
TEST(SpaceOfOneMember, ItProposesNothingOfItsClientsWhileItIsFull) {
  Cluster c{1};
  c.Run(kElection);
  auto put = c.Put(1, "k", "v");
  c.Settle();
  ASSERT_EQ(put->fate, Fate::kApplied);
  c[1].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = kFull});
  c.Turn(1);
  proto::Command command;
  command.mutable_delete_range()->set_key("k");
  const auto deleted = c.Propose(1, command);
  c.Settle();
  ASSERT_EQ(c[1].raft().role(), raft::Role::kLeader);
  EXPECT_EQ(Cluster::Value(c[1], "k"), "v");
  c[1].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = kEnough});
  c.Run(2 * Space::kSettle + kElection);
  EXPECT_EQ(Cluster::Value(c[1], "k"), "");
  EXPECT_EQ(deleted->times, 1);
}

TEST(SpaceOfOneMember, ItLogsItsAlarmBeforeItStepsDown) {
  Cluster c{1};
  c.Run(kElection);
  c[1].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = kFull});
  c.Run(absl::Seconds(3));
  EXPECT_EQ(c.leader(), raft::kNobody);
  EXPECT_EQ(c[1].state->alarms().all().size(), 1);
  c[1].Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = kEnough});
  c.Run(2 * Space::kSettle + kElection);
  EXPECT_EQ(c.leader(), 1);
  EXPECT_EQ(c[1].state->alarms().all().size(), 0);
}

// --- compactions by a leader

MonotonicTime At(absl::Duration time) { return MonotonicTime(time); }

// The revision that is compacted now; 0: none.
Revision Due(AutoCompaction* compaction, MonotonicTime now, Revision newest, bool leads) {
  const auto command = compaction->CommandToCompact(now, newest, leads);
  return command ? command->compaction().revision() : 0;
}

void Propose(AutoCompaction* compaction, MonotonicTime now, Revision revision) {
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision);
  compaction->OnProposed(now, request);
}

TEST(AutoCompaction, PeriodicKeepsTheHistoryOfThePeriod) {
  AutoCompaction compaction({.period = absl::Hours(2)});
  const absl::Duration step = absl::Minutes(6);
  Revision revision = 100;
  absl::Duration now;
  for (; now < absl::Hours(2); now += step) {
    EXPECT_FALSE(Due(&compaction, At(now), revision++, /*leads=*/true)) << now;
  }
  EXPECT_EQ(Due(&compaction, At(now), revision++, true), 100);
  Propose(&compaction, At(now), 100);
  for (int i = 1; i < 10; ++i) {  // from now on once an hour
    EXPECT_FALSE(Due(&compaction, At(now + i * step), revision++, true)) << i;
  }
  EXPECT_FALSE(Due(&compaction, At(now + absl::Hours(1)), revision++, /*leads=*/false));
  EXPECT_EQ(Due(&compaction, At(now + absl::Hours(1) + step), revision++, true), 111);
}

TEST(AutoCompaction, ByRevisionKeepsSoManyOfThem) {
  AutoCompaction compaction({.revisions = 10});
  const auto due = [&](int minutes, Revision newest) {
    return Due(&compaction, At(absl::Minutes(minutes)), newest, true);
  };
  EXPECT_FALSE(due(0, 50));
  EXPECT_FALSE(due(4, 50));
  EXPECT_EQ(due(5, 50), 40);
  Propose(&compaction, At(absl::Minutes(5)), 40);
  EXPECT_FALSE(due(9, 60));
  EXPECT_FALSE(due(10, 50)) << "nothing new";
  EXPECT_EQ(due(15, 60), 50);
}

TEST(AutoCompaction, IsOffByDefault) {
  AutoCompaction compaction({});
  for (int hour = 0; hour < 100; ++hour) {
    EXPECT_FALSE(Due(&compaction, At(absl::Hours(hour)), 1000 + hour, true));
  }
}

}  // namespace
}  // namespace raftkv
