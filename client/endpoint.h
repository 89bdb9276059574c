// One endpoint of the cluster and the connection to it. Client owns the endpoints; many threads use
// them. A ConnectAttempt is one call's attempt to get the connection; several may run in parallel.
//
// A ConnectAttempt only hands out a connection that is ready. So when connecting fails, nothing was
// sent. Ready means that the server's HTTP/2 settings have arrived: an accepted TCP connection is
// not enough, because the kernel accepts connections for a stopped process too. A connection that
// failed, or that was not ready in time, is closed. The next call makes a new one, so it never
// waits for gRPC's own backoff.
#ifndef RAFTKV_CLIENT_ENDPOINT_H_
#define RAFTKV_CLIENT_ENDPOINT_H_

#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>

#include <climits>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/clock.h"

namespace raftkv::client {

struct Connection {
  // `answer_bytes_max`: a larger answer is not received; the call ends with ResourceExhausted.
  explicit Connection(std::string address, int answer_bytes_max = INT_MAX);

  const std::string address;  // host:port
  std::shared_ptr<grpc::Channel> channel;
};

class Endpoint {
 public:
  explicit Endpoint(std::string address, int answer_bytes_max = INT_MAX)
      : address_(std::move(address)), answer_bytes_max_(answer_bytes_max) {}

  const std::string& address() const { return address_; }  // host:port

 private:
  friend class ConnectAttempt;

  // Records a use of the connection. Returns how long ago the last use was.
  absl::Duration Touch();
  std::shared_ptr<Connection> Current();  // the shared connection; made if there is none
  // Makes the next Current() return a new connection, if `connection` is still the current one.
  void Drop(const std::shared_ptr<Connection>& connection);

  const std::string address_;
  const int answer_bytes_max_;
  absl::Mutex mutex_;
  std::shared_ptr<Connection> connection_ ABSL_GUARDED_BY(mutex_);
  MonotonicTime last_used_ ABSL_GUARDED_BY(mutex_) = MonotonicTime::InfinitePast();
};

// Used by one thread. Call Check(). While it returns kConnecting: call NotifyOnChange(), wait for
// the event, and call Check() again.
class ConnectAttempt {
 public:
  enum class State { kReady, kConnecting, kFailed };
  static constexpr absl::Duration kNotifyTime = absl::Milliseconds(5);

  // Fails at `deadline` at the latest. `endpoint` must outlive this.
  ConnectAttempt(Endpoint* endpoint, MonotonicTime deadline);
  ~ConnectAttempt();
  ConnectAttempt(const ConnectAttempt&) = delete;
  ConnectAttempt& operator=(const ConnectAttempt&) = delete;

  State Check();
  // Puts an event on `queue` when the connection's state changes, or after `longest`. gRPC cannot
  // cancel such a wait: a call whose response has arrived must still wait for its end.
  void NotifyOnChange(grpc::CompletionQueue* queue, void* tag,
                      absl::Duration longest = kNotifyTime);
  // Valid once Check() has returned kReady.
  const std::shared_ptr<Connection>& connection() const { return connection_; }

 private:
  Endpoint* const endpoint_;
  const MonotonicTime deadline_;
  std::shared_ptr<Connection> connection_;
  grpc_connectivity_state state_;  // at the last check
  bool unverified_;                // ready, but idle for so long that it may have broken unnoticed
  bool notified_ = false;          // NotifyOnChange was called
};

// Returns "host:port" for "host:port" and for "http://host:port". InvalidArgument says what to
// change.
absl::StatusOr<std::string> ParseEndpoint(absl::string_view text);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_ENDPOINT_H_
