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

// After the first start the log has the members, and the file does not change them: if it names
// others, a warning says what to do. Until the log has them, the file must be as it was.
absl::Status CheckMembers(const Config& given, size_t self, const DataDir& data_dir);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_IDENTITY_H_
