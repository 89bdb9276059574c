// Large values are in blob files, and the space of old values is given back.

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "rocksdb/options.h"
#include "storage/base/disk_space.h"
#include "storage/engine/rocks_blobs.h"
#include "storage/engine/rocks_engine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMega = 1 << 20;

// --- what is collected

// Blob files with the numbers 10, 20, 30 ..., of 10 MiB and 10 values each, and one table file that
// refers to all of them.
BlobFiles FilesWith(const std::vector<uint64_t>& garbage_mib) {
  BlobFiles files;
  for (const uint64_t garbage : garbage_mib) {
    files.blobs.push_back({.number = 10 * (files.blobs.size() + 1),
                           .bytes = 10 * kMega,
                           .garbage = garbage * kMega,
                           .values = 10 - garbage});
  }
  files.tables.push_back({.bytes = kMega, .oldest_blob = 10, .smallest = "b", .largest = "m"});
  return files;
}

std::optional<BlobWork> Next(const BlobFiles& files, BlobGoal goal, uint64_t unit_mib,
                             uint64_t written_mib = 1'000) {
  return NextBlobWork(files, goal, unit_mib * kMega, written_mib * kMega);
}

TEST(NextBlobWork, NothingIsDueWithinTheBound) {
  EXPECT_FALSE(Next({}, BlobGoal::kBound, 1));
  EXPECT_FALSE(Next({}, BlobGoal::kReclaim, 1));
  const BlobFiles files = FilesWith({9, 9, 9, 9});  // 4 MiB of values
  EXPECT_FALSE(Next(files, BlobGoal::kBound, 32));
  EXPECT_TRUE(Next(files, BlobGoal::kBound, 31));
  EXPECT_TRUE(Next(files, BlobGoal::kReduce, 32));
  EXPECT_FALSE(Next(FilesWith({1, 1, 1, 1}), BlobGoal::kReclaim, 1));
  EXPECT_TRUE(Next(FilesWith({2, 1, 1, 1}), BlobGoal::kReclaim, 1));
}

TEST(NextBlobWork, TheOldestFilesAreCollectedUntilTheGoalIsReached) {
  const BlobFiles files = FilesWith({10, 10, 10, 10, 9, 9, 0, 0});  // 58 and 22
  const auto work = Next(files, BlobGoal::kBound, 10);
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
  EXPECT_EQ(Next(files, BlobGoal::kBound, 20)->collect, 1u);
  EXPECT_EQ(Next(files, BlobGoal::kReduce, 40)->collect, 2u);
  EXPECT_EQ(Next(files, BlobGoal::kReduce, 1)->collect, 1u) << "always at least one";
}

TEST(NextBlobWork, OnlyTablesThatReferToTheCollectedFilesAreRewritten) {
  BlobFiles files = FilesWith({10, 10, 0});
  files.tables.push_back({.bytes = kMega, .smallest = "n", .largest = "p"});
  files.tables.push_back({.bytes = kMega, .oldest_blob = 30, .smallest = "q", .largest = "z"});
  files.tables.push_back({.bytes = kMega, .oldest_blob = 20, .smallest = "a", .largest = "c"});
  const auto work = Next(files, BlobGoal::kBound, 1);
  ASSERT_TRUE(work);
  EXPECT_EQ(work->collect, 2u);
  EXPECT_EQ(work->begin, "a");
  EXPECT_EQ(work->end, "m");
}

TEST(NextBlobWork, LargeTablesAllowMoreGarbage) {
  BlobFiles files = FilesWith({9, 9, 9, 9});
  files.tables[0].bytes = 4 * 31 * kMega;
  EXPECT_TRUE(Next(files, BlobGoal::kBound, 1));
  files.tables[0].bytes = 4 * 32 * kMega;
  EXPECT_FALSE(Next(files, BlobGoal::kBound, 1));
}

