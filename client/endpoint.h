// One endpoint of the cluster and the connection to it. Owned by Client, used by many threads. A
// Dial is one call's attempt to get that connection; several may be under way side by side.
//
// A Dial answers only with a connection that is up, so that a failure to connect is known to have
// sent nothing. Up means that the server's HTTP/2 settings have arrived: the kernel takes
// connections for a stopped process, but says nothing. A connection that failed, or that was not up
// when it was no longer wanted, is dropped and made anew by the next call, which therefore never
// waits out gRPC's own backoff.
#ifndef RAFTKV_CLIENT_ENDPOINT_H_
#define RAFTKV_CLIENT_ENDPOINT_H_

#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>

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
  std::unique_ptr<etcdserverpb::KV::Stub> kv;  // the load generator's
};

class Endpoint {
 public:
  explicit Endpoint(std::string address) : address_(std::move(address)) {}

  const std::string& address() const { return address_; }  // host:port

 private:
  friend class Dial;

  absl::Duration Touch();  // how long ago the last call was
  std::shared_ptr<Connection> Current();
  void Drop(const std::shared_ptr<Connection>& connection);

  const std::string address_;
  absl::Mutex mutex_;
  std::shared_ptr<Connection> connection_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_used_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

// Used by one thread. Look(); while it says kWaiting: Watch(), wait for the event, Look() again.
class Dial {
 public:
  enum class Progress { kUp, kWaiting, kFailed };

  // Fails at `deadline` at the latest. `endpoint` outlives this.
  Dial(Endpoint* endpoint, absl::Time deadline);
  ~Dial();
  Dial(const Dial&) = delete;
  Dial& operator=(const Dial&) = delete;

  Progress Look();
  // Puts an event on `queue` when there is news, or else in some milliseconds.
  void Watch(grpc::CompletionQueue* queue, void* tag);
  // Once it is up.
  const std::shared_ptr<Connection>& connection() const { return connection_; }

 private:
  Endpoint* const endpoint_;
  const absl::Time deadline_;
  std::shared_ptr<Connection> connection_;
  grpc_connectivity_state state_;  // when last looked at
  bool in_doubt_;                  // up, but after a rest that nobody watched
  bool watched_ = false;
};

// "host:port", also with "http://" before it, to "host:port". InvalidArgument says what to change.
absl::StatusOr<std::string> ParseEndpoint(absl::string_view text);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_ENDPOINT_H_
