// A member that needs an entry which is no longer in its leader's log gets a snapshot, and goes on
// with it: with its clients' requests, its leases and its log.

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "server/member/member.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

constexpr LogTail kShortLog = {.entries_max = 5, .step_entries = 1, .held_bytes_max = 0};

class Snapshots : public testing::Test {
 protected:
  Snapshots() { c.Run(absl::Seconds(5)); }

  proto::Command GrantCommand(int64_t id, int64_t ttl) {
    proto::Command command;
    command.mutable_lease_grant()->set_id(id);
    command.mutable_lease_grant()->set_ttl(ttl);
    return command;
  }
  void Propose(const proto::Command& command) {
    const auto answer = c.Propose(c.leader(), command);
    c.Settle();
    ASSERT_EQ(answer->fate, Fate::kApplied);
  }
  // A follower is cut off, and the others cut their logs beyond what it has.
  void Leave() {
    behind = c.follower();
    c.Cut(behind);
    for (int i = 0; i < 20; ++i) {
      const auto put = c.Put(c.leader(), "k", std::to_string(i));
      c.Settle();
      ASSERT_EQ(put->fate, Fate::kApplied);
    }
    c.Run(absl::Seconds(2));  // the leader no longer keeps entries for it
    Flush();
  }
  void Flush() {
    for (raft::MemberId id : {1, 2, 3}) c[id].state->Flush();
    c.Settle();
  }
  void Return() {
    c.Heal();
    c.Run(absl::Seconds(2));
  }
  int Installed(raft::MemberId id) {
    int count = 0;
    for (const ReplicaEvent& event : c[id].events) {
      const auto* of_raft = std::get_if<raft::Event>(&event);
      count += of_raft != nullptr && std::holds_alternative<raft::SnapshotInstalled>(*of_raft);
    }
    return count;
  }

  Cluster c{3, 16384, 128 << 20, kShortLog};
  raft::MemberId behind = raft::kNobody;
};

TEST_F(Snapshots, BringAMemberUpToDate) {
  Leave();
  ASSERT_GT(c[c.leader()].log->first_index(), c[behind].log->last_index() + 1);
  Return();
  EXPECT_EQ(Installed(behind), 1);
  EXPECT_EQ(Cluster::Value(c[behind], "k"), "19");
  EXPECT_EQ(c[behind].state->digest(), c[c.leader()].state->digest());
  const auto put = c.Put(behind, "k", "more");
  c.Settle();
  EXPECT_EQ(put->fate, Fate::kApplied);
  EXPECT_EQ(Installed(behind), 1);
  c.Crash(behind);
  c.Start(behind);
  c.Run(absl::Seconds(2));
  EXPECT_EQ(Cluster::Value(c[behind], "k"), "more");
}

TEST_F(Snapshots, AreNotNeededByAMemberThatAnswers) {
  for (int i = 0; i < 30; ++i) {
    c.Put(c.leader(), "k", std::to_string(i));
    c.Settle();
    Flush();
  }
  c.Run(absl::Seconds(1));
  for (raft::MemberId id : {1, 2, 3}) {
    EXPECT_GT(c[id].log->first_index(), 10u) << "followers cut their logs, too";
    EXPECT_EQ(Installed(id), 0);
  }
}

// The snapshot contains the entries that were handed over, so their results are never known here.
TEST_F(Snapshots, AnswerWhatTheyContain) {
  const raft::MemberId follower = c.follower();
  c[follower].hold_apply = true;
  const auto put = c.Put(follower, "mine", "v");
  c.Settle();
  std::string value;
  const auto get = c.Get(follower, "mine", &value);
  c.Settle();
  ASSERT_FALSE(put->fate || get->fate);
  Leave();
  ASSERT_EQ(behind, follower);
  Return();
  ASSERT_EQ(Installed(behind), 1);
  EXPECT_EQ(put->fate, Fate::kUnknownConnection);
  EXPECT_EQ(put->times, 1);
  c[follower].hold_apply = false;
  c.Settle();
  EXPECT_EQ(get->fate, Fate::kApplied) << "a read waits only for an index";
  EXPECT_EQ(get->times, 1);
  EXPECT_EQ(value, "v");
}

TEST_F(Snapshots, BringTheLeases) {
  Propose(GrantCommand(1, 100));
  Propose(GrantCommand(2, 100));
  const absl::Duration gone = absl::Seconds(5);
  c.Run(gone);
  Leave();
  Propose(GrantCommand(3, 50));
  proto::Command revoke;
  revoke.mutable_lease_revoke()->set_id(2);
  Propose(revoke);
  Return();
  ASSERT_EQ(Installed(behind), 1);
  const auto remaining = [&](int64_t id) { return c[behind].member->LeaseRemaining(id, c.now()); };
  ASSERT_TRUE(remaining(1) && remaining(3));
  EXPECT_LE(*remaining(1), absl::Seconds(100) - gone) << "not renewed: its time goes on";
  EXPECT_GT(*remaining(1), absl::Seconds(85));
  EXPECT_GT(*remaining(3), absl::Seconds(45));
  EXPECT_FALSE(remaining(2));
}

}  // namespace
}  // namespace raftkv
