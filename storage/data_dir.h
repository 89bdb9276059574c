#ifndef RAFTKV_STORAGE_DATA_DIR_H_
#define RAFTKV_STORAGE_DATA_DIR_H_

// A member's data directory: whose it is, that only one process uses it, and that what is in it can
// be trusted. The server opens it first of all and closes it last.
//
//   LOCK         held by the process that uses the directory; names it
//   IDENTITY     format version, cluster, member, store id (16 random bytes, minted with it)
//   INITIALIZED  everything below was once there: from now on nothing missing is created
//   log/         the Raft log (log_store.h) and its WATERMARK
//   sm/          the state machine (state_machine.h)
//   log.salvage/ a copy of a damaged log while it is being repaired, else removed at the next start
//
// A directory without an identity must be empty, but for lost+found.
//
// Recovery (storage rule 8) demands that the log is whole and reaches its watermark, and that the
// state machine's applied entry is one that the log holds. A damaged state machine is rebuilt by
// replaying the log, as long as the log starts at 1. A log whose end is garbage, as after a power
// loss, is salvaged if what is before the garbage still reaches the watermark (rule 13).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/log/entry.h"
#include "storage/log/log_store.h"
#include "storage/state_machine.h"

namespace raftkv {

struct DataDirOptions {
  std::string dir;
  uint64_t cluster_id = 0;
  std::string cluster_name;
  raft::MemberId member_id = raft::kNobody;
  std::string member_name;
  size_t cache_bytes = 64 << 20;                   // of the state machine
  ClusterVersion newest_version = kNewestVersion;  // that this program knows
};

struct Identity {
  uint64_t cluster_id = 0;
  std::string cluster_name;
  raft::MemberId member_id = raft::kNobody;
  std::string member_name;
  std::string store_id;  // 16 bytes
};

// Keeps the lock of a directory.
class DirLock {
 public:
  explicit DirLock(int fd) : fd_(fd) {}
  ~DirLock();
  DirLock(const DirLock&) = delete;
  DirLock& operator=(const DirLock&) = delete;

 private:
  const int fd_;
};

struct DataDir {
  std::unique_ptr<DirLock> lock;  // released last
  Identity identity;
  std::unique_ptr<LogStore> log;
  std::unique_ptr<StateMachine> state;
  std::vector<std::string> warnings;  // one line each, for the log
};

// Each error is one line: which file, what is wrong, what to do. DataLoss: damaged (exit code 66).
// FailedPrecondition (in use, another cluster's or member's, another program's, another format,
// NFS), Unavailable and
// PermissionDenied (the system refuses): exit code 2.
absl::StatusOr<DataDir> OpenDataDir(const DataDirOptions& options);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_H_
