#ifndef RAFTKV_SERVER_API_VALIDATE_H_
#define RAFTKV_SERVER_API_VALIDATE_H_

// What can be said about a request without looking at the store: etcd's checks, in etcd's order.
// Texts without the "etcdserver: " prefix.

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"

namespace raftkv::api {

absl::Status Validate(const etcdserverpb::RangeRequest& request);
absl::Status Validate(const etcdserverpb::PutRequest& request);
absl::Status Validate(const etcdserverpb::DeleteRangeRequest& request);

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_VALIDATE_H_
