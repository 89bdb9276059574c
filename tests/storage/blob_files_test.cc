// Large values are in blob files, and the space of old values is given back.

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "storage/engine/rocks_blobs.h"
#include "storage/engine/rocks_engine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMiB = 1 << 20;

// --- what is collected

// Blob files with the numbers 10, 20, 30 ..., of 10 MiB each, and one table file of the second
// level that was written after them and refers to all of them.
BlobFiles FilesWith(const std::vector<uint64_t>& garbage_mib) {
  BlobFiles files;
  for (const uint64_t garbage : garbage_mib) {
    files.blobs.push_back(
        {.number = 10 * (files.blobs.size() + 1), .bytes = 10 * kMiB, .garbage = garbage * kMiB});
  }
  files.tables.push_back({.number = 1000,
                          .level = 1,
                          .bytes = kMiB,
                          .oldest_blob = 10,
                          .smallest = "b",
                          .largest = "m"});
  return files;
}

TEST(NextBlobWork, NothingIsDueWithinTheBound) {
  EXPECT_FALSE(NextBlobWork({}, BlobGoal::kBound, kMiB));
  EXPECT_FALSE(NextBlobWork({}, BlobGoal::kReclaim, kMiB));
  const BlobFiles files = FilesWith({9, 9, 9, 9});  // 4 MiB of values
  EXPECT_FALSE(NextBlobWork(files, BlobGoal::kBound, 32 * kMiB));
  EXPECT_TRUE(NextBlobWork(files, BlobGoal::kBound, 31 * kMiB));
  EXPECT_TRUE(NextBlobWork(files, BlobGoal::kReduce, 32 * kMiB));
  EXPECT_FALSE(NextBlobWork(FilesWith({1, 1, 1, 1}), BlobGoal::kReclaim, kMiB));
  EXPECT_TRUE(NextBlobWork(FilesWith({2, 1, 1, 1}), BlobGoal::kReclaim, kMiB));
}

TEST(NextBlobWork, TheOldestFilesAreCollectedUntilTheGoalIsReached) {
  const BlobFiles files = FilesWith({10, 10, 10, 10, 9, 9, 0, 0});  // 58 and 22
  const auto work = NextBlobWork(files, BlobGoal::kBound, 10 * kMiB);
  ASSERT_TRUE(work);
  EXPECT_EQ(work->collect, 5u) << "9 MiB remain, and (22 + 10) / 2 are allowed";
  EXPECT_EQ(work->blobs, 8u);
  EXPECT_EQ(work->oldest, 10u);
  EXPECT_EQ(work->begin, "b");
  EXPECT_EQ(work->end, "m");
}

TEST(NextBlobWork, OneStepWritesLittle) {
  // The oldest files have no garbage, so they are moved out of the way in steps.
  const BlobFiles files = FilesWith({0, 0, 0, 10, 10, 10, 10, 10, 10});
  EXPECT_EQ(NextBlobWork(files, BlobGoal::kBound, 20 * kMiB)->collect, 1u);
  EXPECT_EQ(NextBlobWork(files, BlobGoal::kReduce, 40 * kMiB)->collect, 2u);
  EXPECT_EQ(NextBlobWork(files, BlobGoal::kReduce, kMiB)->collect, 1u) << "always at least one";
}

TEST(NextBlobWork, OnlyTablesThatReferToTheCollectedFilesAreRewritten) {
  BlobFiles files = FilesWith({10, 10, 0});
  files.tables.push_back(
      {.number = 1001, .level = 1, .bytes = kMiB, .smallest = "n", .largest = "p"});
  files.tables.push_back({.number = 1002,
                          .level = 0,
                          .bytes = kMiB,
                          .oldest_blob = 30,
                          .smallest = "q",
                          .largest = "z"});
  files.tables.push_back({.number = 1003,
                          .level = 0,
                          .bytes = kMiB,
                          .oldest_blob = 20,
                          .smallest = "a",
                          .largest = "c"});
  const auto work = NextBlobWork(files, BlobGoal::kBound, kMiB);
  ASSERT_TRUE(work);
  EXPECT_EQ(work->collect, 2u);
  EXPECT_EQ(work->begin, "a");
  EXPECT_EQ(work->end, "m");
}

TEST(NextBlobWork, LargeTablesAllowMoreGarbage) {
  BlobFiles files = FilesWith({9, 9, 9, 9});
  files.tables[0].bytes = 4 * 31 * kMiB;
  EXPECT_TRUE(NextBlobWork(files, BlobGoal::kBound, kMiB));
  files.tables[0].bytes = 4 * 32 * kMiB;
  EXPECT_FALSE(NextBlobWork(files, BlobGoal::kBound, kMiB));
}

TEST(NextBlobWork, TablesThatAreOlderThanMuchDataAreMerged) {
  BlobFiles files = FilesWith({0, 0, 0, 0});
  files.tables[0].number = 15;  // 30 MiB were written since
  EXPECT_FALSE(NextBlobWork(files, BlobGoal::kBound, 10 * kMiB));
  const auto work = NextBlobWork(files, BlobGoal::kBound, 9 * kMiB);
  ASSERT_TRUE(work);
  EXPECT_EQ(work->collect, 0u);
  EXPECT_EQ(work->begin, "b");
  EXPECT_EQ(work->end, "m");
  files.tables[0].level = 0;  // is compacted anyway
  EXPECT_FALSE(NextBlobWork(files, BlobGoal::kBound, 9 * kMiB));
}

// --- an engine

constexpr uint64_t kBuffer = 512 << 10;
constexpr uint64_t kUnit = 8 * kBuffer;
constexpr size_t kValueBytes = 8 << 10;

