#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_RATES_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_RATES_H_

// How fast RocksDB's threads write table files and blob files. On ext4, an fsync of the log waits
// for what was written to other new files before, and everything shares the processors
// (docs/decisions/0028, 0033).

#include <cstdint>
#include <memory>

#include "rocksdb/listener.h"
#include "rocksdb/options.h"
#include "rocksdb/rate_limiter.h"

namespace raftkv {

// Flushes write at most 512 MiB a second, with a pause of 2 ms after each part. The loop cannot
// write that much to the log, so this does not make writes wait.
//
// Compactions have a limit of their own, so that a single one does not take all that processors and
// disk can do. It follows their backlog: the files that flushes have added to the first level. With
// no more than start a compaction it is 25 MiB a second. Each file more makes it four times as
// high, up to 512 MiB. So compactions keep up under load, long before RocksDB delays writes. When
// it delays them, it asks for the bytes of compactions with the priority of a flush or above, and
// this limit does not apply.
class WriteRates final : public rocksdb::RateLimiter, public rocksdb::EventListener {
 public:
  // Makes new limits the rate limiter, and a listener, of a database that will be opened with these
  // options. It reads their level0_file_num_compaction_trigger.
  static std::shared_ptr<WriteRates> AddTo(rocksdb::Options* options);

  // From any thread. Waits until so many bytes may be written.
  void Request(int64_t bytes, rocksdb::Env::IOPriority priority,
               rocksdb::Statistics* statistics) override;
  using RateLimiter::Request;

  int64_t CompactionBytesPerSecond() const { return compactions_->GetBytesPerSecond(); }

  // RocksDB calls them after each flush and before each compaction.
  void OnFlushCompleted(rocksdb::DB* db, const rocksdb::FlushJobInfo& info) override;
  void OnCompactionBegin(rocksdb::DB* db, const rocksdb::CompactionJobInfo& info) override;

  int64_t GetSingleBurstBytes() const override;
  int64_t GetTotalBytesThrough(rocksdb::Env::IOPriority priority) const override;
  int64_t GetTotalRequests(rocksdb::Env::IOPriority priority) const override;
  int64_t GetBytesPerSecond() const override;
  void SetBytesPerSecond(int64_t bytes_per_second) override;

 private:
  explicit WriteRates(uint64_t compaction_trigger);

  rocksdb::RateLimiter& Of(rocksdb::Env::IOPriority priority) const;
  void FollowBacklog(rocksdb::DB* db);

  const uint64_t compaction_trigger_;  // how many files of the first level start a compaction
  const std::unique_ptr<rocksdb::RateLimiter> flushes_;
  const std::unique_ptr<rocksdb::RateLimiter> compactions_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_RATES_H_
