#ifndef RAFTKV_STORAGE_DATA_DIR_START_SPACE_H_
#define RAFTKV_STORAGE_DATA_DIR_START_SPACE_H_

// Whether a data directory may be on its volume, and whether the volume has the space that a start
// needs. Called by data_dir.cc.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace raftkv {

// FailedPrecondition: the directory is on NFS. Other unusual file systems add a line to `warnings`.
absl::Status CheckFileSystem(const std::string& dir, std::vector<std::string>* warnings);

// Removes the reserve file in `dir` if there is too little space for the start, and adds a line to
// `warnings`. ResourceExhausted: there is too little space even then; the message says how much is
// needed. Call it before RocksDB is opened, because RocksDB ends the process when it cannot write.
absl::Status CheckSpaceForStart(const std::string& dir, std::vector<std::string>* warnings);

// Adds a line to `warnings` if the volume is so small that the write buffers are small, too
// (disk_space.h), or if `min_free_bytes` (storage.min_free_bytes) is less than what the engines
// need.
void WarnOfSmallVolume(const std::string& dir, std::optional<uint64_t> min_free_bytes,
                       std::vector<std::string>* warnings);

// Returns ResourceExhausted if `status` is the error of a full disk, otherwise `status`.
absl::Status ExplainFullDisk(const std::string& dir, const absl::Status& status);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_START_SPACE_H_
