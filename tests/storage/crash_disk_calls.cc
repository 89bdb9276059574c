// Replaces the functions of libc that change files: the dynamic linker finds the program's
// functions first, also for calls by libraries. Each makes the system call; while there is a
// Recording, it also records what changed. Syncs do not reach the disk at all, because a test needs
// no real ones and they take most of its time.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "tests/storage/crash_disk.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

// The absolute path of `path`, which is relative to the open directory `at`.
std::string Absolute(int at, const char* path) {
  if (path[0] == '/') return path;
  if (at == AT_FDCWD) return fs::absolute(path).string();
  char target[4096];
  const ssize_t size =
      readlink(absl::StrCat("/proc/self/fd/", at).c_str(), target, sizeof(target) - 1);
  return size <= 0 ? "" : absl::StrCat(std::string(target, static_cast<size_t>(size)), "/", path);
}

}  // namespace

std::mutex Recording::mutex_;
Recording* Recording::recording_ = nullptr;

Recording::Recording(const std::string& root, std::function<bool(const std::string&)> ignored)
    : root_(root), ignored_(std::move(ignored)), disk_(CrashDisk::Of(root)) {
  const std::lock_guard lock(mutex_);
  CHECK(recording_ == nullptr);
  recording_ = this;
}

Recording::~Recording() { Take(); }

std::vector<Change> Recording::Take() {
  const std::lock_guard lock(mutex_);
  if (recording_ == this) recording_ = nullptr;
  return std::move(changes_);
}

void Recording::Mark(uint64_t number) {
  const std::lock_guard lock(mutex_);
  Add({.kind = Change::Kind::kMark, .offset = number});
}

void Recording::Add(Change change) {
  disk_.Apply(change);
  changes_.push_back(std::move(change));
}

Recording::Place Recording::Find(int at, const char* path) const {
  const fs::path normal = fs::path(Absolute(at, path)).lexically_normal();
  std::string text = normal.string();
  if (text.ends_with('/')) text.pop_back();
  if (text == root_) return {0, "", 0};
  if (!text.starts_with(root_ + "/")) return {};
  const std::string relative = text.substr(root_.size() + 1);
  const fs::path p(relative);
  return {disk_.Find(p.parent_path().string()), p.filename().string(), disk_.Find(relative)};
}

int Recording::Open(int at, const char* path, int flags, unsigned mode) {
  const std::lock_guard lock(mutex_);
  const int fd = static_cast<int>(syscall(SYS_openat, at, path, flags, mode));
  if (fd < 0 || recording_ == nullptr) return fd;
  Recording& r = *recording_;
  r.files_.erase(fd);
  Place place = r.Find(at, path);
  if (place.directory < 0 || IsTextLog(place.name)) return fd;
  if (place.node < 0 && (flags & O_CREAT) != 0) {
    place.node = r.disk_.next_node();
    r.Add({.kind = Change::Kind::kAdd,
           .node = place.directory,
           .target = place.node,
           .name = place.name});
  }
  if ((flags & O_TRUNC) != 0 && r.disk_.size(place.node) > 0) {
    r.Add({.kind = Change::Kind::kTruncate, .node = place.node});
  }
  r.files_[fd] = place.node;
  return fd;
}

int Recording::Close(int fd) {
  const std::lock_guard lock(mutex_);
  if (recording_ != nullptr) recording_->files_.erase(fd);
  return static_cast<int>(syscall(SYS_close, fd));
}

ssize_t Recording::Write(int fd, const void* data, size_t size, int64_t offset) {
  const std::lock_guard lock(mutex_);
  const bool recorded = recording_ != nullptr && recording_->files_.contains(fd);
  int64_t at = offset;
  if (recorded && offset < 0) {
    const bool append = (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND) != 0;
    at = append ? static_cast<int64_t>(recording_->disk_.size(recording_->files_[fd]))
                : syscall(SYS_lseek, fd, 0, SEEK_CUR);
  }
  const ssize_t written = offset < 0 ? syscall(SYS_write, fd, data, size)
                                     : syscall(SYS_pwrite64, fd, data, size, offset);
  if (recorded && written > 0) {
    recording_->Add(
        {.kind = Change::Kind::kWrite,
         .node = recording_->files_[fd],
         .offset = static_cast<uint64_t>(at),
         .data = std::string(static_cast<const char*>(data), static_cast<size_t>(written))});
  }
  return written;
}

int Recording::Truncate(int fd, const char* path, int64_t size) {
  const std::lock_guard lock(mutex_);
  const int result = static_cast<int>(path != nullptr ? syscall(SYS_truncate, path, size)
                                                      : syscall(SYS_ftruncate, fd, size));
  if (result != 0 || recording_ == nullptr) return result;
  Recording& r = *recording_;
  const Node node = path != nullptr         ? r.Find(AT_FDCWD, path).node
                    : r.files_.contains(fd) ? r.files_[fd]
                                            : -1;
  if (node >= 0 && r.disk_.size(node) != static_cast<uint64_t>(size)) {
    r.Add({.kind = Change::Kind::kTruncate, .node = node, .offset = static_cast<uint64_t>(size)});
  }
  return result;
}

