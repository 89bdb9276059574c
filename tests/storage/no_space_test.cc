// Engines with a Room on a disk that is full: writes wait and lose nothing, compactions leave
// space.

#include <rocksdb/env.h>
#include <sys/mount.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "storage/base/disk_space.h"
#include "storage/engine/rocks_engine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr size_t kValueBytes = 64 << 10;
constexpr size_t kInTableBytes = 4000;  // a value of this size is not in a blob file

template <typename Condition>
void WaitUntil(Condition condition) {
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (!condition()) {
    ASSERT_LT(absl::Now(), end);
    absl::SleepFor(absl::Milliseconds(1));
  }
}

// A tmpfs of 128 MiB; without the right to mount one, the tests are skipped.
class SmallVolume : public testing::Test {
 protected:
  void SetUp() override {
    if (mount("none", dir_.path().c_str(), "tmpfs", 0, "size=128m,mode=0700") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs: this test needs root and CAP_SYS_ADMIN";
    }
    mounted_ = true;
    room_ = std::make_shared<Room>(dir_.path(), /*low_bytes=*/16 * kMiB);
  }
  void TearDown() override {
    engine_.reset();
    if (mounted_) umount2(dir_.path().c_str(), MNT_DETACH);
  }

  void Open(Durability durability) {
    auto engine = OpenRocksEngine(
        {.dir = dir_ / "db", .durability = durability, .create_if_missing = true, .room = room_});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  uint64_t Free() { return ReadDiskSpace(dir_.path())->free_bytes; }
  // Another program takes all space but `left`.
  void LeaveFree(uint64_t left) {
    std::ofstream other(dir_ / "other", std::ios::app);
    const std::string block(64 << 10, 'o');
    for (uint64_t free = Free(); free > left; free = Free()) {
      other.write(block.data(),
                  static_cast<std::streamsize>(std::min<uint64_t>(block.size(), free - left)));
      other.flush();
      other.clear();  // the engine may have taken the last space meanwhile
    }
  }
  void FreeAll() { std::filesystem::remove(dir_ / "other"); }
  static std::string Key(int i) { return absl::StrCat("key", 100'000 + i); }
  static std::string Value(int i, size_t bytes = kValueBytes) {
    return std::string(bytes, static_cast<char>('a' + i % 26));
  }
  void Put(int i, bool sync, size_t bytes = kValueBytes) {
    WriteBatch batch;
    batch.Put(Key(i), Value(i, bytes));
    engine_->Write(batch, sync);
  }
  void ExpectAll(int count) {
    for (int i = 0; i < count; ++i) ASSERT_EQ(engine_->Get(Key(i)), Value(i)) << i;
  }

  // Starts a compaction that needs more than the space beyond `kept`.
  void ReclaimUntilItIsGivenUp(uint64_t kept) {
    std::atomic<bool> done{false};
    std::atomic<uint64_t> least{Free()};
    std::thread measures([&] {
      while (!done) least = std::min(least.load(), Free());
    });
    engine_->StartReclaim();
    WaitUntil([&] { return least < kept + 3 * kMiB; });    // it has begun
    WaitUntil([&] { return Free() >= kept + 4 * kMiB; });  // and was given up
    done = true;
    measures.join();
    EXPECT_GE(least, kept - kMiB);
  }

  TempDir dir_;
  bool mounted_ = false;
  std::shared_ptr<Room> room_;
  std::unique_ptr<Engine> engine_;
};

// 20 MiB do not fit into the write buffers of a volume of this size. The last append of a file that
// finds the disk full has written a part of its data.
TEST_F(SmallVolume, AWriteToTheLogReturnsOnceThereIsSpace) {
  constexpr int kPuts = 320;
  Open(Durability::kSynced);
  LeaveFree(64 << 10);
  std::thread writer([this] {
    for (int i = 0; i < kPuts; ++i) Put(i, /*sync=*/true);
  });
  WaitUntil([this] { return engine_->WouldStall(); });
  FreeAll();
  writer.join();
  WaitUntil([this] { return !engine_->WouldStall(); });
  ExpectAll(kPuts);
  engine_.reset();
  Open(Durability::kSynced);
  ExpectAll(kPuts);
}

TEST_F(SmallVolume, AWriteUsesTheReserveFirst) {
  constexpr int kPuts = 100;
  Open(Durability::kSynced);
  const Reserve reserve(dir_.path());
  ASSERT_TRUE(reserve.Create(ReserveBytes(room_->volume_bytes())).ok());
  LeaveFree(64 << 10);
  for (int i = 0; i < kPuts; ++i) Put(i, /*sync=*/true);
  EXPECT_EQ(reserve.bytes(), 0u);
  ExpectAll(kPuts);
}

TEST_F(SmallVolume, AFullEngineIsClosedAtOnceAndFlushesReturn) {
  Open(Durability::kFlushed);
  Put(0, false);
  engine_->Flush();
  LeaveFree(0);
  Put(1, false);
  engine_->Flush();
  EXPECT_LT(engine_->survived(), engine_->written());
  EXPECT_FALSE(engine_->Checkpoint(dir_ / "copy").ok());
  engine_.reset();
  FreeAll();
  Open(Durability::kFlushed);
  EXPECT_TRUE(engine_->Get(Key(0)).has_value());
}

// It is started again without any further call.
TEST_F(SmallVolume, AFlushEndsOnceThereIsSpace) {
  Open(Durability::kFlushed);
  LeaveFree(0);
  Put(0, false);
  engine_->StartFlush();
  WaitUntil([this] { return engine_->WouldStall(); });
  FreeAll();
  WaitUntil([this] { return engine_->survived() == engine_->written(); });
}

// The disk is full in the middle of the blob file of the only flush: the write buffer is 1 MiB.
TEST_F(SmallVolume, AFlushOfLargeValuesGoesOnOnceThereIsSpace) {
  constexpr int kPuts = 12;
  Open(Durability::kFlushed);
  LeaveFree(kMiB / 2);
  for (int i = 0; i < kPuts; ++i) Put(i, false);
  engine_->StartFlush();
  WaitUntil([this] { return engine_->WouldStall(); });
  FreeAll();
  WaitUntil([this] { return engine_->survived() == engine_->written(); });
  engine_.reset();
  Open(Durability::kFlushed);
  ExpectAll(kPuts);
}

// Four flushes wait: RocksDB stops writes, and starts no further flush.
TEST_F(SmallVolume, FlushesAreLeftForLaterWhileWritesAreStopped) {
  Open(Durability::kFlushed);
  LeaveFree(0);
  for (int i = 0; i < 4; ++i) {
    Put(i, false);
    engine_->StartFlush();
  }
  engine_->StartFlush();
  engine_->Flush();
  EXPECT_FALSE(engine_->Checkpoint(dir_ / "copy").ok());
  EXPECT_LT(engine_->survived(), engine_->written());
  FreeAll();
  WaitUntil([this] { return engine_->survived() == engine_->written(); });
  WaitUntil([this] { return !engine_->WouldStall(); });
  ExpectAll(4);
}

TEST_F(SmallVolume, ACompactionLeavesSpaceForOtherWrites) {
  constexpr int kPuts = 10'000;  // 40 MiB
  const uint64_t kept = ReserveBytes(room_->volume_bytes()) + 4 * kMiB;
  Open(Durability::kFlushed);
  for (int i = 0; i < kPuts; ++i) Put(i, false, kInTableBytes);
  engine_->Flush();
  LeaveFree(kept + 14 * kMiB);
  // In new files that overlap the older ones.
  for (int i = 0; i < kPuts; i += 7) Put(i, false, kInTableBytes);
  engine_->Flush();
  ReclaimUntilItIsGivenUp(kept);

  WriteBatch batch;
  batch.DeleteRange("key", "kez");
  engine_->Write(batch, false);
  WaitUntil([this, kept] {
    engine_->StartReclaim();
    absl::SleepFor(absl::Milliseconds(10));
    return Free() > kept + 30 * kMiB;
  });
}

TEST_F(SmallVolume, ACollectionOfBlobFilesLeavesSpaceForOtherWrites) {
  constexpr int kPuts = 640;  // 40 MiB
  const uint64_t kept = ReserveBytes(room_->volume_bytes()) + 4 * kMiB;
  Open(Durability::kFlushed);
  for (int i = 0; i < kPuts; ++i) Put(i, false);
  WriteBatch batch;
  for (int i = 0; i < kPuts; i += 2) batch.Delete(Key(i));
  engine_->Write(batch, false);
  engine_->Flush();
  LeaveFree(kept + 5 * kMiB);
  ReclaimUntilItIsGivenUp(kept);

  FreeAll();
  WaitUntil([this] {
    engine_->StartReclaim();
    absl::SleepFor(absl::Milliseconds(10));
    return engine_->DiskBytes() < 25 * kMiB;
  });
  for (int i = 1; i < kPuts; i += 2) ASSERT_EQ(engine_->Get(Key(i)), Value(i)) << i;
}

}  // namespace
}  // namespace raftkv
