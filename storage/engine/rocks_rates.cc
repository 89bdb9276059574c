#include "storage/engine/rocks_rates.h"

#include <algorithm>

#include "rocksdb/db.h"
#include "storage/engine/rocks_usage.h"

namespace raftkv {
namespace {

constexpr int64_t kBytesPerSecond = 512 << 20;
constexpr int64_t kCompactionMin = 25 << 20;
constexpr int64_t kRefillMicros = 2000;

std::unique_ptr<rocksdb::RateLimiter> NewLimiter(int64_t bytes_per_second) {
  return std::unique_ptr<rocksdb::RateLimiter>(
      rocksdb::NewGenericRateLimiter(bytes_per_second, kRefillMicros));
}

}  // namespace

std::shared_ptr<WriteRates> WriteRates::AddTo(rocksdb::Options* options) {
  const std::shared_ptr<WriteRates> rates(
      new WriteRates(options->level0_file_num_compaction_trigger));
  options->rate_limiter = rates;
  options->listeners.push_back(rates);
  return rates;
}

WriteRates::WriteRates(uint64_t compaction_trigger)
    : compaction_trigger_(compaction_trigger),
      flushes_(NewLimiter(kBytesPerSecond)),
      compactions_(NewLimiter(kCompactionMin)) {}

void WriteRates::OnFlushCompleted(rocksdb::DB* db, const rocksdb::FlushJobInfo& /*info*/) {
  FollowBacklog(db);
}

void WriteRates::OnCompactionBegin(rocksdb::DB* db, const rocksdb::CompactionJobInfo& /*info*/) {
  FollowBacklog(db);
}

void WriteRates::FollowBacklog(rocksdb::DB* db) {
  int64_t rate = kCompactionMin;
  uint64_t files = FilesOfLevel(db, 0);
  for (; files > compaction_trigger_ && rate < kBytesPerSecond; --files) rate *= 4;
  compactions_->SetBytesPerSecond(std::min(rate, kBytesPerSecond));
}

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
