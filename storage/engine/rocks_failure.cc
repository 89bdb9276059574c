#include "storage/engine/rocks_failure.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "storage/base/exit_code.h"

namespace raftkv {
namespace {

std::string NoteOfDamage(const std::string& dir) { return absl::StrCat(dir, "/DAMAGED"); }

}  // namespace

void StopOnFailure(const std::string& dir, const char* what, const rocksdb::Status& status) {
  LOG(ERROR) << dir << ": " << what << " failed: " << status.ToString()
             << (status.IsNoSpace()
                     ? "; stopping, because the disk is full: nothing that was acknowledged is "
                       "lost; free space on this volume and start again"
                     : "; stopping, because data on a failing disk cannot be trusted");
  google::FlushLogFiles(google::INFO);
  std::abort();
}

void StopOnDamage(const std::string& dir, const rocksdb::Status& status, bool note) {
  const std::string path = NoteOfDamage(dir);
  const int fd = note ? open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600) : -1;
  if (fd >= 0) {
    const std::string text = status.ToString() + "\n";
    (void)!write(fd, text.data(), text.size());
    fsync(fd);
    close(fd);
  }
  LOG(ERROR) << dir << ": damaged: " << status.ToString()
             << "; start this member again: the start repairs the damage, or says what to do";
  google::FlushLogFiles(google::INFO);
  _exit(kExitDamaged);
}

absl::Status OpenError(const std::string& dir, const rocksdb::Status& status) {
  const std::string text = absl::StrCat(dir, ": ", status.ToString());
  if (status.IsIOError() && status.ToString().find("lock") != std::string::npos) {
    return absl::FailedPreconditionError(absl::StrCat(text, "; another process uses it"));
  }
  if (status.IsIOError() && status.subcode() != rocksdb::Status::kPathNotFound) {
    return absl::UnavailableError(text);
  }
  return absl::DataLossError(text);
}

absl::Status CheckNotNotedDamaged(const std::string& dir) {
  const std::string path = NoteOfDamage(dir);
  if (access(path.c_str(), F_OK) != 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": damage was found while the member ran"));
}

}  // namespace raftkv
