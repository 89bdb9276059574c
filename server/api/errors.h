#ifndef RAFTKV_SERVER_API_ERRORS_H_
#define RAFTKV_SERVER_API_ERRORS_H_

// The only place that knows etcd's gRPC codes and texts for what went wrong. Clients match on the
// exact text (docs: etcd's rpctypes), so these are part of the wire contract.

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "server/member/replica.h"

namespace raftkv::api {

// A request that did not reach the state machine.
grpc::Status ToGrpc(Fate fate);

// A verdict of the state machine or of validation: same code, text with etcd's prefix.
grpc::Status ToGrpc(const absl::Status& status);

grpc::Status NoLeader();
grpc::Status RefusedByPeers();
// A call that arrived after this member was told to stop.
grpc::Status Stopping();
grpc::Status RequestTooLarge();
grpc::Status TooManyRequests();
grpc::Status ResponseTooLarge();

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_ERRORS_H_
