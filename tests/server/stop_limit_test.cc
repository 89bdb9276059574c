#include "server/stop_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "storage/base/disk_operations.h"
#include "tests/server/log_lines.h"

namespace raftkv {
namespace {

TEST(StopLimit, AStopThatHangsEndsTheProcessAndSaysWhatHung) {
  LogLines lines;
  absl::Notification ended;
  const WaitForSpace wait;
  const StopLimit limit({.limit = absl::Milliseconds(1),
                         .step = [] { return "closes connections"; },
                         .end_process = [&] { ended.Notify(); }});
  ended.WaitForNotification();
  EXPECT_THAT(lines.text(), testing::HasSubstr("it still closes connections, and a write waits for "
                                               "space, because the disk is full"));
}

TEST(StopLimit, AStopThatEndsIsLeftAlone) {
  const StopLimit limit({.limit = absl::InfiniteDuration(),
                         .step = [] { return ""; },
                         .end_process = [] { ADD_FAILURE(); }});
}

}  // namespace
}  // namespace raftkv
