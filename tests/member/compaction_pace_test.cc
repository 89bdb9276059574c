// The pauses of a physical compaction.

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "proto/command.pb.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

class CompactionPace : public testing::Test {
 protected:
  // Begins a compaction of 1,000 events.
  CompactionPace() {
    c_.Run(kElection);
    for (int i = 0; i < 1000; ++i) {
      c_.Put(1, "k", absl::StrCat(i));
      c_.Settle();
    }
    proto::Command command;
    command.mutable_compaction()->set_revision(member_.state->revision());
    c_.Propose(1, command);
    c_.Turn(1);
  }
  bool compacting() const { return member_.state->compacting(); }

  Cluster c_{1};
  Cluster::Process& member_ = c_[1];
};

TEST_F(CompactionPace, AMemberPausesBetweenTwoSteps) {
  for (int i = 0; i < 10; ++i) c_.Turn(1);
  EXPECT_TRUE(compacting()) << "no time has passed";
  EXPECT_TRUE(member_.member->idle()) << "the loop waits for a tick";
  int pauses = 0;
  for (; compacting() && pauses < 20; ++pauses) {
    c_.Pause(absl::Milliseconds(40));
    EXPECT_TRUE(member_.member->compaction_due(c_.now()));
    c_.Turn(1);
    EXPECT_FALSE(member_.member->compaction_due(c_.now()));
  }
  EXPECT_EQ(pauses, 3) << "with 256 events in each step";
}

TEST_F(CompactionPace, AMemberWithNothingElseToDoDoesNotPause) {
  c_.Pause(absl::Seconds(1));
  c_.Turn(1);
  ASSERT_TRUE(compacting());
  EXPECT_FALSE(member_.member->idle()) << "the loop does not wait";
  for (int i = 0; i < 10; ++i) c_.Turn(1);
  EXPECT_FALSE(compacting());
  EXPECT_TRUE(member_.member->idle());
}

}  // namespace
}  // namespace raftkv
