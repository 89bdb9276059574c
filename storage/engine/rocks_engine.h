#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_ENGINE_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_ENGINE_H_

// The engine on real disks. Together with data_dir this is the only code that knows RocksDB.
//
// kSynced (the log): write-ahead log on and synced by every Write that asks for it. A torn record
// at its very end is dropped (it was never acknowledged); any other damage refuses to open.
// kFlushed (the state machine): no write-ahead log, one column family, so that whatever is flushed
// is a prefix of the batches, each whole.
//
// Errors while running: a failed write, sync or background job is logged and aborts the process; a
// damaged block writes the file DAMAGED into the directory, is logged, and exits with code 66. Next
// time Open answers DataLoss because of that file, though RocksDB alone would open without a word.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/engine/engine.h"

namespace rocksdb {
class Env;
}

namespace raftkv {

// The part of a key that the filters of files are about: a lookup or a walk within one prefix skips
// the files that hold no key with it. A part of `key`, or empty: this key has none.
using FilterPrefix = std::string_view (*)(std::string_view key);

struct RocksOptions {
  std::string dir;
  Durability durability = Durability::kSynced;
  bool create_if_missing = false;
  FilterPrefix filter_prefix = nullptr;  // null: no filters
  size_t cache_bytes = 64 << 20;
  // Takes what a damaged write-ahead log holds before the first damage, silently. Only for a copy
  // which is then checked against the watermark (storage rule 13).
  bool salvage = false;
  rocksdb::Env* env = nullptr;  // tests: a disk that fails
};

// DataLoss: damaged or missing. FailedPrecondition: in use by another process. Unavailable: the
// system refuses (permissions, space).
absl::StatusOr<std::unique_ptr<Engine>> OpenRocksEngine(const RocksOptions& options);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_ENGINE_H_
