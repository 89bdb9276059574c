// One endpoint of the cluster and the connection to it. Owned by Client, used by many threads.
//
// Connect() answers only with a connection that is up, so that a failure to connect is known to
// have sent nothing. A connection that failed is dropped and made anew by the next call, which
// therefore never waits out gRPC's own backoff.
#ifndef RAFTKV_CLIENT_ENDPOINT_H_
#define RAFTKV_CLIENT_ENDPOINT_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {

struct Connection {
  explicit Connection(std::string address);

  const std::string address;  // host:port
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<etcdserverpb::KV::Stub> kv;
  std::unique_ptr<etcdserverpb::Cluster::Stub> cluster;
  std::unique_ptr<etcdserverpb::Maintenance::Stub> maintenance;
};

class Endpoint {
 public:
  explicit Endpoint(std::string address) : address_(std::move(address)) {}

  const std::string& address() const { return address_; }  // host:port
  // A connection that is up, or nullptr if there is none by `deadline`.
  std::shared_ptr<Connection> Connect(absl::Time deadline);

 private:
  absl::Duration Touch();  // how long ago the last call was
  std::shared_ptr<Connection> Current();
  void Drop(const std::shared_ptr<Connection>& connection);

  const std::string address_;
  absl::Mutex mutex_;
  std::shared_ptr<Connection> connection_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_used_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

// "host:port", also with "http://" before it, to "host:port". InvalidArgument otherwise.
absl::StatusOr<std::string> ParseEndpoint(absl::string_view text);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_ENDPOINT_H_
