#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_ENV_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_ENV_H_

// The environment of RocksDB: the file system, whose slow operations the watchdog sees
// (rocks_file_system.h), and the threads for its background work.
//
// Log and state machine have a flush thread and a compaction thread each. A write to the log waits
// while its write buffers are full, and an election starts if that takes long. So a flush of the
// log must not wait for a flush or compaction of the state machine. The state machine's compactions
// take the most processor time. They run at a lower priority than the other threads.

#include <memory>

#include "storage/engine/engine.h"
#include "storage/engine/rocks_file_system.h"

namespace rocksdb {
class Env;
}

namespace raftkv {

// The nice value of the thread that compacts the state machine. If both cores are busy, it still
// gets about a quarter of one, so that compactions keep up with the writes.
inline constexpr int kStateCompactionNice = 5;

// How many table files an engine keeps open: an eighth of the limit of the process, at most 4,096.
// So however large the store is, file descriptors are left for new files and for connections.
int OpenFilesMax();

// Returns the instance for the log (kSynced) or for state machines (kFlushed). It lives as long as
// the process.
rocksdb::Env* RocksEnv(Durability durability);

// The threads of that instance, with the files of `files`, which do what `when_full` says.
std::unique_ptr<rocksdb::Env> RocksEnvWith(Durability durability,
                                           const std::shared_ptr<rocksdb::FileSystem>& files,
                                           std::shared_ptr<WhenFull> when_full);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_ENV_H_
