#include "server/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/server/log_lines.h"

namespace raftkv {
namespace {

// A watchdog with short timeouts over a loop that a test lets run or hang. A test waits
// only for conditions, not for a fixed time. So it does not fail on a slow machine.
class WatchdogTest : public testing::Test {
 protected:
  WatchdogTest()
      : watchdog_({.election_timeout = absl::Milliseconds(20),
                   .disk_stall_timeout = absl::Milliseconds(100),
                   .interval = absl::Milliseconds(2),
                   .end_process = [this] { ended_ = true; }},
                  &phase_, [this] { return loop_runs_ ? ++rounds_ : rounds_.load(); }) {
    watchdog_.EachCheck([this] { ++checks_; });
    watchdog_.Start();
  }
  ~WatchdogTest() override { phase_.Set(Phase::kStopped); }

  static constexpr absl::Duration kDeadline = absl::Seconds(60);

  template <typename Condition>
  static void WaitFor(Condition condition) {
    const absl::Time end = absl::Now() + kDeadline;
    while (!condition()) {
      ASSERT_LT(absl::Now(), end);
      absl::SleepFor(absl::Milliseconds(1));
    }
  }
  // Three times as long as the process may live with a disk that hangs.
  void Wait() {
    WaitFor([this, until = checks_ + 150] { return checks_ >= until; });
  }

  std::atomic<bool> loop_runs_{true};
  std::atomic<uint64_t> rounds_{0};
  std::atomic<int> checks_{0};
  std::atomic<bool> ended_{false};
  PhaseValue phase_;
  Watchdog watchdog_;
};

TEST_F(WatchdogTest, ALoopThatRunsIsLeftAlone) {
  Wait();
  EXPECT_FALSE(watchdog_.loop_hangs());
  EXPECT_FALSE(ended_);
}

TEST_F(WatchdogTest, ALoopThatIsBusyIsReportedButNeverEndsTheProcess) {
  loop_runs_ = false;
  WaitFor([this] { return watchdog_.loop_hangs(); });
  Wait();
  EXPECT_FALSE(ended_) << "the next start would do the same work again";
  loop_runs_ = true;
  WaitFor([this] { return !watchdog_.loop_hangs(); });
}

TEST_F(WatchdogTest, ManyShortDiskOperationsAreNotADiskThatHangs) {
  loop_runs_ = false;
  const int until = checks_ + 150;
  for (const absl::Time end = absl::Now() + kDeadline; checks_ < until && absl::Now() < end;) {
    const DiskOperation operation;
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_GE(checks_, until);
  EXPECT_TRUE(watchdog_.loop_hangs());
  EXPECT_FALSE(ended_);
}

TEST_F(WatchdogTest, ALoopThatHangsInTheDiskEndsTheProcess) {
  loop_runs_ = false;
  const DiskOperation operation;
  WaitFor([this] { return ended_.load(); });
}

TEST_F(WatchdogTest, ALoopThatWaitsForSpaceEndsTheProcessAndSaysSo) {
  LogLines lines;
  loop_runs_ = false;
  {
    const DiskOperation operation;
    const WaitForSpace wait;
    WaitFor([this] { return ended_.load(); });
  }
  EXPECT_THAT(lines.text(),
              testing::HasSubstr("the disk is full, and a write has waited for space"));
}

TEST_F(WatchdogTest, ADiskOperationOfAnotherThreadAloneDoesNotEndTheProcess) {
  absl::Notification done;
  std::thread flush([&] {
    const DiskOperation operation;
    done.WaitForNotification();
  });
  Wait();
  EXPECT_FALSE(ended_) << "the loop runs";
  done.Notify();
  flush.join();
}

}  // namespace
}  // namespace raftkv
