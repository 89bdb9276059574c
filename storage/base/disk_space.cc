#include "storage/base/disk_space.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "glog/logging.h"
#include "storage/base/files.h"

namespace raftkv {

absl::StatusOr<DiskSpace> ReadDiskSpace(const std::string& dir) {
  struct statvfs info;
  if (statvfs(dir.c_str(), &info) != 0) return SystemError(dir, "cannot examine", errno);
  return DiskSpace{.volume_bytes = uint64_t{info.f_blocks} * info.f_frsize,
                   .free_bytes = uint64_t{info.f_bavail} * info.f_frsize};
}

uint64_t Reserve::bytes() const {
  struct stat info;
  return stat(path_.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

// posix_fallocate takes the space before it sets the size, so a file of the right size is complete.
absl::Status Reserve::Create(uint64_t bytes) const {
  const int fd = open(path_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError(path_, "cannot create", errno);
  const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  close(fd);
  if (error == 0) return absl::OkStatus();
  unlink(path_.c_str());
  return SystemError(path_, "cannot take up space", error);
}

bool Reserve::Release() const { return unlink(path_.c_str()) == 0; }

Room::Room(const std::string& dir, uint64_t low_bytes)
    : dir_(dir),
      low_bytes_(low_bytes),
      reserve_(dir),
      volume_bytes_(ReadDiskSpace(dir).value_or(DiskSpace()).volume_bytes) {}

uint64_t Room::ForCompactions() const {
  const absl::StatusOr<DiskSpace> space = ReadDiskSpace(dir_);
  if (!space.ok()) return 0;
  const uint64_t wanted = ReserveBytes(space->volume_bytes), held = reserve_.bytes();
  const uint64_t kept =
      wanted - std::min(wanted, held) + FullBytes(LowBytes(low_bytes_, space->volume_bytes));
  return space->free_bytes - std::min(space->free_bytes, kept);
}

bool Room::ReleaseReserve() const {
  if (!reserve_.Release()) return false;
  LOG(WARNING) << dir_ << ": the disk is full: removed the file RESERVE, so that there is room to "
               << "write what is in memory";
  return true;
}

}  // namespace raftkv