TEST(NextBlobWork, TablesWithManyDeletionsAreMerged) {
  BlobFiles files = FilesWith({0, 0, 0, 0});  // 40 values of 1 MiB each
  files.tables[0].deletions = 30;
  EXPECT_FALSE(Next(files, BlobGoal::kBound, 10));
  EXPECT_FALSE(Next(files, BlobGoal::kReclaim, 9));
  files.tables[0].bytes = 20 * kMega;
  EXPECT_FALSE(Next(files, BlobGoal::kBound, 9, /*written_mib=*/19));
  const auto work = Next(files, BlobGoal::kBound, 9, /*written_mib=*/20);
  ASSERT_TRUE(work);
  EXPECT_EQ(work->collect, 0u);
  EXPECT_EQ(work->begin, "b");
  EXPECT_EQ(work->end, "m");
  files.tables[0].deletions = 1'000;
  EXPECT_FALSE(Next(files, BlobGoal::kBound, 20)) << "there are only 40 values";
}

TEST(SmallTablesTest, TheNewestOfTheFirstLevelAreJoined) {
  BlobFiles files;
  const auto add = [&files](const char* name, uint64_t bytes, int level) {
    files.tables.push_back({.bytes = bytes, .name = name, .level = level});
  };
  for (const char* name : {"9", "8", "7"}) add(name, 99, 0);
  add("1", 10, 1);
  using Names = std::vector<std::string>;
  EXPECT_EQ(SmallTables(files, 100), Names()) << "three are few; the fourth is of another level";
  files.tables.pop_back();
  add("6", 99, 0);
  EXPECT_EQ(SmallTables(files, 100), (Names{"9", "8", "7", "6"}));
  EXPECT_EQ(SmallTables(files, 99), Names());
  add("5", 100, 0);
  add("4", 1, 0);
  EXPECT_EQ(SmallTables(files, 100), (Names{"9", "8", "7", "6"})) << "they stay neighbours";
  files.tables[3].compacting = true;
  EXPECT_EQ(SmallTables(files, 100), Names());
  files.tables.clear();
  for (int i = 0; i < 15; ++i) add("small", 1, 0);
  EXPECT_EQ(SmallTables(files, 100).size(), 15u);
  add("small", 1, 0);
  EXPECT_EQ(SmallTables(files, 100), Names()) << "RocksDB has to compact them";
}

// --- an engine

constexpr uint64_t kBuffer = 512 << 10;
constexpr uint64_t kUnit = 8 * kBuffer;
constexpr size_t kLargeBytes = 8 << 10;

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
  static std::string Value(uint64_t i, size_t bytes = kLargeBytes) {
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
    written_ += kLargeBytes;
    if ((flushed_ += kLargeBytes) < kBuffer / 3) return;
    flushed_ = 0;
    engine_->Flush();
  }
  void PutSmall(const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.Put(key, value);
    engine_->Write(batch, /*sync=*/false);
    if ((flushed_ += value.size()) < kBuffer / 3) return;
    flushed_ = 0;
    engine_->Flush();
  }
  void MoveAllToTheLastLevel() {
    engine_.reset();
    {
      rocksdb::Options options;
      options.disable_auto_compactions = true;
      options.compression = rocksdb::kNoCompression;
      rocksdb::DB* opened = nullptr;
      ASSERT_TRUE(rocksdb::DB::Open(options, dir_ / "db", &opened).ok());
      const std::unique_ptr<rocksdb::DB> db(opened);
      ASSERT_TRUE(db->CompactRange({}, nullptr, nullptr).ok());
    }
    Open();
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
  EXPECT_EQ(engine_->Usage().value_bytes, BytesOfFiles(".blob"));
  EXPECT_EQ(engine_->Usage().garbage_bytes, 0u);
  Open();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(engine_->Get(absl::StrCat("large", i)), Value(i, 4096));
    EXPECT_EQ(engine_->Get(absl::StrCat("small", i)), Value(i, 4095));
  }
}

