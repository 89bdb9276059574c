#ifndef RAFTKV_STORAGE_BASE_DISK_SPACE_H_
#define RAFTKV_STORAGE_BASE_DISK_SPACE_H_

// The space on the volume of a data directory, what the engines need of it, and the directory's
// reserve file (docs/decisions/0016).
//
// RESERVE takes up space that nothing needs. When the disk is full, the member removes the file.
// Then there is enough space to flush what is in memory, or to start. The file is created again
// when there is enough space.

#include <algorithm>
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

// All sizes below follow from the size of a write buffer of the log. On a small volume the buffers
// are smaller, so that what the engines need is always a small part of the volume.
inline constexpr uint64_t kWriteBufferMax = 32 << 20;
inline uint64_t WriteBufferBytes(uint64_t volume_bytes) {
  constexpr uint64_t kMin = 2 << 20;
  return std::clamp(volume_bytes / 128, kMin, kWriteBufferMax);
}
// A write buffer of the state machine.
inline uint64_t StateBufferBytes(uint64_t volume_bytes) {
  return WriteBufferBytes(volume_bytes) / 2;
}

// The size of the reserve: what the engines may have to write, in units of a buffer of the log, so
// that everything in memory is on the disk, also if that happens at a start. The log flushes three
// buffers while their write-ahead logs still exist, and begins a new write-ahead log (4.1). The
// state machine flushes five buffers of half the size (2.5).
inline uint64_t ReserveBytes(uint64_t volume_bytes) {
  constexpr uint64_t kSmallFiles = 4 << 20;
  return 7 * WriteBufferBytes(volume_bytes) + kSmallFiles;
}

// Below LowBytes of free space the member raises an alarm, below FullBytes it takes no writes.
// `configured`: storage.min_free_bytes; 0: the default, a tenth of the volume, at most 1 GiB. On a
// small volume the default is larger, because between the two limits there must be room for what is
// still in memory when the alarm is raised, and for the compactions that free space: in units of
// the state machine's buffer, 5 of them, 32 for a compaction of the first two levels, and 1 more.
inline uint64_t FullBytes(uint64_t low_bytes) { return low_bytes / 4; }
inline uint64_t LowBytes(uint64_t configured, uint64_t volume_bytes) {
  constexpr uint64_t kDefaultMax = uint64_t{1} << 30;
  if (configured != 0) return configured;
  const uint64_t needed = 38 * StateBufferBytes(volume_bytes) / 3 * 4;
  return std::max(std::min(volume_bytes / 10, kDefaultMax), needed);
}

// On a smaller volume the write buffers are smaller than kWriteBufferMax.
inline constexpr uint64_t kVolumeMin = 128 * kWriteBufferMax;

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

// The space of a data directory, for the engines in it. Thread-safe.
class Room {
 public:
  // `low_bytes`: storage.min_free_bytes.
  Room(const std::string& dir, uint64_t low_bytes);

  // The size of the volume when this object was created.
  uint64_t volume_bytes() const { return volume_bytes_; }
  // The free space that a compaction may use. It leaves what flushes and the write-ahead log need,
  // and does not change the member's level to "full".
  uint64_t ForCompactions() const;
  // Gives the space of the reserve to the writes that must not fail. False: there was no reserve.
  bool ReleaseReserve() const;

 private:
  const std::string dir_;
  const uint64_t low_bytes_;
  const Reserve reserve_;
  const uint64_t volume_bytes_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_DISK_SPACE_H_
