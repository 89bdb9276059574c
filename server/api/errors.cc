#include "server/api/errors.h"

#include <string>

namespace raftkv::api {

namespace {

grpc::Status Unavailable(const char* text) { return {grpc::StatusCode::UNAVAILABLE, text}; }

}  // namespace

grpc::Status NoLeader() { return Unavailable("etcdserver: no leader"); }

// Ours alone: etcd does not notice, and serves an empty store.
grpc::Status RefusedByPeers() {
  return Unavailable(
      "etcdserver: this member lost its data directory and the others refuse it; ask another one");
}

// Not etcd's words, but those of grpc-go's balancer when it has nowhere to send a call: the only
// ones after which etcd's own client library repeats a write by itself, at another member. They
// promise that nothing was sent; ours is as good: nothing was proposed. What was running when the
// signal came promises nothing, and ends with Fate::kStopped.
grpc::Status Stopping() { return Unavailable("there is no connection available"); }

grpc::Status RequestTooLarge() {
  return {grpc::StatusCode::INVALID_ARGUMENT, "etcdserver: request is too large"};
}

grpc::Status TooManyRequests() {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, "etcdserver: too many requests"};
}

// Ours alone: etcd answers whatever the size, and may run out of memory.
grpc::Status ResponseTooLarge() {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED,
          "etcdserver: response is too large; read it in pages, with a limit"};
}

grpc::Status ToGrpc(Fate fate) {
  switch (fate) {
    case Fate::kApplied:
      return grpc::Status::OK;
    case Fate::kTimedOut:
    case Fate::kUnknownTimedOut:
      return Unavailable("etcdserver: request timed out");
    case Fate::kUnknownLeaderLost:
      return Unavailable("etcdserver: request timed out, possibly due to previous leader failure");
    case Fate::kUnknownConnection:
      return Unavailable("etcdserver: request timed out, possibly due to connection lost");
    case Fate::kTooManyRequests:
      return TooManyRequests();
    // Ours alone: in etcd the leader would end.
    case Fate::kNotUnderstood:
      return {
          grpc::StatusCode::UNIMPLEMENTED,
          "etcdserver: the leader does not know this request; bring all members to one version"};
    case Fate::kStoppedUnproposed:
      return Stopping();
    case Fate::kStopped:
      return Unavailable("etcdserver: server stopped");
  }
  return {grpc::StatusCode::INTERNAL, "unknown fate"};
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // The numbers of absl's and gRPC's codes are the same.
  return {static_cast<grpc::StatusCode>(status.code()),
          "etcdserver: " + std::string(status.message())};
}

}  // namespace raftkv::api
