#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_

#include <atomic>

#include "absl/synchronization/mutex.h"
#include "storage/engine/engine.h"

namespace rocksdb {
class DB;
}

namespace raftkv {

// Reads RocksDB's properties for Engine::Usage. From any thread; it locks the database's mutex for
// a moment.
EngineUsage UsageOf(rocksdb::DB* db);

// Answers whether RocksDB delays or stops writes, and asks RocksDB only after a change: it looks
// its properties up by name. Thread-safe.
class WriteStalls {
 public:
  // For EventListener::OnStallConditionsChanged, which RocksDB calls after each change, on the
  // thread that made it, once that thread has removed obsolete files. The calls of two threads may
  // overtake each other, so the condition that a call names may be an older one.
  void OnChange() { changed_ = true; }
  bool Now(rocksdb::DB* db);

 private:
  std::atomic<bool> changed_{true};  // RocksDB calls nothing for the condition in which it opens
  std::atomic<bool> slow_{false};
  absl::Mutex mutex_;  // held while slow_ is read from RocksDB, so that the newest answer stays
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_
