#ifndef RAFTKV_SERVER_IDENTITY_H_
#define RAFTKV_SERVER_IDENTITY_H_

// Who this member is at a start, and whether the config file agrees with the cluster's log. Used by
// Server::Start.

#include <cstddef>

#include "absl/status/statusor.h"
#include "config/config.h"
#include "storage/data_dir.h"

namespace raftkv {

// Sets the ids of the cluster and of this member: those of the data directory; if it is new and
// `join`, those that a running cluster tells (join.h); else those that follow from the file.
// Returns whether the member joined a running cluster, at this start or at an earlier one.
absl::StatusOr<bool> SetIds(Config* config, MemberConfig* self, bool join);

// Compares the config file with the members in the log. If the file names others, a warning says
// what to do. An error: the log has no members yet, and the file is not that of the first start.
absl::Status CheckMembers(const Config& given, size_t self, const DataDir& data_dir);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_IDENTITY_H_
