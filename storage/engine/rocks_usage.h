#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_

#include "storage/engine/engine.h"

namespace rocksdb {
class DB;
}

namespace raftkv {

// Asks RocksDB for some of its properties. From any thread.
EngineUsage UsageOf(rocksdb::DB* db);
// EngineUsage::slows_writes alone.
bool SlowsWrites(rocksdb::DB* db);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_
