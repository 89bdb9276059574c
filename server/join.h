#ifndef RAFTKV_SERVER_JOIN_H_
#define RAFTKV_SERVER_JOIN_H_

// How a new member learns its id and the cluster's: it asks the members that the config file names.
// They know its peer URL from `member add`.

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "config/config.h"

namespace raftkv {

struct JoinedCluster {
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  std::map<uint64_t, std::string> names;  // of the members that have published theirs, by id
};

// Asks the other members of the file at their client URLs, for about half a minute. Errors are one
// line: FailedPrecondition says what the operator has to do first, DeadlineExceeded that no member
// answered.
absl::StatusOr<JoinedCluster> AskCluster(const Config& config, const MemberConfig& self);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_JOIN_H_