// Each flush adds a small file to the first level, with references to large values. They are
// joined, so the files of the second level, with many small values, are not rewritten.
TEST_F(Blobs, LargeValuesDoNotRewriteSmallOnes) {
  constexpr uint64_t kSmall = 20'000, kLarge = 1'000;
  for (uint64_t i = 0; i < kSmall; ++i) PutSmall(Version(absl::StrCat(i % 100), i), Value(i, 200));
  engine_->Flush();
  MoveAllToTheLastLevel();
  const auto large_tables = [this] {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(dir_ / "db")) {
      const std::string name = file.path().filename().string();
      std::error_code gone;
      const uint64_t bytes = file.file_size(gone);
      if (absl::EndsWith(name, ".sst") && !gone && bytes > kBuffer) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  };
  const std::vector<std::string> before = large_tables();
  ASSERT_FALSE(before.empty());
  for (uint64_t i = 0; i < kLarge; ++i) {
    Put(absl::StrCat(i % 100), kSmall + i);
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (engine_->Usage().first_level_files >= 6) {
      ASSERT_LT(absl::Now(), end) << "they are not joined";
      absl::SleepFor(absl::Milliseconds(1));
    }
  }
  engine_->Flush();
  EXPECT_EQ(large_tables(), before);
  for (uint64_t i = 0; i < kLarge; i += 7) {
    ASSERT_EQ(engine_->Get(Version(absl::StrCat(i % 100), kSmall + i)), Value(kSmall + i));
  }
  Open();
  for (uint64_t i = 0; i < kLarge; ++i) {
    ASSERT_EQ(engine_->Get(Version(absl::StrCat(i % 100), kSmall + i)), Value(kSmall + i));
  }
}

TEST_F(Blobs, OverwritesOfAFewKeysTakeBoundedSpace) {
  constexpr uint64_t kKeys = 50, kPuts = 6'000;
  for (uint64_t i = 1; i <= kPuts; ++i) {
    Put(absl::StrCat(i % kKeys), i, i > kKeys ? i - kKeys : 0);
    if (i % 1'000 == 0) WaitForAtMost(2 * kKeys * kLargeBytes + kUnit + 12 * kBuffer);
  }
  for (uint64_t i = kPuts - kKeys + 1; i <= kPuts; ++i) {
    EXPECT_EQ(engine_->Get(Version(absl::StrCat(i % kKeys), i)), Value(i));
  }
}

// Almost every blob file has a value that stays.
TEST_F(Blobs, ALongLivedValueAmongOthersKeepsNoSpace) {
  constexpr uint64_t kPuts = 6'000, kEvery = 20;
  uint64_t kept = 0;
  std::array<uint64_t, 101> replaced = {};  // they live longer than a write buffer
  for (uint64_t i = 1; i <= kPuts; ++i) {
    if (i % kEvery == 0) {
      Put(absl::StrCat("stays", i), i);
      kept += kLargeBytes;
    } else {
      uint64_t& before = replaced[i % replaced.size()];
      Put("short", i, std::exchange(before, i));
    }
    if (i % 1'000 == 0) WaitForAtMost(2 * kept + kUnit + 12 * kBuffer);
  }
  engine_->StartReclaim();
  WaitForAtMost(kept * 5 / 4 + kMega);
  Open();
  for (uint64_t i = kEvery; i <= kPuts; i += kEvery) {
    ASSERT_EQ(engine_->Get(Version(absl::StrCat("stays", i), i)), Value(i)) << i;
  }
}

// Compactions do not meet these values and their deletions, because small values take most space
// and the deletions are few.
TEST_F(Blobs, GarbageThatIsNotCountedYetIsFound) {
  constexpr uint64_t kKeys = 50, kPuts = 5'000, kSmall = 100'000, kDeleted = 3'000;
  for (uint64_t i = 0; i < kSmall; ++i) PutSmall(absl::StrCat("u", i), Value(i, 200));
  for (uint64_t i = 1; i <= kDeleted; ++i) Put("deleted", i);
  engine_->Flush();
  const uint64_t tables = BytesOfFiles(".sst");
  ASSERT_GT(tables, 4 * kUnit);
  MoveAllToTheLastLevel();
  WriteBatch batch;
  for (uint64_t i = 1; i <= kDeleted; ++i) batch.Delete(Version("deleted", i));
  engine_->Write(batch, false);
  for (uint64_t i = 1; i <= kPuts; ++i) {
    Put(absl::StrCat(i % kKeys), i, i > kKeys ? i - kKeys : 0);
  }
  WaitForAtMost(tables + tables / 4 + 12 * kBuffer);
}

// --- how they are written

// What happens to writes past the page cache.
enum class Direct { kWork, kCannotOpen, kCannotWrite, kNoSpaceEachSecondTime };

// Notes which files are written past the page cache.
class NotesDirectFiles final : public rocksdb::FileSystemWrapper {
 public:
  explicit NotesDirectFiles(Direct direct)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), direct_(direct) {}
  const char* Name() const override { return "NotesDirectFiles"; }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    if (options.use_direct_writes && direct_ == Direct::kCannotOpen) {
      return rocksdb::IOStatus::IOError(name, "Invalid argument");
    }
    const rocksdb::IOStatus status = target()->NewWritableFile(name, options, file, debug);
    if (status.ok() && options.use_direct_writes) {
      *file = std::make_unique<File>(std::move(*file), fs::path(name).extension(), this);
    }
    return status;
  }

  // The kinds of files that were written so, and how many such writes found the disk full.
  std::set<std::string> kinds() {
    const std::lock_guard lock(mutex_);
    return kinds_;
  }
  int refused() const { return refused_; }

 private:
  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, std::string kind, NotesDirectFiles* owner)
        : FSWritableFileOwnerWrapper(std::move(file)), kind_(std::move(kind)), owner_(owner) {}
    rocksdb::IOStatus PositionedAppend(const rocksdb::Slice& data, uint64_t offset,
                                       const rocksdb::IOOptions& options,
                                       rocksdb::IODebugContext* debug) override {
      if (owner_->direct_ == Direct::kCannotWrite) {
        return rocksdb::IOStatus::IOError(kind_, "Invalid argument");
      }
      if (owner_->direct_ == Direct::kNoSpaceEachSecondTime && owner_->writes_++ % 2 == 0) {
        ++owner_->refused_;
        const size_t part = data.size() / 2 / GetRequiredBufferAlignment();
        const rocksdb::Slice some(data.data(), part * GetRequiredBufferAlignment());
        EXPECT_TRUE(target()->PositionedAppend(some, offset, options, debug).ok());
        return rocksdb::IOStatus::NoSpace(kind_);
      }
      const std::lock_guard lock(owner_->mutex_);
      owner_->kinds_.insert(kind_);
      return target()->PositionedAppend(data, offset, options, debug);
    }

   private:
    const std::string kind_;
    NotesDirectFiles* const owner_;
  };

  const Direct direct_;
  std::atomic<int> writes_{0}, refused_{0};
  std::mutex mutex_;
  std::set<std::string> kinds_;
};

