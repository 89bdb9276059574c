#ifndef RAFTKV_PROTO_ETCD_METADATA_H_
#define RAFTKV_PROTO_ETCD_METADATA_H_

// The keys of the metadata of requests that a raftkv server reads. All others are dropped.

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

namespace raftkv {

inline constexpr std::string_view kHasLeaderKey = "hasleader";
// A write with these belongs to a session (docs/compatibility.md). The values are decimal numbers:
// the id of the session's lease, the number of the write in its session, and the number up to which
// the client has all answers.
inline constexpr std::string_view kSessionKey = "raftkv-session";
inline constexpr std::string_view kSeqKey = "raftkv-seq";
inline constexpr std::string_view kAckedKey = "raftkv-acked";

inline bool IsKnownMetadata(std::string_view key) {
  constexpr std::array<std::string_view, 4> kAll = {kHasLeaderKey, kSessionKey, kSeqKey, kAckedKey};
  return std::find(kAll.begin(), kAll.end(), key) != kAll.end();
}

// The cluster version from which on all members know them (storage/rules/version.h).
inline constexpr uint64_t kSessionsClusterVersion = 4;

// The status of a write whose session does not exist. Whatever was sent before, the write will not
// be applied after this.
inline constexpr char kSessionExpired[] = "session expired";

}  // namespace raftkv

#endif  // RAFTKV_PROTO_ETCD_METADATA_H_
