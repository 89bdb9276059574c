#ifndef RAFTKV_TESTS_STORAGE_ROCKS_H_
#define RAFTKV_TESTS_STORAGE_ROCKS_H_

#include <memory>
#include <string>

#include "glog/logging.h"
#include "storage/engine/rocks_engine.h"
#include "storage/mvcc/layout.h"

namespace raftkv {

// A RocksDB engine as the state machine uses it, in `dir`, which is created if it is missing.
inline std::unique_ptr<Engine> OpenRocks(const std::string& dir) {
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      OpenRocksEngine({.dir = dir,
                       .durability = Durability::kFlushed,
                       .create_if_missing = true,
                       .filter_prefix = mvcc::VersionFilterPrefix,
                       .hint_prefix = mvcc::TableLetter});
  CHECK(engine.ok()) << engine.status();
  return *std::move(engine);
}

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_ROCKS_H_
