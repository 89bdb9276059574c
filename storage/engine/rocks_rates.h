#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_RATES_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_RATES_H_

// How fast RocksDB's threads write table files and blob files. On ext4, an fsync of the log waits
// for what was written to other new files before, and everything shares the processors
// (docs/decisions/0028, 0033).

#include <memory>

#include "rocksdb/rate_limiter.h"

namespace raftkv {

// Flushes write at most 512 MiB a second, with a pause of 2 ms after each part. The loop cannot
// write that much to the log, so this does not make writes wait.
//
// Compactions have a limit of their own, which follows their need: from 25 MiB a second, if they
// write little, to 512 MiB. So a single one does not take all that processors and disk can do. It
// grows 5 % each 0.2 s while it is reached. When writes would have to wait for compactions, RocksDB
// asks for their bytes with the priority of a flush or above, so this limit does not apply.
class WriteRates final : public rocksdb::RateLimiter {
 public:
  WriteRates();

  // From any thread. Waits until so many bytes may be written.
  void Request(int64_t bytes, rocksdb::Env::IOPriority priority,
               rocksdb::Statistics* statistics) override;
  using RateLimiter::Request;

  int64_t GetSingleBurstBytes() const override;
  int64_t GetTotalBytesThrough(rocksdb::Env::IOPriority priority) const override;
  int64_t GetTotalRequests(rocksdb::Env::IOPriority priority) const override;
  int64_t GetBytesPerSecond() const override;
  void SetBytesPerSecond(int64_t bytes_per_second) override;

 private:
  rocksdb::RateLimiter& Of(rocksdb::Env::IOPriority priority) const;

  const std::unique_ptr<rocksdb::RateLimiter> flushes_;
  const std::unique_ptr<rocksdb::RateLimiter> compactions_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_RATES_H_