class DirectWrites : public testing::TestWithParam<Direct> {};
INSTANTIATE_TEST_SUITE_P(Blobs, DirectWrites,
                         testing::Values(Direct::kWork, Direct::kCannotOpen, Direct::kCannotWrite,
                                         Direct::kNoSpaceEachSecondTime));

// Blob files are written past the page cache, if the file system can do that.
TEST_P(DirectWrites, OnlyOfBlobFiles) {
  constexpr int kKeys = 200;
  const TempDir dir;
  const auto files = std::make_shared<NotesDirectFiles>(GetParam());
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(files);
  const auto open = [&] {
    return *OpenRocksEngine({.dir = dir / "db",
                             .durability = Durability::kFlushed,
                             .create_if_missing = true,
                             .room = std::make_shared<Room>(dir.path(), /*low_bytes=*/0),
                             .env = env.get()});
  };
  const auto value = [](int i) {
    return std::string(5'000 + 777 * i, static_cast<char>('a' + i % 26));
  };
  std::unique_ptr<Engine> engine = open();
  for (int i = 0; i < kKeys; ++i) {
    WriteBatch batch;
    batch.Put(absl::StrCat("key", i), value(i));
    engine->Write(batch, false);
    if (i % 50 == 49) engine->Flush();
  }
  // A flush that waits for space is left for later.
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (engine->survived() < engine->written() && absl::Now() < end) engine->Flush();
  EXPECT_EQ(engine->survived(), engine->written());
  engine.reset();
  engine = open();
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(engine->Get(absl::StrCat("key", i)), value(i)) << i;

  const bool can = GetParam() == Direct::kWork || GetParam() == Direct::kNoSpaceEachSecondTime;
  EXPECT_EQ(files->kinds(), can ? std::set<std::string>{".blob"} : std::set<std::string>());
  EXPECT_EQ(files->refused() > 0, GetParam() == Direct::kNoSpaceEachSecondTime);
}

}  // namespace
}  // namespace raftkv