class Blobs : public testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    engine_.reset();
    auto engine = OpenRocksEngine({.dir = dir_ / "db",
                                   .durability = Durability::kFlushed,
                                   .create_if_missing = true,
                                   .write_buffer_bytes = kBuffer});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  static std::string Value(uint64_t i, size_t bytes = kValueBytes) {
    std::string value(bytes, static_cast<char>('a' + i % 26));
    return value.replace(0, 8, absl::StrCat(10'000'000 + i));
  }
  // As the state machine: each version of a key has an engine key of its own.
  static std::string Version(const std::string& key, uint64_t revision) {
    return absl::StrCat("v", key, "/", 99'999'999 - revision);
  }
  void Put(const std::string& key, uint64_t revision, uint64_t obsolete = 0) {
    WriteBatch batch;
    batch.Put(Version(key, revision), Value(revision));
    if (obsolete != 0) batch.Delete(Version(key, obsolete));
    engine_->Write(batch, /*sync=*/false);
    written_ += kValueBytes;
    if ((flushed_ += kValueBytes) < kBuffer / 3) return;
    flushed_ = 0;
    engine_->Flush();
  }
  void WaitForAtMost(uint64_t bytes) {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (engine_->DiskBytes() > bytes) {
      ASSERT_LT(absl::Now(), end) << engine_->DiskBytes() << " bytes instead of " << bytes
                                  << ", and " << written_ << " were written";
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  uint64_t BytesOfFiles(const char* suffix) {
    uint64_t bytes = 0;
    std::error_code gone;
    for (const auto& file : fs::directory_iterator(dir_ / "db")) {
      if (absl::EndsWith(file.path().filename().string(), suffix)) bytes += file.file_size(gone);
    }
    return bytes;
  }

  TempDir dir_;
  std::unique_ptr<Engine> engine_;
  uint64_t written_ = 0, flushed_ = 0;
};

TEST_F(Blobs, LargeValuesAreInFilesOfTheirOwn) {
  WriteBatch batch;
  for (int i = 0; i < 10; ++i) batch.Put(absl::StrCat("large", i), Value(i, 4096));
  for (int i = 0; i < 10; ++i) batch.Put(absl::StrCat("small", i), Value(i, 4095));
  engine_->Write(batch, false);
  engine_->Flush();
  EXPECT_GT(BytesOfFiles(".blob"), 10u * 4096);
  EXPECT_LT(BytesOfFiles(".blob"), 11u * 4096);
  EXPECT_GT(BytesOfFiles(".sst"), 10u * 4095);
  EXPECT_GE(engine_->DiskBytes(), BytesOfFiles(".blob") + BytesOfFiles(".sst"));
  Open();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(engine_->Get(absl::StrCat("large", i)), Value(i, 4096));
    EXPECT_EQ(engine_->Get(absl::StrCat("small", i)), Value(i, 4095));
  }
}

TEST_F(Blobs, OverwritesOfAFewKeysTakeBoundedSpace) {
  constexpr uint64_t kKeys = 50, kPuts = 6'000;
  for (uint64_t i = 1; i <= kPuts; ++i) {
    Put(absl::StrCat(i % kKeys), i, i > kKeys ? i - kKeys : 0);
    if (i % 1'000 == 0) WaitForAtMost(2 * kKeys * kValueBytes + kUnit + 12 * kBuffer);
  }
  for (uint64_t i = kPuts - kKeys + 1; i <= kPuts; ++i) {
    EXPECT_EQ(engine_->Get(Version(absl::StrCat(i % kKeys), i)), Value(i));
  }
}

// Almost every blob file has a value that stays.
TEST_F(Blobs, ALongLivedValueAmongOthersKeepsNoSpace) {
  constexpr uint64_t kPuts = 6'000, kEvery = 20;
  uint64_t kept = 0, replaced = 0;
  for (uint64_t i = 1; i <= kPuts; ++i) {
    if (i % kEvery == 0) {
      Put(absl::StrCat("stays", i), i);
      kept += kValueBytes;
    } else {
      Put("short", i, std::exchange(replaced, i));
    }
    if (i % 1'000 == 0) WaitForAtMost(2 * kept + kUnit + 12 * kBuffer);
  }
  engine_->StartReclaim();
  WaitForAtMost(kept * 5 / 4 + kMiB);
  Open();
  for (uint64_t i = kEvery; i <= kPuts; i += kEvery) {
    ASSERT_EQ(engine_->Get(Version(absl::StrCat("stays", i), i)), Value(i)) << i;
  }
}

// The small values take several levels, so compactions rarely meet a large value and its deletion.
TEST_F(Blobs, GarbageThatIsNotCountedYetIsFound) {
  constexpr uint64_t kKeys = 50, kPuts = 6'000, kSmall = 200'000;
  WriteBatch batch;
  for (uint64_t i = 0; i < kSmall; ++i) {
    batch.Put(absl::StrCat(i % 2 == 0 ? "u" : "w", i * 7'919 % kSmall), Value(i, 200));
    if (batch.bytes() < kBuffer / 3) continue;
    engine_->Write(batch, false);
    engine_->Flush();
    batch.Clear();
  }
  engine_->Write(batch, false);
  engine_->Flush();
  const uint64_t tables = engine_->DiskBytes();
  ASSERT_GT(tables, 4 * kUnit);
  for (uint64_t i = 1; i <= kPuts; ++i) {
    Put(absl::StrCat(i % kKeys), i, i > kKeys ? i - kKeys : 0);
    if (i % 1'000 == 0) {
      WaitForAtMost(tables * 3 / 2 + 4 * kKeys * kValueBytes + 3 * kUnit + 12 * kBuffer);
    }
  }
}

}  // namespace
}  // namespace raftkv
