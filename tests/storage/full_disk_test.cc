// A disk that is full while an engine flushes or compacts: nothing is lost, the flush or compaction
// is repeated, and the engine says that writes would wait.

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "storage/base/disk_space.h"
#include "storage/engine/rocks_engine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

using rocksdb::IOStatus;

// Nothing can be added to the files of data while `full`.
class DiskThatFills final : public rocksdb::FileSystemWrapper {
 public:
  explicit DiskThatFills(const std::atomic<bool>* full)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), full_(full) {}
  const char* Name() const override { return "DiskThatFills"; }

  IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                           rocksdb::IODebugContext* debug) override {
    IOStatus status = target()->NewWritableFile(name, options, file, debug);
    const bool data = name.size() > 4 && name.substr(name.size() - 4) == ".sst";
    if (status.ok() && data) *file = std::make_unique<File>(std::move(*file), full_);
    return status;
  }

 private:
  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, const std::atomic<bool>* full)
        : FSWritableFileOwnerWrapper(std::move(file)), full_(full) {}
    IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                    rocksdb::IODebugContext* debug) override {
      return *full_ ? IOStatus::NoSpace("full") : target()->Append(data, options, debug);
    }
    IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                    const rocksdb::DataVerificationInfo& info,
                    rocksdb::IODebugContext* debug) override {
      return *full_ ? IOStatus::NoSpace("full") : target()->Append(data, options, info, debug);
    }

   private:
    const std::atomic<bool>* const full_;
  };

  const std::atomic<bool>* const full_;
};

class FullDisk : public testing::Test {
 protected:
  std::unique_ptr<Engine> Open() {
    auto engine = OpenRocksEngine({.dir = dir_ / "sm",
                                   .durability = Durability::kFlushed,
                                   .create_if_missing = true,
                                   .env = env_.get()});
    CHECK(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  static void Put(Engine* engine, const std::string& key) {
    WriteBatch batch;
    batch.Put(key, std::string(1000, 'v'));
    engine->Write(batch, /*sync=*/false);
  }
  static void AwaitNoStall(const Engine& engine) {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (engine.WouldStall()) {
      ASSERT_LT(absl::Now(), end);
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  TempDir dir_;
  std::atomic<bool> full_{false};
  std::unique_ptr<rocksdb::Env> env_ =
      rocksdb::NewCompositeEnv(std::make_shared<DiskThatFills>(&full_));
};

TEST_F(FullDisk, AFlushIsRepeated) {
  std::unique_ptr<Engine> engine = Open();
  Put(engine.get(), "a");
  engine->Flush();
  EXPECT_EQ(engine->survived(), engine->written());
  full_ = true;
  Put(engine.get(), "b");
  engine->Flush();
  engine->StartFlush();
  Put(engine.get(), "c");
  engine->Flush();
  EXPECT_LT(engine->survived(), engine->written());
  EXPECT_TRUE(engine->Get("b").has_value());
  full_ = false;
  Put(engine.get(), "d");
  engine->Flush();
  EXPECT_EQ(engine->survived(), engine->written());
  engine.reset();
  engine = Open();
  for (const char* key : {"a", "b", "c", "d"}) EXPECT_TRUE(engine->Get(key).has_value()) << key;
}

TEST_F(FullDisk, WhatWasNotFlushedIsLostAtARestartAndReplayed) {
  std::unique_ptr<Engine> engine = Open();
  Put(engine.get(), "a");
  engine->Flush();
  full_ = true;
  Put(engine.get(), "b");
  engine->Flush();
  full_ = false;
  engine.reset();
  engine = Open();
  EXPECT_TRUE(engine->Get("a").has_value());
  EXPECT_FALSE(engine->Get("b").has_value());
}

TEST_F(FullDisk, WritesWouldStallWhileThreeFlushesAreLeftForLater) {
  std::unique_ptr<Engine> engine = Open();
  for (int round = 0; round < 2; ++round) {
    full_ = true;
    for (int i = 0; i < 3; ++i) {
      EXPECT_FALSE(engine->WouldStall()) << i;
      Put(engine.get(), "a");
      engine->StartFlush();
    }
    EXPECT_TRUE(engine->WouldStall());
    full_ = false;
    // Not one of the three may be left, or the next round begins with it.
    do engine->Flush();
    while (engine->survived() < engine->written());
    AwaitNoStall(*engine);
  }
}

// Files of the first level remain when compactions do not keep up.
TEST_F(FullDisk, WritesWouldStallFromTheOpenOnIfCompactionsAreDue) {
  constexpr int kFiles = 24;  // RocksDB then delays writes
  rocksdb::Options options;
  options.create_if_missing = true;
  options.disable_auto_compactions = true;
  options.level0_file_num_compaction_trigger = options.level0_slowdown_writes_trigger =
      options.level0_stop_writes_trigger = 10 * kFiles;
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, dir_ / "sm", &opened).ok());
  std::unique_ptr<rocksdb::DB> db(opened);
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_TRUE(db->Put({}, "a", "v").ok());
    ASSERT_TRUE(db->Flush({}).ok());
  }
  db.reset();
  full_ = true;
  std::unique_ptr<Engine> engine = Open();
  // RocksDB may begin the compaction first, which fails.
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (!engine->WouldStall() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(engine->WouldStall());
  full_ = false;
  AwaitNoStall(*engine);
}

TEST(ReserveFile, TakesUpSpaceUntilItIsReleased) {
  TempDir dir;
  const Reserve reserve(dir / "");
  EXPECT_EQ(reserve.bytes(), 0u);
  ASSERT_TRUE(reserve.Create(1 << 20).ok());
  EXPECT_EQ(reserve.bytes(), 1u << 20);
  EXPECT_TRUE(reserve.Release());
  EXPECT_EQ(reserve.bytes(), 0u);
  EXPECT_FALSE(reserve.Release());
  const absl::StatusOr<DiskSpace> space = ReadDiskSpace(dir / "");
  ASSERT_TRUE(space.ok());
  EXPECT_GT(space->free_bytes, 0u);
  EXPECT_GE(space->volume_bytes, space->free_bytes);
}

}  // namespace
}  // namespace raftkv
