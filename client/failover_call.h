// One call of the client library: connects to an endpoint, sends the request and, on failure, moves
// on to another endpoint where that is safe. Client makes one FailoverCall for each of its calls.
// It runs in the caller's thread, on one completion queue, and ends within the request timeout.
//
// Connecting. Endpoints are tried in the given order. If the first is not connected after a short
// delay, the next starts to connect in parallel, and so on ("Happy Eyeballs", RFC 8305). The
// request goes to the endpoint that is connected first. So an endpoint whose process is stopped
// costs one delay, not a connect timeout.
//
// Sending. A write is sent to one endpoint at a time. It moves on only if it is known to have had
// no effect. A read is hedged: if it has no response after a while, it is also sent to the next
// endpoint, and the first response is used. A write of a session is sent like a read, also after an
// attempt whose outcome is unknown, because the service applies it once. When every endpoint has
// been tried, the first endpoint that got the request is tried once more: the failure may have been
// only a lost connection.
#ifndef RAFTKV_CLIENT_FAILOVER_CALL_H_
#define RAFTKV_CLIENT_FAILOVER_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/clock.h"
#include "client/endpoint.h"
#include "client/failure.h"

namespace raftkv::client {

struct CallOptions {
  Kind kind;
  const char* name;  // the method, for example "KV.Range"
  absl::Duration dial_timeout;
  absl::Duration request_timeout;
  std::vector<std::pair<std::string, std::string>> metadata = {};
  // Of a write of a session: an earlier call with these numbers may have been applied.
  bool maybe_applied = false;
};

class FailoverCall {
 public:
  // Tries endpoints[first] first, then the following ones in a circle. All references must outlive
  // the call.
  FailoverCall(const CallOptions& options, const std::vector<std::unique_ptr<Endpoint>>& endpoints,
               size_t first, const grpc::ByteBuffer& request);
  ~FailoverCall();  // cancels the requests that are still in flight
  FailoverCall(const FailoverCall&) = delete;
  FailoverCall& operator=(const FailoverCall&) = delete;

  // Blocks until the call is decided. Call it once.
  absl::StatusOr<grpc::ByteBuffer> Run();
  // After Run(): the index of the endpoint that the next call should try first.
  size_t next_first() const { return next_first_; }

 private:
  struct Attempt;
  // The tag of a completion queue event: a connection changed, or an attempt completed.
  struct Event {
    size_t target;     // index into targets_
    Attempt* attempt;  // null: the connection
  };
  // An endpoint that this call may use.
  struct Target {
    Endpoint* endpoint;
    Event connect_event;
    std::unique_ptr<ConnectAttempt> connecting = nullptr;  // null unless it is connecting
    // It is connecting, or was used or failed. False again if another target was faster.
    bool tried = false;
    bool sent = false;
    bool timed_out = false;  // the request was sent, and no response came in time
    bool waited = false;     // the server has waited for the cluster without success: do not repeat
  };
  // The request, sent to one target.
  struct Attempt {
    Event completed_event;
    std::shared_ptr<Connection> connection;
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader;
    grpc::ByteBuffer response;
    grpc::Status status;
    bool done = false;
  };

  // Connects to every target that is due. Returns when the next one may be due.
  MonotonicTime StartDueConnects();
  bool MaySend(MonotonicTime now) const;
  MonotonicTime NextHedgeAt() const;
  Target* TargetToRetry(MonotonicTime now, MonotonicTime* at);
  void Connect(Target& target, MonotonicTime now);
  void OnConnectEvent(Target& target);
  void Send(Target& target);
  void OnCompleted(Attempt& attempt);
  bool AllWaited() const;
  // The verdict on an attempt that failed with last_error_.
  Verdict VerdictOn(const Attempt& attempt);
  void Finish(absl::StatusOr<grpc::ByteBuffer> result, size_t next_first);
  absl::StatusOr<grpc::ByteBuffer> WithOutcome(absl::StatusOr<grpc::ByteBuffer> result) const;
  absl::Status NoTargetLeft() const;
  absl::Status NoResponse() const;

  const CallOptions options_;
  const std::string path_;
  const grpc::ByteBuffer& request_;
  const size_t first_;
  const MonotonicTime begin_;
  const MonotonicTime deadline_;
  std::vector<Target> targets_;  // in the order in which they are tried
  std::vector<std::unique_ptr<Attempt>> attempts_;
  grpc::CompletionQueue queue_;
  size_t pending_events_ = 0;  // events that queue_ will still deliver
  size_t connecting_ = 0;      // targets
  size_t in_flight_ = 0;       // attempts that have not completed
  MonotonicTime last_connect_ = MonotonicTime::InfinitePast();
  bool retried_ = false;
  bool maybe_applied_;       // of a write of a session: an attempt may have been applied
  absl::Status last_error_;  // the last error that an endpoint returned; OK if none did
  std::optional<absl::StatusOr<grpc::ByteBuffer>> result_;
  size_t next_first_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_FAILOVER_CALL_H_
