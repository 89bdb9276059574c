#ifndef RAFTKV_STORAGE_DATA_DIR_DISK_SPACE_H_
#define RAFTKV_STORAGE_DATA_DIR_DISK_SPACE_H_

// The space on the volume of a data directory, and the directory's reserve file.
//
// RESERVE takes up space that nothing needs. When the disk is full, the member removes the file.
// Then there is enough space to flush what is in memory, to compact what is on disk, or to start.
// The file is created again when there is enough space.

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace raftkv {

struct DiskSpace {
  uint64_t volume_bytes = 0;
  uint64_t free_bytes = 0;  // for this user
};

// May wait for the disk. Unavailable: a system call failed.
absl::StatusOr<DiskSpace> ReadDiskSpace(const std::string& dir);

// The size of the reserve on a volume on which less than `low_bytes` of free space is low.
inline uint64_t ReserveBytes(uint64_t low_bytes) {
  constexpr uint64_t kMax = 64 << 20;
  return low_bytes / 4 < kMax ? low_bytes / 4 : kMax;
}

class Reserve {
 public:
  explicit Reserve(std::string dir) : path_(std::move(dir) + "/RESERVE") {}

  // The size of the file; 0: there is none.
  uint64_t bytes() const;
  // Unavailable: there is too little space, or a system call failed. Then there is no file.
  absl::Status Create(uint64_t bytes) const;
  // Returns whether there was a file.
  bool Release() const;

 private:
  const std::string path_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_DISK_SPACE_H_
