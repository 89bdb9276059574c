// Logs that were cut, and followers that need a snapshot because of it (§7).

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

// Three members. Member 3 has missed the entries 2 to 21, and the leader's log starts at `first`.
class Snapshot : public ::testing::Test {
 protected:
  void Lag(Index first) {
    net.Elect(1);
    net.Isolate(3);
    for (int i = 0; i < 20; ++i) {
      net.Propose(1, std::to_string(i));
      net.Stabilize();
    }
    net.RunFor(4);
    net.CutLog(1, first);
    ASSERT_EQ(net[1].status().first_index, first);
  }

  template <typename E>
  size_t Count(MemberId id) {
    size_t count = 0;
    for (const Event& event : net.member(id).events) count += std::holds_alternative<E>(event);
    return count;
  }

  Network net{3};
};

TEST_F(Snapshot, FollowerBelowACutLogGetsOne) {
  Lag(15);
  net.Recover();
  net.RunFor(10);
  EXPECT_EQ(Count<SnapshotInstalled>(3), 1u);
  EXPECT_EQ(net.member(3).applied, net.member(1).applied);
  EXPECT_EQ(net[1].status().peers.at(3).match_index, 21u);
  net.Propose(1, "after");
  net.RunFor(2);
  EXPECT_EQ(net[3].commit_index(), 22u);
  EXPECT_EQ(net[3].status().first_index, 22u);
}

TEST_F(Snapshot, FollowerThatHasTheEntryBeforeTheCutLogGetsNone) {
  Lag(2);
  net.Recover();
  net.RunFor(10);
  EXPECT_EQ(Count<SnapshotNeeded>(1), 0u);
  EXPECT_EQ(net[3].commit_index(), 21u);
}

TEST_F(Snapshot, MemberThatDoesNotAnswerGetsNone) {
  net.Elect(1);
  net.Isolate(3);
  for (int i = 0; i < 20; ++i) {
    net.Propose(1, std::to_string(i));
    net.RunFor(2);
  }
  net.CutLog(1, 15);
  net.RunFor(50);
  EXPECT_EQ(Count<SnapshotNeeded>(1), 0u);
  net.Recover();
  net.RunFor(20);
  EXPECT_EQ(net.member(3).applied, net.member(1).applied);
}

TEST_F(Snapshot, HeartbeatsGoOnMeanwhile) {
  Lag(15);
  net.send_snapshots = false;
  net.Recover();
  net.RunFor(50);  // several election timeouts
  ASSERT_EQ(net.member(1).snapshots_to, (std::vector<MemberId>{3})) << "one at a time";
  EXPECT_EQ(net[3].leader(), 1u);
  EXPECT_EQ(net[1].term(), net[3].term());
  EXPECT_LT(net[3].last_index(), 15u);
}

TEST_F(Snapshot, FailedOneIsRepeatedOnceAHeartbeat) {
  Lag(15);
  net.send_snapshots = false;
  net.Recover();
  net.RunFor(4);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_EQ(Count<SnapshotNeeded>(1), static_cast<size_t>(i));
    net.SnapshotSent(1, 3, /*ok=*/false);
    net.Stabilize();
    EXPECT_EQ(Count<SnapshotNeeded>(1), static_cast<size_t>(i)) << "not at once";
    net.RunFor(2);
  }
}

TEST_F(Snapshot, IsAcknowledgedAfterItIsSaved) {
  Lag(15);
  net.send_snapshots = false;
  net.Recover();
  net.RunFor(4);
  net.member(3).hold_saves = true;
  net.SendSnapshot(1);
  EXPECT_EQ(net[3].commit_index(), 21u);
  net.RunFor(3);
  EXPECT_LT(net[1].status().peers.at(3).match_index, 15u);
  net.member(3).hold_saves = false;
  net.Saved(3, 100);
  net.RunFor(3);
  EXPECT_EQ(net[1].status().peers.at(3).match_index, 21u);
}

