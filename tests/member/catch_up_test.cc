// A member that was away gets the entries that it lacks beside the requests of clients.

#include "gtest/gtest.h"
#include "server/member/catch_up_pace.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

constexpr raft::Index kBegin = 1'000'000;  // what the leader has committed

// After `turns` turns, in each of which the member saves and the leader commits so many entries.
struct Run {
  raft::Index saved, committed;
  raft::Index last = 0;
  int turns = 100;
};
bool Rests(const Run& run) {
  CatchUpPace pace;
  for (int i = 0; i < run.turns; ++i) {
    pace.OnTurn(run.last + i * run.saved, kBegin + i * run.committed);
  }
  return pace.rests();
}

TEST(CatchUpPace, RestsWhileTheLeaderCommitsWithoutThisMember) {
  EXPECT_TRUE(Rests({.saved = 400, .committed = 50}));
}

TEST(CatchUpPace, NobodyWritesSoTheMemberDoesNotRest) {
  EXPECT_FALSE(Rests({.saved = 400, .committed = 0}));
}

TEST(CatchUpPace, AMemberThatGainsTooLittleDoesNotRest) {
  EXPECT_TRUE(Rests({.saved = 76, .committed = 50}));
  EXPECT_FALSE(Rests({.saved = 75, .committed = 50}));
  EXPECT_FALSE(Rests({.saved = 0, .committed = 50}));
}

TEST(CatchUpPace, AMemberThatIsNearDoesNotRest) {
  EXPECT_FALSE(Rests({.saved = 400, .committed = 50, .last = kBegin - 5'000}));
  EXPECT_FALSE(Rests({.saved = 400, .committed = 50, .last = kBegin - 40'000}));  // by now
}

TEST(CatchUpPace, TheBeginningIsNotCountedAsAGain) {
  CatchUpPace pace;
  pace.OnTurn(100, kBegin);
  EXPECT_FALSE(pace.rests());
  pace.OnTurn(kBegin + 50, kBegin + 50);  // near
  pace.OnTurn(kBegin + 5'000, kBegin + 16'000);
  EXPECT_FALSE(pace.rests());
}

// A log may become shorter: after a truncation.
TEST(CatchUpPace, AShorterLogIsNoGain) {
  CatchUpPace pace;
  for (int i = 0; i < 40; ++i) pace.OnTurn(500'000 - i, kBegin + i);
  EXPECT_FALSE(pace.rests());
}

// How many entries the member has sent to `to` since its last turn began.
size_t EntriesSent(const Cluster::Process& member, raft::MemberId to) {
  size_t entries = 0;
  for (const PeerMessage& m : member.Sent<raft::Message>()) {
    const auto* append = std::get_if<raft::AppendEntries>(&std::get<raft::Message>(m.body).body);
    if (append != nullptr && m.to == to) entries += append->entries.size();
  }
  return entries;
}

// The member `behind` misses `writes` writes.
void MissWrites(Cluster* c, raft::MemberId behind, int writes) {
  const raft::MemberId leader = c->leader();
  c->Cut(behind);
  for (int i = 0; i < writes; ++i) {
    c->Put(leader, "k", "v");
    if (i % 100 == 0) c->Settle();
  }
  c->Settle();
  EXPECT_EQ((*c)[leader].raft().commit_index(), (*c)[leader].raft().last_index());
  c->Heal();
}

// The leader's clients wait for its turn. So in one turn it sends a member that is behind one
// append, but has more turns as long as there is more to send.
TEST(CatchUp, ATurnSendsOneAppendToAMemberThatIsBehind) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), behind = c.follower();
  MissWrites(&c, behind, 3000);
  ASSERT_LT(c[behind].raft().last_index() + 2900, c[leader].raft().last_index());
  size_t most = 0;
  int turns_with_more = 0;
  for (int i = 0; i < 1000 && c[behind].raft().last_index() < c[leader].raft().last_index(); ++i) {
    for (raft::MemberId id : {leader, behind}) {
      if (id == leader && c[id].member->idle()) c.Pause(absl::Milliseconds(10));
      c.Turn(id);
      if (id != leader) continue;
      most = std::max(most, EntriesSent(c[id], behind));
      turns_with_more += !c[id].member->idle();
    }
    c.Deliver();
  }
  EXPECT_EQ(c[behind].raft().last_index(), c[leader].raft().last_index());
  EXPECT_EQ(most, 256u);
  EXPECT_GT(turns_with_more, 5) << "the leader goes on without an input";
}

// Otherwise it would stay behind as long as there are many writes.
TEST(CatchUp, AMemberGainsOnALeaderWhoseTurnsHaveManyWrites) {
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), behind = c.follower();
  MissWrites(&c, behind, 6000);
  const auto lacks = [&] { return c[leader].raft().last_index() - c[behind].raft().last_index(); };
  for (int i = 0; i < 60 && (i < 10 || lacks() > 1000); ++i) {
    for (int put = 0; put < 256; ++put) c.Put(leader, "k", "v");
    c.Pause(absl::Milliseconds(10));
    for (raft::MemberId id : {1, 2, 3}) c.Turn(id);
    c.Deliver();
  }
  EXPECT_LE(lacks(), 1000u);
}

}  // namespace
}  // namespace raftkv
