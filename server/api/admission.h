#ifndef RAFTKV_SERVER_API_ADMISSION_H_
#define RAFTKV_SERVER_API_ADMISSION_H_

// Whether a member serves a call now, from what the call needs and what the member is able to do.
// Edge::Admit collects the facts.

#include <cstddef>

#include "absl/status/status.h"
#include "server/api/errors.h"
#include "server/rpc/method.h"

namespace raftkv::api {

// Above this number of bytes of answers that were made and not sent yet, new calls get "too many
// requests".
inline constexpr size_t kUnsentBytesMax = 1 << 30;

struct Standing {
  bool stopping = false;
  size_t unsent_bytes = 0;  // of answers
  bool rejected_by_peers = false;
  bool halted = false;
  bool out_of_space = false;  // takes no entries, so it would never learn the outcome of a write
  bool learner = false;
  // There is no leader, and the call has the metadata `hasleader`: etcd's clients then ask for an
  // error at once.
  bool lacks_leader = false;
};

// Returns why a call that needs `permission` is not admitted, or OK.
inline absl::Status WhyNot(Permission permission, const Standing& standing) {
  if (standing.stopping) return Stopping();
  if (permission == Permission::kNone || permission == Permission::kMaintainSelf) {
    return absl::OkStatus();
  }
  if (standing.unsent_bytes > kUnsentBytesMax) return TooManyRequests();
  // The local state may lack acknowledged writes.
  if (standing.rejected_by_peers) return RejectedByPeers();
  if (standing.halted) return HasHalted();
  if (standing.out_of_space && permission != Permission::kReadSelf) return OutOfSpace();
  if (standing.learner && permission != Permission::kReadSelf) return NotForLearners();
  return standing.lacks_leader ? NoLeader() : absl::OkStatus();
}

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_ADMISSION_H_
