// A library that makes the disk of a member stall or fail. It is loaded with LD_PRELOAD. The
// content of the file that RAFTKV_FSYNC_SHIM names controls each sync:
//   hang   it does not return until the content changes
//   eio    it fails with EIO
// With any other content, or without the file, the sync is real.
//
// The library makes only system calls, because it runs inside a process that is not written for it.

#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace {

bool ShimSays(const char* word) {
  const char* path = std::getenv("RAFTKV_FSYNC_SHIM");
  const int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char content[16] = {};
  const ssize_t length = read(fd, content, sizeof(content) - 1);
  close(fd);
  return length > 0 && std::strncmp(content, word, std::strlen(word)) == 0;
}

int Sync(long number, int fd, off64_t offset = 0, off64_t length = 0, unsigned flags = 0) {
  const timespec moment = {.tv_sec = 0, .tv_nsec = 5 * 1000 * 1000};
  while (ShimSays("hang")) nanosleep(&moment, nullptr);
  if (ShimSays("eio")) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(number, fd, offset, length, flags));
}

}  // namespace

extern "C" {

int fsync(int fd) { return Sync(SYS_fsync, fd); }

int fdatasync(int fd) { return Sync(SYS_fdatasync, fd); }

int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
  return Sync(SYS_sync_file_range, fd, offset, length, flags);
}

}  // extern "C"
