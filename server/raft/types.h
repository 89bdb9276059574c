#ifndef RAFTKV_SERVER_RAFT_TYPES_H_
#define RAFTKV_SERVER_RAFT_TYPES_H_

// Types of the Raft core that the log store does not need: the members of the cluster and a
// member's role. Entries, terms and indexes are in storage/log/entry.h.

#include <cstdint>
#include <string_view>
#include <vector>

#include "storage/log/entry.h"

namespace raftkv::raft {

// The members of the cluster. Both lists are sorted and hold no duplicates; no member is in both.
struct Configuration {
  std::vector<MemberId> voters = {};
  std::vector<MemberId> learners = {};

  friend bool operator==(const Configuration&, const Configuration&) = default;
};

// What a snapshot covers: all entries up to and including `last`.
struct SnapshotMeta {
  EntryId last;
  Configuration configuration;

  friend bool operator==(const SnapshotMeta&, const SnapshotMeta&) = default;
};

enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };

inline std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kFollower:
      return "follower";
    case Role::kPreCandidate:
      return "pre-candidate";
    case Role::kCandidate:
      return "candidate";
    case Role::kLeader:
      return "leader";
  }
  return "unknown";
}

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_TYPES_H_
