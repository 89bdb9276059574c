#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_ENGINE_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_ENGINE_H_

// The engine on a real disk. In the product, only the files rocks_* of this directory use RocksDB.
//
// kSynced (the log): the write-ahead log is on, and every Write with `sync` syncs it. If its last
// record is torn, opening discards that record: it was never acknowledged. Any other damage
// makes opening fail.
// kFlushed (the state machine): no write-ahead log and one column family, so that the flushed data
// is a prefix of the batches. Values of 4 KiB and more are in files of their own (rocks_blobs.h).
//
// Errors while running: a failed write, sync or background job is logged and aborts the process.
// When the disk is full, an engine that has a Room neither fails nor ends the process: its writes
// wait (rocks_file_system.h). Without a Room, a flush or a compaction for which the disk is full is
// repeated later, and any other write aborts. A damaged block is logged, creates the file DAMAGED
// in the directory, and ends the process with exit code 66. While that file exists, OpenRocksEngine
// returns DataLoss; RocksDB alone would open the database without an error.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/disk_space.h"
#include "storage/engine/engine.h"

namespace rocksdb {
class Env;
}

namespace raftkv {

// Returns a prefix of `key`, or an empty view if the key has none.
using KeyPrefix = std::string_view (*)(std::string_view key);

struct RocksOptions {
  std::string dir;
  Durability durability = Durability::kSynced;
  bool create_if_missing = false;
  // The Bloom filters of the files contain these prefixes. A lookup or an iteration within one
  // prefix skips the files that have no key with it. Null: no filters.
  KeyPrefix filter_prefix = nullptr;
  // When a key is added to the write buffer, RocksDB begins the search for its place at the key
  // with the same one of these prefixes that was added before. So keys that are written in order
  // take a short search, or none, whatever keys are in between. Null: none.
  KeyPrefix hint_prefix = nullptr;
  size_t cache_bytes = 64 << 20;
  // Opens a damaged write-ahead log with the records before the first damage, without an error. Use
  // it only on a copy that is then checked against the watermark (storage/data_dir).
  bool salvage = false;
  // For a check: opening and reading change nothing on the disk, and writes are dropped. No other
  // process may have the database open.
  bool read_only = false;
  // What the engine does when the disk is full, and how large its write buffers are. Null: the
  // largest ones; a full disk is an error.
  std::shared_ptr<const Room> room = nullptr;
  // Released after the database is closed, which may be later than its engine: views keep it open.
  std::shared_ptr<void> held = nullptr;
  // For tests: a disk that fails, and smaller write buffers than those that follow from `room`.
  rocksdb::Env* env = nullptr;
  uint64_t write_buffer_bytes = 0;
};

// DataLoss: damaged or missing. FailedPrecondition: in use by another process. Unavailable: an I/O
// error, for example missing permissions or no space.
absl::StatusOr<std::unique_ptr<Engine>> OpenRocksEngine(const RocksOptions& options);

// Visits the keys in each of `ranges` (begin, and end, excluded) of a database that is not open.
// Changes nothing. `verify`: reads all table files and all values first, and checks their
// checksums. DataLoss: damaged. An error of `visit` is returned.
absl::Status ScanClosedRocks(const RocksOptions& options, bool verify,
                             const std::vector<std::pair<std::string, std::string>>& ranges,
                             const Engine::Visitor& visit);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_ENGINE_H_
