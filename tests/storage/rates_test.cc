// The limits of what RocksDB writes in the background.

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "rocksdb/db.h"
#include "storage/engine/rocks_rates.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

TEST(WriteRates, CompactionsAndFlushesHaveLimitsOfTheirOwn) {
  rocksdb::Options options;
  WriteRates& rates = *WriteRates::AddTo(&options);
  using rocksdb::Env;
  const int64_t bytes = 3 * rates.GetSingleBurstBytes();
  // A flush, and a compaction for which writes wait.
  for (const Env::IOPriority priority : {Env::IO_HIGH, Env::IO_USER}) {
    rates.Request(bytes, priority, nullptr);
    EXPECT_EQ(rates.GetTotalRequests(priority), 3);
    EXPECT_EQ(rates.GetTotalBytesThrough(priority), bytes);
  }
  EXPECT_EQ(rates.GetTotalBytesThrough(Env::IO_LOW), 0);
  rates.Request(bytes, Env::IO_LOW, nullptr);
  EXPECT_GT(rates.GetTotalRequests(Env::IO_LOW), 3) << "in smaller parts: a lower limit";
  EXPECT_EQ(rates.GetTotalBytesThrough(Env::IO_LOW), bytes);
  EXPECT_EQ(rates.GetTotalBytesThrough(Env::IO_TOTAL), 3 * bytes);
}

// Compactions fall behind, then catch up.
TEST(WriteRates, TheLimitOfCompactionsFollowsTheFilesOfTheFirstLevel) {
  const TempDir dir;
  rocksdb::Options options;
  options.create_if_missing = true;
  options.level0_file_num_compaction_trigger = 2;
  options.disable_auto_compactions = true;  // only on request
  std::shared_ptr<WriteRates> rates;
  std::unique_ptr<rocksdb::DB> db;
  const auto open = [&] {
    db.reset();
    options.listeners.clear();
    rates = WriteRates::AddTo(&options);
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, dir.path(), &opened).ok());
    db.reset(opened);
  };
  const auto flush = [&] {
    EXPECT_TRUE(db->Put({}, "key", "value").ok());
    EXPECT_TRUE(db->Flush({}).ok());
  };
  // The end of a flush may be seen a moment before RocksDB reports it.
  const auto becomes = [&](int64_t mib) {
    for (int i = 0; i < 5000 && rates->CompactionBytesPerSecond() != mib << 20; ++i) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    return rates->CompactionBytesPerSecond() == mib << 20;
  };
  open();
  for (const int64_t expected : {25, 25, 100, 400, 512, 512}) {
    flush();
    EXPECT_TRUE(becomes(expected)) << expected << ", not " << rates->CompactionBytesPerSecond();
  }
  open();
  EXPECT_TRUE(becomes(25));
  EXPECT_TRUE(db->CompactRange({}, nullptr, nullptr).ok());
  EXPECT_TRUE(becomes(512)) << "the compaction has begun with six files";
  flush();
  EXPECT_TRUE(becomes(25));
}

}  // namespace
}  // namespace raftkv
