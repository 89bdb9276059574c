// An operator puts an older copy of a member's data directory back.

#include "server/member/peer_lives.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

void PutSome(Cluster& c, const std::string& key, int count) {
  for (int i = 0; i < count; ++i) {
    const auto put = c.Put(c.leader(), key + std::to_string(i), "v");
    c.Run(absl::Milliseconds(20));
    ASSERT_TRUE(put->fate && *put->fate == Fate::kApplied);
  }
}

void Elect(Cluster& c, raft::MemberId id) {
  c.Run(absl::Seconds(5));
  if (c.leader() != id) c.Transfer(c.leader(), id);
  c.Run(absl::Seconds(2));
  ASSERT_EQ(c.leader(), id);
}

// Makes two histories: leader 1; copy 3; stop 1; writes to 2 and 3; stop both; put the copy of 3
// back; start 1 and 3; later 2. `same_term` false: transfers leadership in between, so that the
// second history has a later term.
void Fork(Cluster& c, bool same_term) {
  Elect(c, 1);
  PutSome(c, "old", 3);
  c.Stop(3);
  const Cluster::Disks copy = c.Copy(3);
  c.Start(3);
  c.Run(absl::Seconds(2));
  c.Stop(1);
  c.Run(absl::Seconds(5));
  ASSERT_NE(c.leader(), raft::kNobody);
  PutSome(c, "lost", 10);
  c.Stop(2);
  c.Stop(3);
  c.PutBack(3, copy);
  c.Start(1);
  c.Run(absl::Seconds(5));
  if (!same_term) {
    c.Transfer(c.leader(), c.leader() == 1 ? 3 : 1);
    c.Run(absl::Seconds(2));
    c.Transfer(c.leader(), c.leader() == 1 ? 3 : 1);
    c.Run(absl::Seconds(2));
  }
  ASSERT_NE(c.leader(), raft::kNobody) << "1 and 3 cannot know what 2 has";
  PutSome(c, "new", 12);
  c.Start(2);
  c.Run(absl::Seconds(10));
}

TEST(OldCopy, ThatMadeAnotherHistoryHaltsBothHistories) {
  for (const bool same_term : {true, false}) {
    SCOPED_TRACE(same_term);
    Cluster c(3);
    Fork(c, same_term);
    EXPECT_EQ(FaultOf(c, 2).kind, Fault::Kind::kConflict);
    EXPECT_EQ(Cluster::Value(c[2], "lost9"), "v") << "what was acknowledged is kept";
    EXPECT_EQ(Cluster::Value(c[2], "new0"), "");
    EXPECT_EQ(c.leader(), raft::kNobody) << "no member serves without the other's writes";
    EXPECT_EQ(c.Count<Fault>(2), 1);
    EXPECT_GE(c.Count<Fault>(1) + c.Count<Fault>(3), 1);
  }
}

TEST(OldCopy, IsFoundByItsLeader) {
  Cluster c(3);
  Elect(c, 1);
  c.Stop(3);
  const Cluster::Disks copy = c.Copy(3);
  c.Start(3);
  c.Run(absl::Seconds(2));
  PutSome(c, "k", 5);
  c.Crash(3);
  c.PutBack(3, copy);
  c.Run(absl::Seconds(10));
  EXPECT_TRUE(FaultOf(c, 3));
  EXPECT_FALSE(FaultOf(c, 1));
  EXPECT_FALSE(FaultOf(c, 2));
  EXPECT_EQ(c.leader(), 1u);
  PutSome(c, "after", 1);
}

// The vote of an older copy could elect a leader that lacks what its member has acknowledged.
TEST(OldCopy, IsFoundByAFollowerThatRemembersIt) {
  Cluster c(3);
  Elect(c, 1);
  c.Stop(3);
  const Cluster::Disks copy = c.Copy(3);
  c.Start(3);
  c.Run(absl::Seconds(2));
  PutSome(c, "k", 5);
  Elect(c, 3);  // 2 hears from 3 how far it has come
  c.Stop(1);
  c.Crash(3);
  c.PutBack(3, copy);
  c.Run(absl::Seconds(10));
  EXPECT_EQ(FaultOf(c, 3).kind, Fault::Kind::kOlderCopy);
  EXPECT_FALSE(FaultOf(c, 2));
  EXPECT_EQ(c.leader(), raft::kNobody);
  c.Start(1);
  c.Run(absl::Seconds(5));
  EXPECT_NE(c.leader(), raft::kNobody);
  EXPECT_NE(c.leader(), 3u);
}

