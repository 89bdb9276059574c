#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_RECLAIM_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_RECLAIM_H_

// The thread that frees disk space of one database: when its blob files have too much garbage
// (rocks_blobs.h), and when Engine::StartReclaim asks for it. It only starts these compactions, and
// waits for them. They run on the thread for compactions. It joins small table files itself, but
// not while it waits.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/engine/rocks_blobs.h"
#include "storage/engine/rocks_file_system.h"

namespace rocksdb {
class DB;
class Slice;
struct CompactRangeOptions;
}  // namespace rocksdb

namespace raftkv {

class Reclaimer {
 public:
  struct Options {
    std::string dir;                      // of the database
    uint64_t unit = 0;                    // as for NextBlobWork
    uint64_t small = 0;                   // as for SmallTables
    std::function<bool()> flush;          // of the database; false: it is left for later
    std::shared_ptr<WhenFull> when_full;  // null: writes to a full disk fail
  };
  Reclaimer(rocksdb::DB* db, Options options);
  ~Reclaimer();  // ends the compaction that runs
  Reclaimer(const Reclaimer&) = delete;

  // Compacts the whole database and collects its blob files, unless that is already running or
  // about to.
  void Start();
  // For threads of RocksDB, too. A flush has written so many bytes; a compaction is done.
  void OnFlush(uint64_t bytes);
  void OnCompaction();

 private:
  void Run();
  // Work until the goal is reached. False: the disk is full, a flush is left for later, or the
  // database is being closed.
  bool Collect(BlobGoal goal);
  void JoinSmallTables();
  std::optional<BlobWork> Next(BlobGoal goal);
  bool CompactAll();
  bool Compact(const BlobWork& work);
  bool Compact(const rocksdb::CompactRangeOptions& options, const rocksdb::Slice* begin,
               const rocksdb::Slice* end);

  rocksdb::DB& db_;
  const Options options_;
  absl::Mutex mutex_;
  bool whole_ ABSL_GUARDED_BY(mutex_) = false;
  bool changed_ ABSL_GUARDED_BY(mutex_) = true;  // the files of before may need work, too
  // Flushed since the table files were merged. Unknown after a start: then they may be merged.
  uint64_t written_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX / 2;
  bool ends_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_RECLAIM_H_
