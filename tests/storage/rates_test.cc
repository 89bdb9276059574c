// The limits of what RocksDB writes in the background.

#include <gtest/gtest.h>

#include "storage/engine/rocks_rates.h"

namespace raftkv {
namespace {

TEST(WriteRates, CompactionsAndFlushesHaveLimitsOfTheirOwn) {
  WriteRates rates;
  using rocksdb::Env;
  const int64_t more_than_one_part = 3 * rates.GetSingleBurstBytes() + 1;
  rates.Request(more_than_one_part, Env::IO_LOW, nullptr);
  EXPECT_EQ(rates.GetTotalBytesThrough(Env::IO_LOW), more_than_one_part);
  EXPECT_GE(rates.GetTotalRequests(Env::IO_LOW), 4);
  EXPECT_EQ(rates.GetTotalBytesThrough(Env::IO_HIGH), 0);
  // Of a flush, and of a compaction for which writes wait.
  rates.Request(10, Env::IO_HIGH, nullptr);
  rates.Request(20, Env::IO_USER, nullptr);
  EXPECT_EQ(rates.GetTotalBytesThrough(Env::IO_HIGH), 10);
  EXPECT_EQ(rates.GetTotalBytesThrough(Env::IO_USER), 20);
  EXPECT_EQ(rates.GetTotalBytesThrough(Env::IO_TOTAL), more_than_one_part + 30);
}

}  // namespace
}  // namespace raftkv
