#ifndef RAFTKV_STORAGE_DATA_DIR_LOG_DIR_H_
#define RAFTKV_STORAGE_DATA_DIR_LOG_DIR_H_

// Opens the Raft log in a data directory, and removes the garbage in which a power loss may let it
// end. Called by data_dir.cc.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/data_dir/data_dir.h"

namespace raftkv {

// Opens the log of the directory `o.dir`. `initialized`: it was created before. `read_only`:
// changes nothing on the disk, and drops what is written. `*salvaged`: the result lacks the garbage
// at the end of the log. At a start it is a copy then, which UseSalvagedCopy puts in the log's
// place.
absl::StatusOr<std::unique_ptr<LogStore>> OpenOrSalvageLog(const DataDirOptions& o,
                                                           bool initialized, bool read_only,
                                                           bool* salvaged,
                                                           std::vector<std::string>* warnings);

// Replaces the damaged log by the copy that `*log` has open. Call it when nothing else prevents the
// start: a log that cannot be repaired stays as it is.
absl::Status UseSalvagedCopy(const DataDirOptions& o, const StateMachine& state,
                             std::unique_ptr<LogStore>* log);

// Removes a copy that did not replace the log, or the log that was replaced.
absl::Status RemoveSalvage(const std::string& dir);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_LOG_DIR_H_
