#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_

#include "storage/engine/engine.h"

namespace rocksdb {
class DB;
}

namespace raftkv {

// Reads RocksDB's properties for Engine::Usage. From any thread; it locks the database's mutex for
// a moment.
EngineUsage UsageOf(rocksdb::DB* db);
// EngineUsage::slows_writes alone.
bool SlowsWrites(rocksdb::DB* db);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_USAGE_H_
