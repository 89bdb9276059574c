#include "storage/base/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace raftkv {

namespace fs = std::filesystem;

namespace {
constexpr size_t kBytesMax = 1 << 20;
}  // namespace

absl::Status SystemError(const std::string& path, const char* what, int error) {
  const std::string text = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  return error == EACCES || error == EPERM || error == EROFS ? absl::PermissionDeniedError(text)
                                                             : absl::UnavailableError(text);
}

absl::Status WithPath(const std::string& path, const absl::Status& error) {
  if (error.message().find(path) != absl::string_view::npos) return error;
  return absl::Status(error.code(), absl::StrCat(path, ": ", error.message()));
}

absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) return SystemError(dir, "cannot list", error.value());
  return names;
}

absl::Status SyncDirectory(const std::string& dir) {
  const int fd = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(dir, "cannot open", errno);
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : SystemError(dir, "cannot sync", error);
}

absl::Status WriteFile(const std::string& dir, const std::string& name, std::string_view text) {
  const std::string path = dir + "/" + name;
  if (text.size() >= kBytesMax) return SystemError(path, "cannot write", EFBIG);
  const std::string temporary = path + ".tmp";
  const int fd = open(temporary.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError(temporary, "cannot create", errno);
  const bool written =
      write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
  const int error = errno;
  if (close(fd) != 0 || !written) return SystemError(temporary, "cannot write", error);
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return SystemError(path, "cannot rename", errno);
  }
  return SyncDirectory(dir);
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return std::string();
    return SystemError(path, "cannot open", errno);
  }
  std::string text(kBytesMax, '\0');
  const ssize_t size = read(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (size < 0) return SystemError(path, "cannot read", error);
  text.resize(static_cast<size_t>(size));
  return text;
}

absl::Status SyncTree(const std::string& dir) {
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(dir);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::string path = dir + "/" + name;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return SystemError(path, "cannot open", errno);
    const bool synced = fsync(fd) == 0;
    const int error = errno;
    close(fd);
    if (!synced) return SystemError(path, "cannot sync", error);
  }
  return SyncDirectory(dir);
}

}  // namespace raftkv
