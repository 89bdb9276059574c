#ifndef RAFTKV_STORAGE_DATA_DIR_DATA_DIR_H_
#define RAFTKV_STORAGE_DATA_DIR_DATA_DIR_H_

// A member's data directory. Opening it checks that it belongs to this member, that no other
// process uses it, and that its contents are intact. The server opens it before anything else and
// closes it last.
//
//   LOCK          locked by the process that uses the directory; holds its process id
//   IDENTITY      format version, cluster, member, and store id: 16 random bytes, chosen when the
//                 file is created
//   INITIALIZED   exists once everything below has been created; from then on a missing file is
//                 damage and is not created again
//   RESTORING     exists while a restore of a backup writes the directory (restore.h). No member
//                 uses it then.
//   REMOVED       exists once the member has learnt that it was removed from the cluster, from its
//                 log or from another member (removal.h). The member does not start then, except
//                 with --force-new-cluster.
//   log/          the Raft log (log_store.h) and its WATERMARK
//   RESERVE       takes up space that a full disk gives back (disk_space.h)
//   sm/           the state machine (state_machine.h), or sm-*/ if CURRENT names it (state_dirs.h)
//   log.salvage/  a copy of a damaged log while it is repaired, then the damaged log, until it is
//                 removed; the log is replaced only when nothing else prevents the start. A
//                 leftover of a crash is removed at the next start
//
// A directory that has neither IDENTITY nor INITIALIZED must be empty, except for lost+found and
// for files that an interrupted first start left.
//
// OpenDataDir fails unless the log is intact, reaches its watermark, and contains the entry that
// the state machine applied last. Some kinds of damage are no error:
//   - A damaged state machine is deleted and rebuilt from the log, if the log starts at entry 1.
//   - If the log has lost its end, the member starts, does not vote, and gets the missing entries
//     from the leader (docs/decisions/0022). If the member is the only voter, that is an error,
//     unless the state machine has all entries up to the watermark.
//   - If the log ends in garbage, as a power loss may leave it, the garbage is removed. If what is
//     left does not reach the watermark, the log has lost its end (above).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/data_dir/identity.h"
#include "storage/data_dir/state_dirs.h"
#include "storage/log/log_store.h"
#include "storage/state_machine.h"

namespace raftkv {

// While this file exists, a restore has not finished.
inline constexpr char kRestoringFile[] = "RESTORING";

struct DataDirOptions {
  std::string dir;
  uint64_t cluster_id = 0;
  std::string cluster_name;
  raft::MemberId member_id = raft::kNobody;
  std::string member_name;
  bool joins = false;            // at its first start: the cluster existed before this member
  bool even_if_removed = false;  // the member was removed, and the caller makes it a member again
  // The config file names other members. Used while the state machine does not know the members.
  bool has_peers = false;
  // A restore creates the directory: the state machine is there, and contains the base.
  std::optional<RestoredFrom> restored = std::nullopt;
  // storage.min_free_bytes: when the disk is full, the engines wait for space (disk_space.h). None:
  // a full disk is an error, as in a restore.
  std::optional<uint64_t> min_free_bytes = std::nullopt;
  size_t cache_bytes = 64 << 20;                   // RocksDB block cache of the state machine
  ClusterVersion newest_version = kNewestVersion;  // the newest one that this program knows
};

// The identity of the member that uses the directory. None: it has not been used.
absl::StatusOr<std::optional<Identity>> ReadIdentity(const std::string& dir);

// Holds the lock on a directory until it is destroyed.
class DirLock {
 public:
  // `path`: of the file that is locked, open as `fd`.
  DirLock(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~DirLock();
  DirLock(const DirLock&) = delete;
  DirLock& operator=(const DirLock&) = delete;

  // False: the directory was removed, moved or replaced since it was locked. So the next start
  // would not find data that is written now. From any thread; may wait for the disk.
  bool InPlace() const;

 private:
  const int fd_;
  const std::string path_;
};

struct DataDir {
  std::unique_ptr<DirLock> lock;  // first, so that it is released last
  Identity identity;
  bool is_new = false;  // created by this start
  std::unique_ptr<LogStore> log;
  std::unique_ptr<StateDirs> states;
  std::unique_ptr<StateMachine> state;
  std::vector<std::string> warnings;  // one line each; the caller logs them
};

// Each error is one line: which file, what is wrong, what to do.
//   DataLoss: the data is damaged; exit code 66.
//   FailedPrecondition: the directory is in use, belongs to another member, cluster or program, has
//     a newer format, or is on NFS; exit code 2.
//   Unavailable, PermissionDenied: a system call failed; exit code 2.
//   ResourceExhausted: the disk is full; exit code 1.
absl::StatusOr<DataDir> OpenDataDir(const DataDirOptions& options);

// Creates the directory, if it does not exist, and locks it. FailedPrecondition: another process
// uses it, or it is neither empty nor a data directory, or it is on NFS.
absl::StatusOr<std::unique_ptr<DirLock>> LockDataDir(const std::string& dir,
                                                     std::vector<std::string>* warnings);
// OpenDataDir of a directory that the caller has locked.
absl::StatusOr<DataDir> OpenLockedDataDir(const DataDirOptions& options,
                                          std::unique_ptr<DirLock> lock);

// What CheckDataDir has found.
struct DataDirCheck {
  std::string text;                   // one line about the directory
  std::vector<std::string> warnings;  // that OpenDataDir would give
  // None: the directory has not been used.
  std::optional<Identity> identity;
  Members members;                        // of the stored state. None are known: it has none yet
  std::optional<raft::Index> last_index;  // of the log. None: it was not read
};

// Says what OpenDataDir would say, without changing anything; but if the directory does not exist,
// it is created and removed again, to check that it can be created. Reads the whole log, as
// OpenDataDir does. If a running member uses the directory, or its first start did not end, the log
// is not read, and `text` says so. Returns the error that OpenDataDir would return, except that of
// a full disk.
absl::StatusOr<DataDirCheck> CheckDataDir(const DataDirOptions& options);

// The members of the cluster, as the state on the disk has them. None are known if the state cannot
// be read, or if it has none yet: the log may have them. Changes nothing.
Members ReadMembers(const std::string& dir);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_DATA_DIR_H_
