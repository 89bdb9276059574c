#include "server/space_watch.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/server/log_lines.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

// Watches a data directory that a test then takes away.
class WatchedDirectory : public testing::Test {
 protected:
  WatchedDirectory() : path_(dir_ / "data") {
    std::vector<std::string> warnings;
    lock_ = *LockDataDir(path_, &warnings);
    watch_.emplace(
        SpaceWatchOptions{.dir = path_,
                          .lock = lock_.get(),
                          .low_bytes = uint64_t{1} << 60,  // too little space for a RESERVE
                          .interval = absl::Milliseconds(1),
                          .interval_if_short = absl::Milliseconds(1),
                          .end_process = [this] { ended_.Notify(); }},
        [] { return 0; }, [this](SpaceReport) { ++measured_; });
    watch_->Start();
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (measured_ < 3 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_GE(measured_, 3);
  }

  void ExpectEnd() {
    EXPECT_TRUE(ended_.WaitForNotificationWithTimeout(absl::Seconds(60)));
    EXPECT_THAT(lines_.text(),
                testing::HasSubstr(path_ + ": this data directory was removed, moved or replaced"));
  }

  TempDir dir_;
  const std::string path_;
  LogLines lines_;
  std::unique_ptr<DirLock> lock_;
  std::atomic<int> measured_{0};
  absl::Notification ended_;
  std::optional<SpaceWatch> watch_;
};

TEST_F(WatchedDirectory, ThatStaysIsMeasured) {
  watch_->Stop();
  EXPECT_FALSE(ended_.HasBeenNotified());
  EXPECT_EQ(lines_.text(), "");
}

TEST_F(WatchedDirectory, ThatIsRemovedEndsTheProcess) {
  fs::remove_all(path_);
  ExpectEnd();
}

TEST_F(WatchedDirectory, ThatIsMovedEndsTheProcess) {
  fs::rename(path_, dir_ / "moved");
  ExpectEnd();
}

TEST_F(WatchedDirectory, ThatIsReplacedByACopyEndsTheProcess) {
  const std::string copy = dir_ / "copy";
  fs::copy(path_, copy, fs::copy_options::recursive);
  ASSERT_EQ(renameat2(AT_FDCWD, copy.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE), 0);
  ExpectEnd();
}

}  // namespace
}  // namespace raftkv
