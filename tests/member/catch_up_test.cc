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
  EXPECT_TRUE(Rests({.saved = 101, .committed = 50}));
  EXPECT_FALSE(Rests({.saved = 100, .committed = 50}));
  EXPECT_FALSE(Rests({.saved = 0, .committed = 50}));
}

TEST(CatchUpPace, AMemberThatIsNearDoesNotRest) {
  EXPECT_FALSE(Rests({.saved = 400, .committed = 50, .last = kBegin - 5'000}));
  EXPECT_FALSE(Rests({.saved = 400, .committed = 50, .last = kBegin - 40'000}));  // by now
}

TEST(CatchUpPace, TheBeginningIsNotCountedAsAGain) {
  EXPECT_FALSE(Rests({.saved = 0, .committed = 0, .last = 900'000, .turns = 20}));
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

// The leader's clients wait for its turn. So in one turn it sends a member that is behind one
// append, but has more turns as long as there is more to send.
TEST(CatchUp, ATurnSendsOneAppendToAMemberThatIsBehind) {
  constexpr int kWrites = 3000;
  Cluster c(3);
  c.Run(kElection);
  const raft::MemberId leader = c.leader(), behind = c.follower();
  c.Cut(behind);
  for (int i = 0; i < kWrites; ++i) {
    c.Put(leader, "k", "v");
    if (i % 100 == 0) c.Settle();
  }
  c.Settle();
  ASSERT_EQ(c[leader].raft().commit_index(), c[leader].raft().last_index());
  ASSERT_LT(c[behind].raft().last_index() + kWrites - 100, c[leader].raft().last_index());
  c.Heal();
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

}  // namespace
}  // namespace raftkv
