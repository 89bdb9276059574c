// The limits of what RocksDB writes in the background.

#include <gtest/gtest.h>

#include "storage/engine/rocks_rates.h"

namespace raftkv {
namespace {

TEST(WriteRates, CompactionsAndFlushesHaveLimitsOfTheirOwn) {
  WriteRates rates;
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

}  // namespace
}  // namespace raftkv