TEST_F(Snapshot, CrashBeforeItIsSavedBringsTheOldLogBack) {
  Lag(15);
  net.send_snapshots = false;
  net.Recover();
  net.RunFor(4);
  net.member(3).hold_saves = true;
  net.SendSnapshot(1);
  net.Restart(3);
  net.member(3).hold_saves = false;
  EXPECT_EQ(net[3].last_index(), 1u);
  net.send_snapshots = true;
  net.RunFor(60);
  EXPECT_EQ(net.member(3).applied, net.member(1).applied);
}

TEST_F(Snapshot, OfAnOlderStateIsNotInstalled) {
  Lag(15);
  net.Recover();
  net.RunFor(10);
  const Index first = net[3].status().first_index;
  Message old{1, 3, net[1].term(), InstallSnapshot{{{net[1].term(), 16}, {}, 0}}};
  net.Step(old);
  net.Propose(1, "after");
  net.RunFor(2);
  EXPECT_EQ(net[3].status().first_index, first);
  EXPECT_EQ(net[3].commit_index(), 22u);
}

// If the log has the snapshot's last entry, that entry and the entries after it are kept.
TEST_F(Snapshot, ThatTheLogContainsKeepsTheLog) {
  net.Elect(1);
  net.CutOneWay(3, 1);
  for (int i = 0; i < 3; ++i) net.Propose(1, "x");
  net.StabilizeOnly([](const Message& m) { return m.to == 3; });
  net.DropAll();
  ASSERT_EQ(net[3].last_index(), 4u);
  ASSERT_EQ(net[3].commit_index(), 1u);
  net.Step({1, 3, net[1].term(), InstallSnapshot{{{net[1].term(), 3}, {}, 0}}});
  EXPECT_EQ(net[3].last_index(), 4u);
  EXPECT_EQ(net[3].commit_index(), 3u);
  EXPECT_EQ(net[3].status().first_index, 1u);
}

TEST_F(Snapshot, OfAnOlderTermIsAnsweredWithTheTerm) {
  Lag(15);
  net.Recover();
  net.Elect(2);
  net.DropAll();
  net.Step({1, 3, net[3].term() - 1, InstallSnapshot{{{1, 21}, {}, 0}}});
  EXPECT_EQ(Count<SnapshotInstalled>(3), 0u);
  const std::vector<Message> sent = net.TakeSent(3, 1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].term, net[3].term());
}

// After a broken connection the peer may have the entries that were in flight. So the leader probes
// it before it sends a snapshot.
TEST_F(Snapshot, BrokenConnectionAloneNeedsNone) {
  net.Elect(1);
  net.CutOneWay(3, 1);  // appends arrive, acknowledgements do not
  for (int i = 0; i < 3; ++i) {
    net.Propose(1, "x");
    net.Stabilize();
  }
  net.CutLog(1, 4);
  ASSERT_LT(net[1].status().peers.at(3).match_index, 3u);
  net.Into(1, [](Raft& raft) { raft.OnUnreachable(3); });
  net.Recover();
  net.RunFor(10);
  EXPECT_EQ(Count<SnapshotNeeded>(1), 0u);
  EXPECT_EQ(net[1].status().peers.at(3).match_index, net[1].last_index());
}

TEST(CutLog, MemoryAndDiskContinue) {
  Network net(1);
  net.Elect(1);
  for (int i = 0; i < 50; ++i) net.Propose(1, std::to_string(i));
  for (Index first : {3, 20, 45, 51}) {
    net.CutLog(1, first);
    EXPECT_EQ(net[1].status().first_index, first);
    net.Propose(1, "more");
  }
  net.Restart(1);
  net.RunFor(5);
  EXPECT_EQ(net[1].status().first_index, 51u);
  EXPECT_EQ(net.member(1).applied.size(), net[1].commit_index());
}

}  // namespace
}  // namespace raftkv::raft
