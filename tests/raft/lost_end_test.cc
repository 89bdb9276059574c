// A member whose log has lost entries that it had acknowledged, and that knows it: it does not vote
// (Raft::SetVoting), and the leader sends the entries again (docs/decisions/0022).

#include <algorithm>

#include "gtest/gtest.h"
#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

class LostEnd : public testing::Test {
 protected:
  // Member 3 acknowledges seven entries to the leader 1, and loses those after entry 2.
  LostEnd() {
    net_.Elect(1);
    net_.Propose(1, "before");
    net_.RunFor(3);
    const MemoryDisk prefix = net_.member(3).disk;
    for (int i = 0; i < 5; ++i) net_.Propose(1, "x");
    net_.RunFor(3);
    EXPECT_EQ(net_[3].last_index(), 7u);
    net_.Crash(3);
    net_.member(3).disk = prefix;
    net_.member(3).applied.resize(2);
  }

  void StartWithoutVote() {
    net_.Start(3);
    net_.Into(3, [](Raft& raft) { raft.SetVoting(false, /*repairs=*/true); });
  }

  std::vector<PeerLostEntries> Lost(MemberId leader) {
    std::vector<PeerLostEntries> lost;
    for (const Event& event : net_.member(leader).events) {
      if (const auto* e = std::get_if<PeerLostEntries>(&event)) lost.push_back(*e);
    }
    return lost;
  }

  Network net_{3};
};

TEST_F(LostEnd, TheLeaderSendsTheEntriesAgain) {
  StartWithoutVote();
  net_.RunFor(5);
  EXPECT_FALSE(net_[3].halted());
  EXPECT_EQ(net_[3].last_index(), 7u);
  EXPECT_EQ(net_[3].commit_index(), 7u);
  ASSERT_EQ(Lost(1).size(), 1u);
  EXPECT_TRUE(Lost(1)[0].repairs);
  EXPECT_EQ(Lost(1)[0].acknowledged, 7u);
  EXPECT_EQ(Lost(1)[0].last, 2u);
  EXPECT_EQ(net_[1].status().peers.at(3).match_index, 7u);
  // What it acknowledges from now on counts again.
  net_.Isolate(2);
  net_.Propose(1, "after");
  net_.RunFor(30);
  EXPECT_EQ(net_[1].role(), Role::kLeader);
  EXPECT_EQ(net_[1].commit_index(), 8u);
}

TEST_F(LostEnd, ItNeitherVotesNorCampaigns) {
  StartWithoutVote();
  net_.Isolate(1);
  net_.RunFor(100);
  EXPECT_NE(net_[2].role(), Role::kLeader) << "the vote of 3 would make it the leader";
  EXPECT_EQ(net_[3].role(), Role::kFollower);
  // Member 1 is back: with its vote there is a leader, and it repairs the log of 3.
  net_.Recover();
  net_.RunFor(60);
  EXPECT_EQ(net_[3].last_index(), net_[1].last_index());
  EXPECT_GE(net_[3].commit_index(), 8u);
}

// Member 1 has committed the entries with the acknowledgements of 3 alone, and crashes.
TEST_F(LostEnd, NothingCommittedIsLostWithItsHelp) {
  net_.Isolate(2);
  StartWithoutVote();
  net_.Into(3, [](Raft& raft) { raft.SetVoting(true); });  // it has all entries again
  net_.member(3).disk = net_.member(1).disk;
  net_.Restart(3);
  net_.RunFor(4);
  for (int i = 0; i < 3; ++i) net_.Propose(1, "only on 1 and 3");
  net_.RunFor(4);
  ASSERT_EQ(net_[1].commit_index(), 10u);
  const MemoryDisk prefix = net_.member(2).disk;
  net_.Crash(1);
  net_.Crash(3);
  net_.Recover();
  net_.member(3).disk = prefix;
  net_.member(3).applied.resize(std::min<size_t>(7, net_.member(3).applied.size()));
  StartWithoutVote();
  net_.RunFor(100);
  EXPECT_NE(net_[2].role(), Role::kLeader);
  net_.Start(1);
  net_.RunFor(100);
  EXPECT_EQ(net_[1].role(), Role::kLeader) << "only its log has the entries";
  EXPECT_GE(net_[2].commit_index(), 11u);
  EXPECT_GE(net_[3].commit_index(), 11u);
}

// The entries that it needs have been cut.
TEST_F(LostEnd, ASnapshotRepairsItToo) {
  net_.CutLog(1, 7);
  StartWithoutVote();
  net_.RunFor(10);
  EXPECT_EQ(net_[3].last_index(), 7u);
  EXPECT_EQ(net_.member(3).disk.first_index(), 8u);
  EXPECT_FALSE(net_[3].halted());
  net_.Propose(1, "after");
  net_.RunFor(3);
  EXPECT_EQ(net_[3].commit_index(), 8u);
}

// The leader learned of the loss before, and a rejection arrives late.
TEST_F(LostEnd, ALateRejectionIsIgnored) {
  StartWithoutVote();
  const uint64_t term = net_[1].term();
  net_.RunFor(5);
  net_.Propose(1, "after");
  net_.RunFor(3);
  ASSERT_EQ(net_[1].status().peers.at(3).match_index, 8u);
  net_.Step(From(3, term,
                 AppendEntriesReply{.success = false,
                                    .rejected_prev = {term, 7},
                                    .hint = {term, 2},
                                    .round = 1,
                                    .repairs = true}));
  EXPECT_EQ(net_[1].status().peers.at(3).match_index, 8u);
}

}  // namespace
}  // namespace raftkv::raft
