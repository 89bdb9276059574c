#ifndef RAFTKV_SERVER_IDENTITY_H_
#define RAFTKV_SERVER_IDENTITY_H_

// Who this member is at a start, and whether the config file agrees with the cluster's log. Used by
// Server::Start.

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "config/config.h"
#include "storage/data_dir/data_dir.h"

namespace raftkv {

// Sets the ids of the cluster and of this member: those of the data directory; if it is new and
// `join`, those that a running cluster tells (join.h); else those that follow from the file.
// Returns whether the member joined a running cluster, at this start or at an earlier one.
absl::StatusOr<bool> SetIds(Config* config, MemberConfig* self, bool join);

// After the first start the log has the members, and the file does not change them. These lines say
// which members of the file differ from those in the log, in what, and which command to use instead
// of editing the file. `id`: of this member, number `self` of the file.
std::vector<std::string> Differences(const Config& given, size_t self, raft::MemberId id,
                                     const Members& members);

// The same for a cluster whose log does not have the members yet. Then only ids can be compared,
// which are derived from the peer URLs of the first start (config.h).
std::string WhatWasEdited(const Config& given, size_t self, const Identity& identity);

// What a start finds in the data directory of this member.
struct KnownMembers {
  const std::string& dir;  // absolute
  const Identity& identity;
  const Members& members;  // of the stored state
  // The last index of the log. None: the log was not read, because a running member uses it.
  std::optional<raft::Index> last_index;
};

// Compares the config file with the data directory of member number `self`. Appends the
// differences to `warnings`. An error if the file was edited before the log had the members, or
// between a restore and the first start. If the log was not read, such an error is a warning.
// Called by a start and by --check-config.
absl::Status CheckMembers(const Config& given, size_t self, const KnownMembers& known,
                          std::vector<std::string>* warnings);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_IDENTITY_H_
