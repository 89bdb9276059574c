// Members whose states differ are found (server/member/audit.h).

#include "server/member/audit.h"

#include "tests/member/cluster.h"

namespace raftkv {
namespace {

using Voters = std::vector<raft::MemberId>;

std::deque<StateDigest> At(raft::Index index, uint64_t digest) { return {{index, digest}}; }

TEST(Audit, AMajorityDecides) {
  Audit audit;
  audit.Add(1, At(16, 7), 100);
  audit.Add(2, At(16, 8), 100);
  EXPECT_FALSE(audit.Find({1, 2, 3})) << "the third member has not reported yet";
  audit.Add(3, At(16, 8), 100);
  const auto found = audit.Find({1, 2, 3});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->index, 16u);
  EXPECT_EQ(found->majority, 8u);
  EXPECT_TRUE(found->Wrong(1));
  EXPECT_FALSE(found->Wrong(2));
  EXPECT_FALSE(found->Wrong(4)) << "it has reported nothing";
  EXPECT_FALSE(audit.Find({1, 2, 3})) << "it is found once";
}

TEST(Audit, EqualDigestsAreNoDivergence) {
  Audit audit;
  for (raft::MemberId id : {1, 2, 3}) audit.Add(id, At(16, 7), 100);
  audit.Add(1, At(32, 8), 100);
  EXPECT_FALSE(audit.Find({1, 2, 3}));
}

TEST(Audit, LearnersAreComparedAndDoNotCount) {
  Audit audit;
  audit.Add(1, At(16, 7), 100);
  audit.Add(2, At(16, 8), 100);
  audit.Add(3, At(16, 8), 100);
  const auto found = audit.Find({1});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->majority, 7u);
  EXPECT_TRUE(found->Wrong(2));
}

TEST(Audit, WithoutAMajorityAllAreWrong) {
  Audit audit;
  audit.Add(1, At(16, 7), 100);
  audit.Add(2, At(16, 8), 100);
  const auto found = audit.Find({1, 2});
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->majority);
  EXPECT_TRUE(found->Wrong(1));
  EXPECT_TRUE(found->Wrong(2));
}

TEST(Audit, KeepsAFewIndexesAndBelievesNoneOfTheFuture) {
  Audit audit;
  audit.Add(1, At(1 << 20, 1), 100);
  audit.Add(2, At(1 << 20, 2), 100);
  EXPECT_FALSE(audit.Find({1, 2}));
  audit.Add(1, At(1, 1), 100);
  for (raft::Index i = 2; i <= 17; ++i) audit.Add(1, At(i, 1), 100);
  audit.Add(2, At(1, 2), 100);
  EXPECT_FALSE(audit.Find({1, 2})) << "index 1 is forgotten";
}

// Puts to the changed key and to another one, until an interval of digests is over.
void Write(Cluster& c) {
  for (int i = 0; i < 20; ++i) {
    if (c.leader() == raft::kNobody) return;
    c.Put(c.leader(), i % 4 == 0 ? "k" : "other", "v");
    c.Run(absl::Milliseconds(30));
  }
  c.Run(absl::Seconds(3));
}

void Plant(Cluster& c, raft::MemberId id) {
  c.Stop(id);
  c.ChangeNewestVersion(id, "k");
  c.Start(id);
  c.Run(absl::Seconds(3));
}

TEST(Divergence, OfAFollowerIsFoundAndItHalts) {
  Cluster c(3);
  c.Run(absl::Seconds(5));
  Write(c);
  const raft::MemberId wrong = c.follower();
  Plant(c, wrong);
  Write(c);
  EXPECT_EQ(FaultOf(c, wrong).kind, Fault::Kind::kDiverged);
  EXPECT_GE(c.Count<Divergence>(c.leader()), 1);
  for (raft::MemberId id : {1, 2, 3}) EXPECT_EQ(static_cast<bool>(FaultOf(c, id)), id == wrong);
  // After a restart the member is found again, by the digests that it has stored.
  c.Stop(wrong);
  c.Start(wrong);
  c.Run(absl::Seconds(3));
  EXPECT_EQ(FaultOf(c, wrong).kind, Fault::Kind::kDiverged);
  EXPECT_NE(c.leader(), raft::kNobody);
}

TEST(Divergence, OfALeaderIsFoundAndAnotherOneLeads) {
  Cluster c(3);
  c.Run(absl::Seconds(5));
  Write(c);
  const raft::MemberId wrong = c.leader();
  Plant(c, wrong);
  c.Transfer(c.leader(), wrong);
  c.Run(absl::Seconds(2));
  ASSERT_EQ(c.leader(), wrong);
  Write(c);
  EXPECT_EQ(FaultOf(c, wrong).kind, Fault::Kind::kDiverged);
  c.Run(absl::Seconds(5));
  EXPECT_NE(c.leader(), raft::kNobody);
  EXPECT_NE(c.leader(), wrong);
}

TEST(Divergence, OfOneOfTwoHaltsBoth) {
  Cluster c(2);
  c.Run(absl::Seconds(5));
  Write(c);
  Plant(c, c.follower());
  Write(c);
  EXPECT_EQ(FaultOf(c, 1).kind, Fault::Kind::kAllDiverged);
  EXPECT_EQ(FaultOf(c, 2).kind, Fault::Kind::kAllDiverged);
}

TEST(Divergence, EqualMembersAreLeftAlone) {
  Cluster c(3);
  c.Run(absl::Seconds(5));
  for (int round = 0; round < 4; ++round) {
    Write(c);
    const raft::MemberId id = 1 + round % 3;
    round % 2 == 0 ? c.Stop(id) : c.Crash(id);
    c.Start(id);
    c.Run(absl::Seconds(3));
  }
  for (raft::MemberId id : {1, 2, 3}) EXPECT_FALSE(FaultOf(c, id));
  EXPECT_FALSE(c[1].state->digests().empty());
  EXPECT_EQ(c[1].state->digests(), c[2].state->digests());
}

}  // namespace
}  // namespace raftkv
