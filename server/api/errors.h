#ifndef RAFTKV_SERVER_API_ERRORS_H_
#define RAFTKV_SERVER_API_ERRORS_H_

// The only place that knows etcd's codes and texts for what went wrong. Clients match on the exact
// text (etcd's rpctypes), so these are part of the wire contract. A status from here goes on the
// wire as it is; absl's code numbers are gRPC's.

#include "absl/status/status.h"
#include "server/member/requests.h"

namespace raftkv::api {

// A request that did not reach the state machine.
absl::Status ToWire(Fate fate);

// A verdict of the state machine or of validation: same code, text with etcd's prefix.
absl::Status ToWire(const absl::Status& status);

absl::Status NoLeader();
absl::Status RejectedByPeers();
// A call that arrived after this member was told to stop.
absl::Status Stopping();
absl::Status RequestTooLarge();
absl::Status TooManyRequests();
absl::Status ResponseTooLarge();
// The request needs a cluster version above the one in force.
absl::Status NeedsVersion(ClusterVersion in_force, ClusterVersion needs);

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_ERRORS_H_
