#include "server/disk_readers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "proto/command.pb.h"

namespace raftkv {
namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

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
  static raft::Entry EntryOf(const proto::Command& command) {
    return {.type = raft::EntryType::kCommand,
            .payload = raft::Payload(command.SerializeAsString())};
  }
  static raft::Entry PutOf(const std::string& key, size_t value_bytes = 1) {
    proto::Command command;
    command.mutable_put()->set_key(key);
    command.mutable_put()->set_value(std::string(value_bytes, 'v'));
    return EntryOf(command);
  }
  std::vector<std::string> Keys() {
    readers_.Stop();
    absl::MutexLock lock(&mutex_);
    return keys_;
  }

  const std::thread::id loop_ = std::this_thread::get_id();
  int64_t loop_blocks_ = 5000;  // it has read the disk before
  std::atomic<int64_t> reader_blocks_{0};
  absl::Mutex mutex_;
  std::vector<std::string> keys_;
  std::function<void()> on_read_ = [] {};
  DiskReaders readers_{{.read =
                            [this](std::string_view key) {
                              on_read_();
                              absl::MutexLock lock(&mutex_);
                              keys_.emplace_back(key);
                            },
                        .blocks_read = [this] { return Blocks(); }}};
};

TEST_F(DiskReadersTest, AreNotInUseWhileEverythingIsInMemory) {
  loop_blocks_ = 0;
  readers_.EverySecond();
  loop_blocks_ = 999;
  readers_.EverySecond();
  EXPECT_FALSE(readers_.in_use());
  EXPECT_FALSE(readers_.Run([] { FAIL() << "runs"; }, "client"));
  readers_.OnSaving({PutOf("k")});
  EXPECT_THAT(Keys(), IsEmpty());
}

TEST_F(DiskReadersTest, AreInUseForASecondAfterTheLoopHasReadTheDisk) {
  UseThem();
  readers_.EverySecond();
  EXPECT_FALSE(readers_.in_use());
}

TEST_F(DiskReadersTest, AreInUseWhileTheyReadTheDiskThemselves) {
  UseThem();
  ASSERT_TRUE(readers_.Run([&] { reader_blocks_ += 500; }, "client"));
  on_read_ = [&] { reader_blocks_ += 500; };
  readers_.OnSaving({PutOf("k")});
  readers_.Stop();
  readers_.EverySecond();
  EXPECT_TRUE(readers_.in_use());
  readers_.EverySecond();
  EXPECT_FALSE(readers_.in_use());
}

TEST_F(DiskReadersTest, RunReadsOfClientsOnOtherThreads) {
  UseThem();
  absl::Notification other;
  ASSERT_TRUE(readers_.Run(
      [&] {
        EXPECT_NE(std::this_thread::get_id(), loop_);
        other.Notify();
      },
      "client"));
  EXPECT_TRUE(other.WaitForNotificationWithTimeout(absl::Seconds(60)));
}

TEST_F(DiskReadersTest, ReadTheKeysOfEachKindOfCommand) {
  UseThem();
  proto::Command deletion, txn;
  deletion.mutable_delete_range()->set_key("deleted");
  txn.mutable_txn()->add_compare()->set_key("compared");
  txn.mutable_txn()->add_success()->mutable_request_put()->set_key("put");
  txn.mutable_txn()->add_failure()->mutable_request_range()->set_key("read");
  auto* nested = txn.mutable_txn()->add_failure()->mutable_request_txn();
  nested->add_success()->mutable_request_delete_range()->set_key("nested");
  proto::Command grant;
  grant.mutable_lease_grant()->set_id(7);
  readers_.OnSaving(
      {PutOf("k"), EntryOf(deletion), EntryOf(txn), EntryOf(grant), raft::Entry{},  // a no-op
       raft::Entry{.type = raft::EntryType::kCommand, .payload = raft::Payload("not a command")}});
  EXPECT_THAT(Keys(), UnorderedElementsAre("k", "deleted", "compared", "put", "read", "nested"));
}

TEST_F(DiskReadersTest, ReadTheKeysOfATurnSideBySide) {
  UseThem();
  absl::Mutex mutex;
  int running = 0;
  on_read_ = [&] {  // none ends before all have begun
    absl::MutexLock lock(&mutex);
    ++running;
    auto all = [&running] { return running == 8; };
    mutex.Await(absl::Condition(&all));
  };
  std::vector<raft::Entry> entries;
  for (int i = 0; i < 8; ++i) entries.push_back(PutOf("k"));
  readers_.OnSaving(entries);
  EXPECT_EQ(Keys().size(), 8);
}

// The keys that are left out are read by the thread that applies.
TEST_F(DiskReadersTest, LeaveOutWhatTheyCannotReadInTime) {
  UseThem();
  absl::Notification disk;
  on_read_ = [&] { disk.WaitForNotification(); };
  for (int i = 0; i < 5000; ++i) readers_.OnSaving({PutOf("k")});
  disk.Notify();
  const size_t read = Keys().size();
  EXPECT_GE(read, 1024);
  EXPECT_LE(read, 1024 + 8);
}

TEST_F(DiskReadersTest, HoldAFewMiBOfEntries) {
  UseThem();
  absl::Notification disk;
  on_read_ = [&] { disk.WaitForNotification(); };
  for (int i = 0; i < 100; ++i) readers_.OnSaving({PutOf("k", 1 << 20)});
  disk.Notify();
  EXPECT_EQ(Keys().size(), 15);
}

}  // namespace
}  // namespace raftkv
