#include "server/space_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
                          .interval = absl::Milliseconds(1),
                          .end_process = [this] { ended_.Notify(); }},
        [] { return 0; }, [this](SpaceReport) { ++measured_; });
    watch_->Start();
    while (measured_ < 3) absl::SleepFor(absl::Milliseconds(1));
  }

  void ExpectEnd() {
    ended_.WaitForNotification();
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
  fs::rename(path_, dir_ / "moved");
  fs::copy(dir_ / "moved", path_, fs::copy_options::recursive);
  ExpectEnd();
}

}  // namespace
}  // namespace raftkv
