#ifndef RAFTKV_SERVER_RAFT_TYPES_H_
#define RAFTKV_SERVER_RAFT_TYPES_H_

// Types of the Raft core that the log store does not need. Entries, terms, indexes and
// configurations are in storage/log/entry.h.

#include <cstdint>
#include <string_view>

#include "storage/log/entry.h"

namespace raftkv::raft {

// What a snapshot covers: all entries up to and including `last`, their chain hash, and the
// configuration that is in force there.
struct SnapshotMeta {
  EntryId last = {};
  Configuration configuration = {};
  uint64_t chain_hash = 0;

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
