// The pauses of a physical compaction.

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "proto/command.pb.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

TEST(CompactionPace, AMemberPausesBetweenTwoSteps) {
  Cluster c(1);
  c.Run(kElection);
  for (int i = 0; i < 1000; ++i) {
    c.Put(1, "k", absl::StrCat(i));
    c.Settle();
  }
  Cluster::Process& member = c[1];
  proto::Command command;
  command.mutable_compaction()->set_revision(member.state->revision());
  c.Propose(1, command);
  c.Settle();
  ASSERT_TRUE(member.state->compacting()) << "one step is not enough for 1,000 events";

  for (int i = 0; i < 10; ++i) c.Turn(1);
  EXPECT_TRUE(member.state->compacting()) << "no time has passed";
  EXPECT_TRUE(member.member->idle()) << "the loop waits for a tick";

  int pauses = 0;
  for (; member.state->compacting() && pauses < 100; ++pauses) {
    c.Pause(absl::Milliseconds(40));
    EXPECT_TRUE(member.member->compaction_due(c.now()));
    c.Turn(1);
    EXPECT_FALSE(member.member->compaction_due(c.now()));
  }
  EXPECT_EQ(pauses, 3) << "with 256 events in each step";
}

}  // namespace
}  // namespace raftkv
