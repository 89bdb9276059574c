#include "storage/data_dir/start_space.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "storage/base/disk_space.h"
#include "storage/base/files.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

// About how many bytes a start writes: it copies the write-ahead log of the Raft log into a new
// file, and begins new files.
uint64_t BytesOfStart(const std::string& dir) {
  constexpr uint64_t kNewFiles = 8 << 20;
  uint64_t bytes = kNewFiles;
  std::error_code error;
  for (fs::directory_iterator it(dir + "/log", error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() != ".log") continue;
    std::error_code gone;
    const uint64_t size = it->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

absl::Status FullDisk(const std::string& dir, uint64_t free_bytes) {
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%s: the disk is full: the start needs about %d MiB on the volume of this directory, and %d "
      "MiB are free; free space there, or enlarge the volume; nothing is lost",
      dir, BytesOfStart(dir) >> 20, free_bytes >> 20));
}

}  // namespace

absl::Status CheckFileSystem(const std::string& dir, std::vector<std::string>* warnings) {
  struct statfs info;
  if (statfs(dir.c_str(), &info) != 0) return SystemError(dir, "cannot examine", errno);
  switch (static_cast<uint64_t>(info.f_type)) {
    case NFS_SUPER_MAGIC:
      return absl::FailedPreconditionError(
          absl::StrCat(dir, ": is on NFS, which may lose synced data; use a local disk"));
    case TMPFS_MAGIC:
      warnings->push_back(absl::StrCat(dir, ": is on tmpfs: all data is lost at a reboot"));
      break;
    case OVERLAYFS_SUPER_MAGIC:
      warnings->push_back(
          absl::StrCat(dir, ": is on overlayfs: data is lost with the container; use a volume"));
      break;
  }
  return absl::OkStatus();
}

absl::Status CheckSpaceForStart(const std::string& dir, std::vector<std::string>* warnings) {
  absl::StatusOr<DiskSpace> space = ReadDiskSpace(dir);
  if (!space.ok() || space->free_bytes >= BytesOfStart(dir)) return space.status();
  if (Reserve(dir).Release()) {
    warnings->push_back(
        absl::StrCat(dir,
                     ": the disk is full: removed the file RESERVE, so that there is room to "
                     "start"));
    space = ReadDiskSpace(dir);
  }
  if (!space.ok() || space->free_bytes >= BytesOfStart(dir)) return space.status();
  return FullDisk(dir, space->free_bytes);
}

void WarnOfSmallVolume(const std::string& dir, std::optional<uint64_t> min_free_bytes,
                       std::vector<std::string>* warnings) {
  if (!min_free_bytes) return;
  const absl::StatusOr<DiskSpace> space = ReadDiskSpace(dir);
  if (!space.ok()) return;
  const uint64_t volume = space->volume_bytes;
  const uint64_t low = LowBytes(*min_free_bytes, volume), needed = LowBytes(0, volume);
  if (volume < kVolumeMin) {
    warnings->push_back(absl::StrFormat(
        "%s: its volume has only %d MiB, and at least %d MiB are recommended: the log's write "
        "buffers take %d MiB instead of %d MiB, %d MiB are kept for a full disk, and puts are "
        "denied when less than %d MiB are free (storage.min_free_bytes)",
        dir, volume >> 20, kVolumeMin >> 20, WriteBufferBytes(volume) >> 20, kWriteBufferMax >> 20,
        ReserveBytes(volume) >> 20, low >> 20));
  } else if (low < needed / 2) {
    warnings->push_back(absl::StrFormat(
        "%s: storage.min_free_bytes is %d MiB, and %d MiB are recommended on this volume of %d "
        "MiB: when puts are denied, there may be too little space for what is still in memory",
        dir, low >> 20, needed >> 20, volume >> 20));
  }
}

absl::Status ExplainFullDisk(const std::string& dir, const absl::Status& status) {
  if (!absl::IsUnavailable(status) || !absl::StrContains(status.message(), std::strerror(ENOSPC))) {
    return status;
  }
  const absl::StatusOr<DiskSpace> space = ReadDiskSpace(dir);
  return FullDisk(dir, space.ok() ? space->free_bytes : 0);
}

}  // namespace raftkv
