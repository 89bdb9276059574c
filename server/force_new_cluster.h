#ifndef RAFTKV_SERVER_FORCE_NEW_CLUSTER_H_
#define RAFTKV_SERVER_FORCE_NEW_CLUSTER_H_

// Recovery when a majority of the members is lost for good (raftkv-server --force-new-cluster).

#include <string>

#include "absl/status/status.h"
#include "config/config.h"
#include "storage/data_dir/data_dir.h"

namespace raftkv {

// Makes the owner of this directory the only member: adds an entry to its log that removes all
// others. Call it before the member starts. It may lose acknowledged writes, namely those that only
// the lost members have. No entry of this log is removed: any of them may have been acknowledged.
// An old member that starts again learns of its removal if it reaches the new cluster. If a
// majority of the old members starts again, they are a second cluster. A member that was removed
// becomes a member again: its directory may be the only one that is left.
//
// `dir` is the path of the directory, `peer_url` where others reach the member.
// FailedPrecondition, one line: this directory cannot continue the cluster.
absl::Status ForceNewCluster(const std::string& dir, const std::string& peer_url,
                             DataDir* data_dir);

// Called before the directory is opened, which would create it. Asks the other members that the
// config file and the stored state name, each for at most a second. FailedPrecondition: the
// directory has no data of a member; or the others have a leader, so they serve, and this member
// would be a second cluster with the same id.
absl::Status MayForceNewCluster(const Config& config, const MemberConfig& self);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_FORCE_NEW_CLUSTER_H_
