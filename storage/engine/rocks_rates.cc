#include "storage/engine/rocks_rates.h"

#include <algorithm>

namespace raftkv {
namespace {

constexpr int64_t kBytesPerSecond = 512 << 20;
constexpr int64_t kRefillMicros = 2000;

std::unique_ptr<rocksdb::RateLimiter> NewLimiter(bool follows_need) {
  constexpr int32_t kFairness = 10;  // RocksDB's default
  return std::unique_ptr<rocksdb::RateLimiter>(rocksdb::NewGenericRateLimiter(
      kBytesPerSecond, kRefillMicros, kFairness, rocksdb::RateLimiter::Mode::kWritesOnly,
      /*auto_tuned=*/follows_need));
}

}  // namespace

WriteRates::WriteRates()
    : flushes_(NewLimiter(/*follows_need=*/false)), compactions_(NewLimiter(true)) {}

rocksdb::RateLimiter& WriteRates::Of(rocksdb::Env::IOPriority priority) const {
  return priority == rocksdb::Env::IO_LOW ? *compactions_ : *flushes_;
}

void WriteRates::Request(int64_t bytes, rocksdb::Env::IOPriority priority,
                         rocksdb::Statistics* statistics) {
  rocksdb::RateLimiter& limiter = Of(priority);
  while (bytes > 0) {
    const int64_t part = std::min(bytes, limiter.GetSingleBurstBytes());
    limiter.Request(part, priority, statistics, OpType::kWrite);
    bytes -= part;
  }
}

int64_t WriteRates::GetSingleBurstBytes() const { return flushes_->GetSingleBurstBytes(); }

int64_t WriteRates::GetTotalBytesThrough(rocksdb::Env::IOPriority priority) const {
  return priority == rocksdb::Env::IO_TOTAL ? flushes_->GetTotalBytesThrough(priority) +
                                                  compactions_->GetTotalBytesThrough(priority)
                                            : Of(priority).GetTotalBytesThrough(priority);
}

int64_t WriteRates::GetTotalRequests(rocksdb::Env::IOPriority priority) const {
  return priority == rocksdb::Env::IO_TOTAL
             ? flushes_->GetTotalRequests(priority) + compactions_->GetTotalRequests(priority)
             : Of(priority).GetTotalRequests(priority);
}

int64_t WriteRates::GetBytesPerSecond() const { return flushes_->GetBytesPerSecond(); }

void WriteRates::SetBytesPerSecond(int64_t bytes_per_second) {
  flushes_->SetBytesPerSecond(bytes_per_second);
  compactions_->SetBytesPerSecond(bytes_per_second);
}

}  // namespace raftkv
