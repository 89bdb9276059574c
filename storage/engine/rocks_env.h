#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_ENV_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_ENV_H_

// What RocksDB runs on: the file system, whose slow operations the watchdog sees
// (rocks_file_system.h), and the threads for its background work.
//
// Log and state machine have a flush thread and a compaction thread each. A write to the log waits
// while its write buffers are full, and an election starts if that takes long. So a flush of the
// log must not wait for a flush or compaction of the state machine. The state machine's compactions
// take the most processor time. They run at a lower priority than the other threads.

#include "storage/engine/engine.h"

namespace rocksdb {
class Env;
}

namespace raftkv {

// The nice value of the thread that compacts the state machine. If both cores are busy, it still
// gets about a quarter of one, so that compactions keep up with the writes.
inline constexpr int kStateCompactionNice = 5;

// Returns the instance for the log (kSynced) or for state machines (kFlushed). It lives as long as
// the process.
rocksdb::Env* RocksEnv(Durability durability);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_ENV_H_
