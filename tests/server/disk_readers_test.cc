#include "server/disk_readers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace raftkv {
namespace {

class DiskReadersTest : public testing::Test {
 protected:
  // The thread of the test is the loop's.
  int64_t Blocks() const {
    return std::this_thread::get_id() == loop_ ? loop_blocks_ : reader_blocks_.load();
  }
  void UseThem() {
    loop_blocks_ += 1000;
    readers_.EverySecond();
    ASSERT_TRUE(readers_.in_use());
  }

  const std::thread::id loop_ = std::this_thread::get_id();
  int64_t loop_blocks_ = 0;
  std::atomic<int64_t> reader_blocks_{0};
  DiskReaders readers_{[this] { return Blocks(); }};
};

TEST_F(DiskReadersTest, AreNotInUseWhileEverythingIsInMemory) {
  readers_.EverySecond();
  loop_blocks_ = 999;
  readers_.EverySecond();
  EXPECT_FALSE(readers_.in_use());
  EXPECT_FALSE(readers_.Run([] { FAIL() << "runs"; }, "client"));
  readers_.Stop();
}

TEST_F(DiskReadersTest, AreInUseForASecondAfterTheLoopHasReadTheDisk) {
  UseThem();
  readers_.EverySecond();
  EXPECT_FALSE(readers_.in_use());
}

TEST_F(DiskReadersTest, AreInUseWhileTheyReadTheDiskThemselves) {
  UseThem();
  ASSERT_TRUE(readers_.Run([&] { reader_blocks_ += 1000; }, "client"));
  readers_.Stop();
  readers_.EverySecond();
  EXPECT_TRUE(readers_.in_use());
  readers_.EverySecond();
  EXPECT_FALSE(readers_.in_use());
}

TEST_F(DiskReadersTest, RunReadsSideBySideOnOtherThreads) {
  UseThem();
  absl::Mutex mutex;
  int running = 0;
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(readers_.Run(
        [&] {  // none ends before all have begun
          EXPECT_NE(std::this_thread::get_id(), loop_);
          absl::MutexLock lock(&mutex);
          ++running;
          auto all = [&running] { return running == 8; };
          EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(20)));
        },
        "client"));
  }
  readers_.Stop();
  EXPECT_EQ(running, 8);
}

TEST_F(DiskReadersTest, RunAllReturnsWhenEachReadHasRun) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{3}, size_t{1000}}) {
    std::vector<std::atomic<int>> runs(count);
    readers_.RunAll(count, [&](size_t i) { ++runs[i]; });
    for (const std::atomic<int>& n : runs) EXPECT_EQ(n, 1);
  }
}

TEST_F(DiskReadersTest, RunAllRunsReadsSideBySide) {
  absl::Mutex mutex;
  int running = 0;
  readers_.RunAll(5, [&](size_t) {  // none ends before all have begun
    absl::MutexLock lock(&mutex);
    ++running;
    auto all = [&running] { return running == 5; };
    EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(20)));
  });
}

TEST_F(DiskReadersTest, RunAllNeedsNoThread) {
  readers_.Stop();
  std::thread::id thread;
  readers_.RunAll(1, [&](size_t) { thread = std::this_thread::get_id(); });
  EXPECT_EQ(thread, loop_);
}

// The loop runs the others.
TEST_F(DiskReadersTest, TakeABoundedNumberOfReads) {
  UseThem();
  absl::Notification disk;
  std::atomic<int> run{0};
  int taken = 0;
  for (int i = 0; i < 5000; ++i) {
    taken += readers_.Run(
        [&] {
          disk.WaitForNotification();
          ++run;
        },
        "client");
  }
  EXPECT_GE(taken, 256);
  EXPECT_LE(taken, 256 + 8) << "a quarter for one client";
  disk.Notify();
  readers_.Stop();
  EXPECT_EQ(run, taken);
}

}  // namespace
}  // namespace raftkv
