#include "server/member/catch_up_pace.h"

#include "gtest/gtest.h"

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

}  // namespace
}  // namespace raftkv
