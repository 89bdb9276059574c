#ifndef RAFTKV_SERVER_API_ERRORS_H_
#define RAFTKV_SERVER_API_ERRORS_H_

// etcd's error codes and texts; those of the ports' own limits are in server/port. Clients compare
// the exact text (etcd's rpctypes), so the texts are part of the API. A status from here goes on
// the wire as it is; absl's code numbers are gRPC's.

#include "absl/status/status.h"
#include "server/member/requests.h"

namespace raftkv::api {

// For a request that was not applied. OK for kApplied.
absl::Status ToWire(Fate fate);
// The same for a read: when the member stops, it ends with etcd's own text.
absl::Status ReadToWire(Fate fate);

// For a verdict of the state machine or an error of validation. Keeps the code, and puts etcd's
// prefix in front of the text.
absl::Status ToWire(const absl::Status& status);

absl::Status NoLeader();
absl::Status RejectedByPeers();
// This member has halted (server/member/fault.h).
absl::Status HasHalted();
absl::Status NotForLearners();
// What Status reports for a member whose disk is full (server/member/space.h).
absl::Status OutOfSpace();
// For a call that arrived after this member was told to stop.
absl::Status Stopping();
// The transfer was given up, or is not known to have ended before the deadline.
absl::Status TransferTimedOut();
absl::Status RequestTooLarge();
absl::Status ResponseTooLarge();
// The request needs a cluster version above the one in force.
absl::Status NeedsVersion(ClusterVersion in_force, ClusterVersion needs);

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_ERRORS_H_
