#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_FAILURE_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_FAILURE_H_

// How the process ends when RocksDB reports a failure or damage (rocks_engine.h). From any thread.

#include <string>

#include "absl/status/status.h"
#include "rocksdb/status.h"

namespace raftkv {

// Logs that `what` failed in the database `dir`, and aborts the process.
[[noreturn]] void StopOnFailure(const std::string& dir, const char* what,
                                const rocksdb::Status& status);

// Logs the damage, and ends the process with exit code 66. `note`: first creates the file DAMAGED
// for the next start, which would otherwise notice the damage only when it reads the same block
// again.
[[noreturn]] void StopOnDamage(const std::string& dir, const rocksdb::Status& status, bool note);

// Why the database `dir` cannot be opened; the codes are those of OpenRocksEngine.
absl::Status OpenError(const std::string& dir, const rocksdb::Status& status);

// DataLoss: the database `dir` has the file DAMAGED.
absl::Status CheckNotNotedDamaged(const std::string& dir);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_FAILURE_H_
