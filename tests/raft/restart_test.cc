// How a core starts with data on disk, and how it continues.

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

TEST(Restart, HandsOutWhatWasCommittedAboveApplied) {
  MemoryDisk disk({.current_term = 2, .voted_for = 1, .commit_index = 4},
                  LogOfTerms({1, 1, 2, 2, 2}));
  Raft raft(TestConfig(1), {.voters = {1, 2, 3}}, /*applied=*/2, &disk);
  EXPECT_EQ(raft.role(), Role::kFollower);
  EXPECT_EQ(raft.term(), 2u);
  EXPECT_EQ(raft.status().voted_for, 1u);
  EXPECT_EQ(raft.commit_index(), 4u);
  ASSERT_TRUE(raft.HasReady());
  const Ready ready = raft.TakeReady();
  EXPECT_FALSE(ready.hard_state.has_value()) << "nothing to save";
  ASSERT_EQ(ready.committed.size(), 2u);
  EXPECT_EQ(ready.committed[0].id, (EntryId{2, 3}));
  EXPECT_FALSE(raft.HasReady());
}

TEST(Restart, CommitIndexIsBetweenAppliedAndLastIndex) {
  const Configuration voters{.voters = {1, 2, 3}};
  MemoryDisk beyond({1, 0, 9}, LogOfTerms({1, 1}));
  EXPECT_EQ(Raft(TestConfig(1), voters, 0, &beyond).commit_index(), 2u);
  MemoryDisk behind({1, 0, 0}, LogOfTerms({1, 1}));
  EXPECT_EQ(Raft(TestConfig(1), voters, 2, &behind).commit_index(), 2u);
}

// If a Ready has room for only one committed entry, each entry is still handed out exactly once.
TEST(Restart, CommittedEntriesComeInPagesOnceEach) {
  MemoryDisk disk({.current_term = 1, .voted_for = 0, .commit_index = 9},
                  LogOfTerms(std::vector<Term>(9, 1)));
  Config config = TestConfig(1);
  config.committed_bytes_max = 1;
  Raft raft(config, {.voters = {1, 2, 3}}, 0, &disk);
  for (Index i = 1; i <= 9; ++i) {
    ASSERT_TRUE(raft.HasReady());
    const Ready ready = raft.TakeReady();
    ASSERT_EQ(ready.committed.size(), 1u);
    EXPECT_EQ(ready.committed[0].id.index, i);
    EXPECT_FALSE(raft.HasReady()) << "the page is not applied yet";
    EXPECT_EQ(raft.commit_index(), 9u);
    raft.OnApplied(i);
  }
  EXPECT_FALSE(raft.HasReady());
  EXPECT_EQ(raft.status().applied_index, 9u);
}

TEST(Restart, WholeClusterComesBackWithEverything) {
  Network net(3);
  net.Elect(1);
  for (int i = 0; i < 20; ++i) net.Propose(1, std::to_string(i));
  net.Stabilize();
  for (MemberId id : {1, 2, 3}) net.Restart(id);
  net.RunFor(60);
  for (MemberId id : {1, 2, 3}) {
    EXPECT_EQ(net.member(id).applied.size(), 22u) << "no-op, 20 commands, no-op";
    EXPECT_EQ(net.member(id).applied, net.member(1).applied);
  }
}

TEST(Restart, LeaderThatCrashesBeforeItsSaveForgetsItsOwnEntry) {
  Network net(3);
  net.Elect(1);
  net.Isolate(1);
  net.member(1).hold_saves = true;
  net.Propose(1, "lost");
  ASSERT_EQ(net[1].last_index(), 2u);
  net.Restart(1);
  net.member(1).hold_saves = false;
  EXPECT_EQ(net[1].last_index(), 1u);
  net.Recover();
  net.RunFor(60);
  EXPECT_EQ(net[1].commit_index(), net[2].commit_index());
}

// An entry survives if a majority saved it, even if its leader did not.
TEST(Restart, EntryThatOnlyTheFollowersSavedIsCommittedAndStays) {
  Network net(3);
  net.Elect(1);
  net.member(1).hold_saves = true;
  net.Propose(1, "theirs");
  net.Stabilize();
  EXPECT_EQ(net[1].commit_index(), 2u) << "two of three members have it on disk";
  EXPECT_EQ(net.member(1).applied.size(), 1u) << "but the leader applies only saved entries";
  EXPECT_EQ(net.member(2).applied.size(), 2u);
  net.Restart(1);
  net.member(1).hold_saves = false;
  net.RunFor(60);
  EXPECT_EQ(net.member(1).applied.at(1).payload.view(), "theirs");
}

TEST(Restart, LogThatWasCutIsContinued) {
  const uint64_t four = ChainOf(LogOfTerms({1, 1, 1, 2}));
  const uint64_t five = ChainOf(LogOfTerms({1, 1, 1, 2, 2}));
  Network net({{1, MemoryDisk({3, 0, 0}, {Command(3, 6), Command(3, 7)}, {2, 5}, five)},
               {2, MemoryDisk({3, 0, 0}, {Command(3, 6), Command(3, 7)}, {2, 5}, five)},
               {3, MemoryDisk({3, 0, 0}, {Command(2, 5), Command(2, 6)}, {2, 4}, four)}});
  net.RunFor(60);
  for (MemberId id : {1, 2, 3}) {
    EXPECT_EQ(net[id].commit_index(), 8u);
    EXPECT_EQ(net.member(id).applied.back().id.index, 8u);
  }
  EXPECT_EQ(net.member(3).disk.TermAt(6), 3u);
}

// Entries before the first one in the log are committed. They must be skipped, and not be compared
// with term 0.
TEST(Restart, AppendThatStartsBeforeTheFirstEntryIsTakenFromThereOn) {
  Network net({{1, MemoryDisk({3, 0, 0}, {Command(3, 6)}, {2, 5})}, {2, {}}, {3, {}}});
  net.Step({2, 1, 3,
            AppendEntries{.prev = {1, 3},
                          .entries = {Command(2, 4), Command(2, 5), Command(3, 6), Command(3, 7)},
                          .commit = 7}});
  EXPECT_EQ(net[1].last_index(), 7u);
  EXPECT_EQ(net[1].commit_index(), 7u);
  EXPECT_TRUE(std::get<AppendEntriesReply>(net.TakeSent(1).at(0).body).success);
  net.Step({2, 1, 3, AppendEntries{.prev = {1, 2}, .entries = {Command(1, 3)}, .commit = 9}});
  EXPECT_EQ(net[1].last_index(), 7u);
}

TEST(RestartDeathTest, ChecksThatTheLogReachesTheStateMachine) {
  const Configuration voters{.voters = {1}};
  MemoryDisk shorter({1, 0, 0}, LogOfTerms({1}));
  EXPECT_DEATH(Raft(TestConfig(1), voters, 2, &shorter), "ahead of the log");
  MemoryDisk later({3, 0, 0}, {Command(3, 6)}, {2, 5});
  EXPECT_DEATH(Raft(TestConfig(1), voters, 4, &later), "after the state machine");
}

}  // namespace
}  // namespace raftkv::raft