int Recording::Sync(int fd) {
  const std::lock_guard lock(mutex_);
  if (syscall(SYS_fcntl, fd, F_GETFD) < 0) return -1;
  if (recording_ == nullptr || !recording_->files_.contains(fd)) return 0;
  Recording& r = *recording_;
  const Node node = r.files_[fd];
  const std::string name = r.disk_.name(node) + (r.disk_.is_directory(node) ? "/" : "");
  if (r.ignored_ && r.ignored_(name)) return 0;
  r.Add({.kind = Change::Kind::kSync, .node = node});
  return 0;
}

int Recording::Rename(const char* from, const char* to, unsigned flags) {
  const std::lock_guard lock(mutex_);
  const int result = static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags));
  if (result != 0 || recording_ == nullptr) return result;
  const Place source = recording_->Find(AT_FDCWD, from);
  const Place target = recording_->Find(AT_FDCWD, to);
  if (source.node < 0) return result;
  CHECK_EQ(source.directory, target.directory) << from << " " << to << ": not supported";
  recording_->Add({.kind = flags == 0 ? Change::Kind::kRename : Change::Kind::kExchange,
                   .node = source.directory,
                   .name = source.name,
                   .other = target.name});
  return result;
}

int Recording::Link(const char* from, const char* to) {
  const std::lock_guard lock(mutex_);
  const int result = static_cast<int>(syscall(SYS_link, from, to));
  if (result != 0 || recording_ == nullptr) return result;
  const Place source = recording_->Find(AT_FDCWD, from);
  const Place target = recording_->Find(AT_FDCWD, to);
  if (target.directory < 0) return result;
  CHECK_GE(source.node, 0) << from << ": linked from outside";
  recording_->Add({.kind = Change::Kind::kAdd,
                   .node = target.directory,
                   .target = source.node,
                   .name = target.name});
  return result;
}

int Recording::Unlink(int at, const char* path, int flags) {
  const std::lock_guard lock(mutex_);
  const Place place = recording_ == nullptr ? Place() : recording_->Find(at, path);
  const int result = static_cast<int>(syscall(SYS_unlinkat, at, path, flags));
  if (result == 0 && recording_ != nullptr && place.node >= 0) {
    recording_->Add({.kind = Change::Kind::kRemove, .node = place.directory, .name = place.name});
  }
  return result;
}

int Recording::MakeDirectory(const char* path, unsigned mode) {
  const std::lock_guard lock(mutex_);
  const int result = static_cast<int>(syscall(SYS_mkdir, path, mode));
  if (result != 0 || recording_ == nullptr) return result;
  const Place place = recording_->Find(AT_FDCWD, path);
  if (place.directory < 0) return result;
  recording_->Add({.kind = Change::Kind::kAdd,
                   .node = place.directory,
                   .target = recording_->disk_.next_node(),
                   .directory = true,
                   .name = place.name});
  return result;
}

}  // namespace raftkv

using raftkv::Recording;

#pragma GCC diagnostic ignored "-Wattributes"

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const unsigned mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, unsigned) : 0;
  va_end(rest);
  return Recording::Open(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const unsigned mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, unsigned) : 0;
  va_end(rest);
  return Recording::Open(at, path, flags, mode);
}
int close(int fd) { return Recording::Close(fd); }
ssize_t write(int fd, const void* data, size_t size) {
  return Recording::Write(fd, data, size, -1);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return Recording::Write(fd, data, size, offset);
}
ssize_t writev(int fd, const iovec* parts, int count) {
  ssize_t sum = 0;
  for (int i = 0; i < count; ++i) {
    const ssize_t written = Recording::Write(fd, parts[i].iov_base, parts[i].iov_len, -1);
    if (written < 0) return sum > 0 ? sum : written;
    sum += written;
    if (written < static_cast<ssize_t>(parts[i].iov_len)) break;
  }
  return sum;
}
ssize_t sendfile(int out, int in, off_t* offset, size_t count) {
  char data[65536];
  const size_t size = std::min(count, sizeof(data));
  const ssize_t got = offset != nullptr ? syscall(SYS_pread64, in, data, size, *offset)
                                        : syscall(SYS_read, in, data, size);
  if (got <= 0) return got;
  if (offset != nullptr) *offset += got;
  return Recording::Write(out, data, static_cast<size_t>(got), -1);
}
int ftruncate(int fd, off_t size) { return Recording::Truncate(fd, nullptr, size); }
int truncate(const char* path, off_t size) { return Recording::Truncate(-1, path, size); }
int fsync(int fd) { return Recording::Sync(fd); }
int fdatasync(int fd) { return Recording::Sync(fd); }
int sync_file_range(int, off64_t, off64_t, unsigned) { return 0; }
int rename(const char* from, const char* to) { return Recording::Rename(from, to, 0); }
int renameat2(int, const char* from, int, const char* to, unsigned flags) {
  return Recording::Rename(from, to, flags);
}
int link(const char* from, const char* to) { return Recording::Link(from, to); }
int unlink(const char* path) { return Recording::Unlink(AT_FDCWD, path, 0); }
int unlinkat(int at, const char* path, int flags) { return Recording::Unlink(at, path, flags); }
int rmdir(const char* path) { return Recording::Unlink(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char* path) {
  const int result = unlink(path);
  return result == 0 || errno != EISDIR ? result : rmdir(path);
}
int mkdir(const char* path, mode_t mode) { return Recording::MakeDirectory(path, mode); }

}  // extern "C"
