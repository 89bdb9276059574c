#ifndef RAFTKV_STORAGE_DATA_DIR_RESTORE_H_
#define RAFTKV_STORAGE_DATA_DIR_RESTORE_H_

// Restores a backup into a new data directory: that of one member of a new cluster
// (docs/decisions/0015). Each member of the new cluster restores the same file with the same
// options, without talking to the others.
//
// The restored state is what the state machine has after it has applied a few entries more than the
// backup contains: the members of the new cluster, and what the options ask for. These entries are
// the same on every member, and so are the states. The log of each member begins after them.
//
// The file RESTORING marks the directory until everything in it is durable. No member starts with a
// marked directory, and a repeated restore begins it anew.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/backup/backup_file.h"
#include "storage/data_dir/data_dir.h"

namespace raftkv {

struct RestoreOptions {
  // Raises the revision by this number and compacts the store at the new revision, so that clients
  // which knew later revisions of the old cluster than the backup has notice the restore. 0: no.
  int64_t bump_revision = 0;
  // All members of the new cluster, with ids, names and URLs.
  std::vector<etcdserverpb::Member> members;
  BackupReader::OnProgress on_progress = {};
};

// The token of the new cluster (RestoredFrom): equal for all members that restore the same file
// with the same options, and different from that of every other restore.
std::string RestoreToken(const BackupReader& backup, int64_t bump_revision);

struct Restored {
  Revision revision = 0;
  int64_t keys = 0;
};

// Restores into dir.dir. The ids in `dir` must be derived with the token. Errors are one line:
// DataLoss: the backup is damaged. FailedPrecondition: the directory is not empty or in use, or the
// backup needs a newer raftkv-server. InvalidArgument: bump_revision is too large. Others: the
// disk.
absl::StatusOr<Restored> RestoreDataDir(BackupReader* backup, const DataDirOptions& dir,
                                        const RestoreOptions& options);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_RESTORE_H_