// The only Hello of an older copy comes while it may be a late message of an earlier process. Then
// the copy sends something else.
TEST(OldCopy, IsToldInAnswerToAnyMessage) {
  Cluster c(3);
  Elect(c, 3);
  PutSome(c, "k", 5);
  const raft::MemberId member = 2;
  PeerMessage of_copy{{.id = 3,
                       .store_id = c[3].store_id,
                       .newest_version = kNewestVersion,
                       .boot_id = 1'000'000,
                       .reached = {1, 1}},
                      member,
                      Hello{}};
  c.Crash(3);
  c[member].Post(of_copy);
  c.Turn(member);
  EXPECT_TRUE(c[member].Sent<HelloReply>().empty()) << "it may be late";
  c.Run(absl::Seconds(2));
  of_copy.body = raft::Message{3, member, 1, raft::AppendEntries{}};
  c[member].Post(of_copy);
  c.Turn(member);
  const std::vector<PeerMessage> told = c[member].Sent<HelloReply>();
  ASSERT_EQ(told.size(), 1);
  EXPECT_EQ(told[0].to, 3u);
  EXPECT_GT(std::get<HelloReply>(told[0].body).forgotten, of_copy.from.reached);
  of_copy.body = HelloReply{};
  c[member].Post(of_copy);
  c.Turn(member);
  EXPECT_TRUE(c[member].Sent<HelloReply>().empty()) << "an answer is not answered";
}

TEST(OldCopy, AnUnchangedDirectoryIsTaken) {
  Cluster c(3);
  Elect(c, 1);
  PutSome(c, "k", 3);
  for (int i = 0; i < 12; ++i) {
    const raft::MemberId id = 1 + i % 3;
    i % 2 == 0 ? c.Stop(id) : c.Crash(id);
    c.Run(absl::Seconds(1));
    c.Start(id);
    c.Run(absl::Seconds(3));
    PutSome(c, "k", 1);
  }
  for (raft::MemberId id : {1, 2, 3}) {
    EXPECT_FALSE(FaultOf(c, id));
    EXPECT_EQ(c.Count<PeerRejected>(id), 0);
  }
}

// A copy of a running directory: the member runs twice.
TEST(OldCopy, OfTwoProcessesOnlyTheNewerOneIsHeard) {
  using Verdict = PeerLives::Verdict;
  PeerLives lives;
  MonotonicTime now;
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 5}, now), Verdict::kOk);
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 5}, now), Verdict::kOk);
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 9}, now), Verdict::kReplaced);
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 6}, now), Verdict::kOk);
}

// This member has restarted. A message of an earlier process of the peer arrives after the first
// one of the process that runs.
TEST(OldCopy, ALateMessageDoesNotSilenceThePeerForEver) {
  using Verdict = PeerLives::Verdict;
  PeerLives lives;
  MonotonicTime now;
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 5}, now), Verdict::kOk);
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 5}, now), Verdict::kOk) << "it may be a newer one";
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 5}, now), Verdict::kReplaced);
  now = now + absl::Milliseconds(500);
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 6}, now), Verdict::kReplaced);
  now = now + absl::Milliseconds(500);
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 6}, now), Verdict::kOk) << "the other one is silent";
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 5}, now), Verdict::kReplaced);
}

// Late messages of an earlier process arrive, then this process is paused and finds more of them.
TEST(OldCopy, AfterAPauseLateMessagesAreNoOlderCopy) {
  using Verdict = PeerLives::Verdict;
  PeerLives lives;
  MonotonicTime now = MonotonicTime() + absl::Seconds(1);
  lives.OnTurn(now);
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 5}, now), Verdict::kOk);
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 4}, now), Verdict::kReplaced);
  now = now + absl::Seconds(2);
  lives.OnTurn(now);
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 4}, now), Verdict::kReplaced);
}

TEST(OldCopy, WhatWasAcknowledgedIsRemembered) {
  using Verdict = PeerLives::Verdict;
  PeerLives lives;
  MonotonicTime now;
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 5}, now), Verdict::kOk);
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 3}, now), Verdict::kOk)
      << "a late message of the same process";
  lives.OnAcknowledged(1, {2, 7});
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 6}, now), Verdict::kReplaced) << "it may be a late message";
  EXPECT_EQ(lives.OnHeard(1, 11, {2, 5}, now), Verdict::kOk);
  now = now + absl::Seconds(2);
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 6}, now), Verdict::kReplaced) << "the known one still runs";
  now = now + absl::Seconds(1);
  EXPECT_EQ(lives.OnHeard(1, 12, {2, 6}, now), Verdict::kOlderCopy);
  EXPECT_EQ(lives.OnHeard(1, 13, {1, 9}, now), Verdict::kReplaced);
  now = now + absl::Seconds(1);
  EXPECT_EQ(lives.OnHeard(1, 13, {1, 9}, now), Verdict::kOlderCopy);
  EXPECT_EQ(lives.OnHeard(1, 14, {3, 1}, now), Verdict::kOk) << "a later term";
  EXPECT_EQ(lives.OnHeard(1, 0, {}, now), Verdict::kOk) << "a release that does not tell it";
}

}  // namespace
}  // namespace raftkv
