// One call of the client library: connects to an endpoint, sends the request and, on failure, moves
// on to another endpoint where that is safe. Client makes one FailoverCall for each of its calls.
// It is a state machine that is moved by the events of a completion queue, all handled by one
// thread. It ends within its timeout, or when it is cancelled.
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

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
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

struct FailoverOptions {
  Kind kind;
  const char* name;  // the method, for example "KV.Range"
  absl::Duration dial_timeout;
  absl::Duration timeout;  // for the whole call
  // At most `timeout`. Hedges, and a second request to an endpoint, are sent within this time.
  absl::Duration patience;
  std::stop_token cancel;
  std::vector<std::pair<std::string, std::string>> metadata = {};
  // For a write of a session: an earlier call with these numbers may have been applied.
  bool maybe_applied = false;
};

class FailoverCall {
 public:
  // Tries endpoints[first] first, then the following ones in a circle. `endpoints` and `queue` must
  // outlive the call.
  FailoverCall(FailoverOptions options, const std::vector<std::unique_ptr<Endpoint>>& endpoints,
               size_t first, grpc::ByteBuffer request, grpc::CompletionQueue* queue);
  FailoverCall(const FailoverCall&) = delete;
  FailoverCall& operator=(const FailoverCall&) = delete;

  // The steps of a call: call Advance, and call it again after each event that Handle has handled,
  // until the call is decided. Then call Abandon. Then call Handle until the call is over. Run does
  // all of this.
  //
  // Starts what is due. Returns when it must be called again if no event comes before.
  MonotonicTime Advance();
  // Ends the call with this error. Call it before the first Advance.
  void Decide(absl::Status error) { result_ = std::move(error); }
  // Handles an event of the queue, which may be of another call. Returns the event's call.
  static FailoverCall* Handle(void* tag);
  bool decided() const { return result_.has_value(); }
  absl::StatusOr<grpc::ByteBuffer>& result() { return *result_; }  // once decided
  // Once decided: cancels the requests that are still in flight.
  void Abandon();
  // After Abandon: no event is to come any more, so the call may be deleted.
  bool over() const { return pending_events_ == 0 && (!cancelled_ || cancel_handled_); }
  void Cancel();  // from any thread, before Abandon

  // Blocks until the call is decided, and handles all events of the queue, which must have no other
  // user. Call it once, and nothing else before it.
  void Run();
  // Once decided: the index of the endpoint that the next call should try first.
  size_t next_first() const { return next_first_; }
  MonotonicTime begin() const { return begin_; }
  int attempts() const { return static_cast<int>(attempts_.size()); }  // requests that were sent
  const std::string& answered() const { return answered_; }  // who answered last; empty: nobody

 private:
  struct Attempt;
  // The tag of an event of the queue: a connection changed, an attempt completed, or Cancel.
  struct Event {
    FailoverCall* call;
    size_t target;     // index into targets_
    Attempt* attempt;  // null: the connection
  };
  struct CancelIt {
    FailoverCall* call;
    void operator()() const { call->Cancel(); }
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
  void OnCancelled();
  bool AllWaited() const;
  // The verdict on an attempt that failed with last_error_.
  Verdict VerdictOn(const Attempt& attempt);
  void Finish(absl::StatusOr<grpc::ByteBuffer> result, size_t next_first);
  absl::StatusOr<grpc::ByteBuffer> WithOutcome(absl::StatusOr<grpc::ByteBuffer> result) const;
  absl::Status NoTargetLeft() const;
  absl::Status NoResponse() const;

  const FailoverOptions options_;
  const std::string path_;
  const grpc::ByteBuffer request_;
  const size_t first_;
  const MonotonicTime begin_;
  const MonotonicTime deadline_;
  std::vector<Target> targets_;  // in the order in which they are tried
  std::vector<std::unique_ptr<Attempt>> attempts_;
  grpc::CompletionQueue* const queue_;
  // How long one wait for a change of a connection lasts (ConnectAttempt::NotifyOnChange). Such a
  // wait cannot be cancelled. Run blocks until it has ended, and so sets a short time. AsyncCalls
  // does not block, and many of its calls may wait at the same time: this longer time.
  absl::Duration notify_time_ = absl::Milliseconds(250);
  size_t pending_events_ = 0;  // of targets and attempts, that queue_ will still deliver
  grpc::Alarm cancel_alarm_;   // brings cancel_event_, so that the queue's thread notices Cancel
  Event cancel_event_;
  std::atomic<bool> cancelled_{false};  // the alarm was set
  bool cancel_handled_ = false;
  std::optional<std::stop_callback<CancelIt>> on_stop_;  // from the first Advance to Abandon
  size_t connecting_ = 0;                                // targets
  size_t in_flight_ = 0;                                 // attempts that have not completed
  MonotonicTime last_connect_ = MonotonicTime::InfinitePast();
  bool retried_ = false;
  bool maybe_applied_;  // of a write of a session: an attempt may have been applied
  std::string answered_;
  absl::Status last_error_;  // the last error that an endpoint returned; OK if none did
  std::optional<absl::StatusOr<grpc::ByteBuffer>> result_;
  size_t next_first_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_FAILOVER_CALL_H_
