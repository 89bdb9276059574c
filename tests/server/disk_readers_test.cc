#include "server/disk_readers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "proto/command.pb.h"
#include "storage/state_machine.h"
#include "tests/storage/rocks.h"
#include "tests/storage/testing.h"

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

  // Runs reads of which none ends before all have begun.
  void RunTogether(int reads) {
    absl::Mutex mutex;
    int running = 0;
    readers_.RunAll(reads, [&](size_t) {
      absl::MutexLock lock(&mutex);
      ++running;
      auto all = [&] { return running == reads; };
      EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(20)));
    });
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

TEST_F(DiskReadersTest, RunAllRunsReadsSideBySide) { RunTogether(5); }

TEST_F(DiskReadersTest, RunAllNeedsNoThread) {
  readers_.Stop();
  int here = 0;
  readers_.RunAll(3, [&](size_t) { here += std::this_thread::get_id() == loop_; });
  EXPECT_EQ(here, 3);
}

TEST_F(DiskReadersTest, RunAllDoesNotWaitForReadsOfClients) {
  UseThem();
  absl::Notification disk;
  for (int i = 0; i < 5000; ++i) {
    readers_.Run([&] { disk.WaitForNotification(); }, absl::StrCat("client ", i));
  }
  RunTogether(5);
  disk.Notify();
  readers_.Stop();
}

// A state machine on RocksDB reads the heads of keys with small and large values.
TEST_F(DiskReadersTest, ReadHeadsOfKeys) {
  constexpr int kKeys = 600;
  const TempDir dir;
  const auto open = [&] { return StateMachine::Open(OpenRocks(dir / "db")).value(); };
  const auto entries = [&](raft::Index first) {
    std::vector<raft::Entry> puts;
    for (int i = 0; i < kKeys; ++i) {
      proto::Command command;
      command.mutable_put()->set_key(absl::StrCat("key ", i));
      command.mutable_put()->set_value(std::string(i % 10 == 0 ? 20'000 : 10, 'v'));
      puts.push_back({.id = {.term = 1, .index = first + i},
                      .type = raft::EntryType::kCommand,
                      .payload = raft::Payload(command.SerializeAsString())});
    }
    return puts;
  };
  auto state = open();
  state->Apply(entries(1));
  state->Flush();
  state = nullptr;
  state = open();
  const std::vector<raft::Entry> again = entries(kKeys + 1);
  for (size_t taken = 0; taken < again.size();) {
    absl::Span<const raft::Entry> part = absl::MakeSpan(again).subspan(taken);
    part = part.first(state->FetchHeads(part, Limits(), &readers_));
    for (const ApplyResult& result : state->Apply(part)) EXPECT_TRUE(result.status.ok());
    taken += part.size();
  }
  etcdserverpb::RangeRequest all;
  all.set_key(std::string(1, '\0'));
  all.set_range_end(std::string(1, '\0'));
  all.set_keys_only(true);
  etcdserverpb::RangeResponse response;
  ASSERT_TRUE(state->Snapshot()->Range(all, Limits(), &response).ok());
  ASSERT_EQ(response.kvs_size(), kKeys);
  for (const mvccpb::KeyValue& kv : response.kvs()) EXPECT_EQ(kv.version(), 2) << kv.key();
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
