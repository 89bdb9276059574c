// First starts and wiped disks (docs/decisions/0003-first-start.md).

#include <cstdint>
#include <utility>
#include <variant>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/member/member.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

// The id of the read index request that the member sent in its last turn; 0: it sent none.
uint64_t QuestionOf(const Cluster::Process& member) {
  for (const PeerMessage& sent : member.sent) {
    const auto* message = std::get_if<raft::Message>(&sent.body);
    if (message == nullptr) continue;
    const auto* request = std::get_if<raft::ReadIndexRequest>(&message->body);
    if (request != nullptr) return request->id;
  }
  return 0;
}

TEST(FirstStart, EmptyMembersWaitUntilAMajorityOfTheOthersIsEmptyToo) {
  Cluster c(3);
  c.Crash(3);
  c.Run(kElection);
  EXPECT_EQ(c.leader(), raft::kNobody);
  EXPECT_FALSE(c[1].member->Status().may_vote);
  EXPECT_EQ(c.Count<WaitingForPeers>(1), 1);
  c.Start(3);
  c.Run(kElection);
  EXPECT_NE(c.leader(), raft::kNobody);
}

TEST(FirstStart, MissingPeersAreReportedAtOnceAndThenOnceAMinute) {
  Cluster c(3);
  c.Crash(2);
  c.Crash(3);
  c.Run(absl::Seconds(3));
  ASSERT_EQ(c.Count<WaitingForPeers>(1), 1) << "said although nobody answered";
  const auto said = std::get<WaitingForPeers>(c[1].events.back());
  EXPECT_THAT(said.missing, testing::ElementsAre(2, 3));
  EXPECT_EQ(said.needed, 2);
  c.Run(absl::Seconds(55));
  EXPECT_EQ(c.Count<WaitingForPeers>(1), 1);
  c.Run(absl::Seconds(60));
  EXPECT_EQ(c.Count<WaitingForPeers>(1), 2);
}

TEST(FirstStart, WipedMemberDoesNotVote) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader();
  const raft::MemberId wiped = c.follower();
  auto put = c.Put(leader, "k", "v");
  c.Settle();
  ASSERT_EQ(put->fate, Fate::kApplied);
  const int waited = c.Count<WaitingForPeers>(wiped);
  c.Wipe(wiped);
  c.Crash(leader);
  c.Run(absl::Seconds(30));
  EXPECT_EQ(c.leader(), raft::kNobody) << "a wiped disk voted";
  EXPECT_FALSE(c[wiped].member->Status().may_vote);
  EXPECT_TRUE(c[wiped].member->rejected_by_peers());
  c.Crash(wiped);  // it must not vote after a restart either
  c.Start(wiped);
  c.Run(absl::Seconds(30));
  EXPECT_EQ(c.leader(), raft::kNobody);
  c.Start(leader);
  c.Run(kElection);
  ASSERT_NE(c.leader(), raft::kNobody);
  EXPECT_NE(c.leader(), wiped);
  EXPECT_TRUE(c[wiped].member->rejected_by_peers());
  EXPECT_FALSE(c[c.leader()].member->rejected_by_peers());
  std::string got;
  auto get = c.Get(c.leader(), "k", &got);
  c.Settle();
  EXPECT_EQ(got, "v");
  EXPECT_GT(c[c.leader()].member->Status().rejected_messages, 0);
  EXPECT_EQ(c[c.leader()].member->Status().rejected_messages, c.Count<PeerRejected>(c.leader()));
  EXPECT_EQ(c.Count<RejectedByPeer>(wiped), 2) << "its own log must say why, once in each life";
  EXPECT_EQ(c.Count<WaitingForPeers>(wiped), waited) << "no answer of a peer would help";
}

// Members that were restored from a backup: their logs have no entry of their own.
TEST(FirstStart, RestoredMembersWaitForEachOther) {
  Cluster c(3);
  for (int i = 1; i <= 3; ++i) c.Restore(i);
  c.Crash(3);
  c.Run(kElection);
  EXPECT_EQ(c.leader(), raft::kNobody);
  EXPECT_FALSE(c[1].member->Status().may_vote);
  c.Restore(3);
  c.Run(kElection);
  ASSERT_NE(c.leader(), raft::kNobody);
  auto put = c.Put(c.leader(), "k", "v");
  c.Settle();
  EXPECT_EQ(put->fate, Fate::kApplied);

  // A restore of one member loses what it has acknowledged since, so it must not vote.
  const raft::MemberId leader = c.leader();
  const raft::MemberId again = c.follower();
  c.Restore(again);
  c.Crash(leader);
  c.Run(absl::Seconds(30));
  EXPECT_EQ(c.leader(), raft::kNobody) << "a restored disk voted";
  EXPECT_FALSE(c[again].member->Status().may_vote);
}

// The restored state has the members. The config file of one was edited since, and names it alone.
TEST(FirstStart, ARestoredMemberWaitsForTheMembersOfTheRestore) {
  Cluster old(1);
  old.Run(kElection);
  Cluster c(0);
  c.Form({4, 5, 6});
  for (int i = 4; i <= 6; ++i) c.Restore(i, old.Backup(1), 0);
  for (int i = 4; i <= 6; ++i) c.Crash(i);
  c.Edit({4});
  c.Start(4);
  c.Run(absl::Seconds(30));
  EXPECT_FALSE(c[4].member->Status().may_vote) << "an acknowledged write may be on 5 and 6 only";
  EXPECT_THAT(c[4].member->Status().waiting_for.missing, testing::ElementsAre(5, 6));
  c.Edit({4, 5, 6});
  c.Start(5);
  c.Start(6);
  c.Run(kElection);
  EXPECT_NE(c.leader(), raft::kNobody);
}

TEST(FirstStart, MemberThatJoinsLateVotesOnceALeaderHasCaughtItUp) {
  Cluster c(5);
  c.Crash(5);
  c.Run(kElection);
  ASSERT_NE(c.leader(), raft::kNobody);
  auto put = c.Put(c.leader(), "k", "v");
  c.Settle();
  ASSERT_EQ(put->fate, Fate::kApplied);
  c.Start(5);
  c.Run(kElection);
  EXPECT_TRUE(c[5].member->Status().may_vote);
  EXPECT_EQ(Cluster::Value(c[5], "k"), "v");
}

// The commit index in an append may be old: the append may be late, or a new leader may not know
// more yet. The answer to a read index request cannot be old.
TEST(FirstStart, VotesOnlyWithWhatTheLeaderHasAnswered) {
  Cluster c(3);
  uint64_t question = 0;
  const auto from_leader = [&](raft::MessageBody body) {
    c[3].Post(PeerMessage{
        {.id = 1, .store_id = c[1].store_id}, 3, raft::Message{1, 3, /*term=*/5, std::move(body)}});
    for (int i = 0; i < 2; ++i) {
      c.Turn(3);
      if (QuestionOf(c[3]) != 0) question = QuestionOf(c[3]);
    }
  };
  from_leader(raft::AppendEntries{
      .prev = {},
      .entries = {{{1, 1}, raft::EntryType::kNoOp, {}}, {{5, 2}, raft::EntryType::kNoOp, {}}},
      .commit = 2,
      .round = 1});
  ASSERT_EQ(c[3].raft().commit_index(), 2);
  EXPECT_FALSE(c[3].member->Status().may_vote) << "more may have been committed";
  ASSERT_NE(question, 0);
  from_leader(raft::ReadIndexReply{.id = question, .index = 2, .acknowledged = 3});
  EXPECT_FALSE(c[3].member->Status().may_vote) << "entry 3 was acknowledged";
  from_leader(raft::AppendEntries{
      .prev = {5, 2}, .entries = {{{5, 3}, raft::EntryType::kNoOp, {}}}, .commit = 2, .round = 2});
  EXPECT_TRUE(c[3].member->Status().may_vote);
}

TEST(FirstStart, AnAnswerOfAnEarlierTermDoesNotCount) {
  Cluster c(3);
  const auto post = [&](raft::MemberId from, raft::Term term, raft::MessageBody body) {
    c[3].Post(PeerMessage{{.id = from, .store_id = c[from].store_id},
                          3,
                          raft::Message{from, 3, term, std::move(body)}});
  };
  post(1, 5,
       raft::AppendEntries{
           .prev = {}, .entries = {{{5, 1}, raft::EntryType::kNoOp, {}}}, .commit = 1, .round = 1});
  c.Turn(3);
  const uint64_t question = QuestionOf(c[3]);
  ASSERT_NE(question, 0);
  // Both arrive before the next turn.
  post(1, 5, raft::ReadIndexReply{.id = question, .index = 1, .acknowledged = 2});
  post(2, 6,
       raft::AppendEntries{.prev = {5, 1},
                           .entries = {{{6, 2}, raft::EntryType::kNoOp, {}}},
                           .commit = 1,
                           .round = 1});
  c.Turn(3);
  c.Turn(3);
  EXPECT_FALSE(c[3].member->Status().may_vote);
}

TEST(FirstStart, StoreIdsOfAllMembersAreRecordedThroughTheLog) {
  Cluster c(3);
  c.Run(kElection);
  c.Run(absl::Seconds(1));
  for (raft::MemberId id : {1, 2, 3}) {
    const auto ids = c[id].state->store_ids();
    ASSERT_EQ(ids.size(), 3);
    for (raft::MemberId other : {1, 2, 3}) EXPECT_EQ(ids.at(other), c[other].store_id);
  }
}

}  // namespace
}  // namespace raftkv
