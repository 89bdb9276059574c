// The stream behind a Watcher (raftkv.h). It connects to one endpoint after the other until a watch
// is created, and again whenever the stream breaks. As for a call (failover_call.h), an endpoint
// that is slow to connect, or to create the watch, delays it only for a short time. Every operation
// runs on a completion queue that is polled only inside Start and Next, so there is no thread.
// gRPC's keepalive (endpoint.cc) notices a member that hangs later.
#ifndef RAFTKV_CLIENT_WATCH_STREAM_H_
#define RAFTKV_CLIENT_WATCH_STREAM_H_

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_stream.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/endpoint.h"
#include "client/raftkv.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {

class Watcher::Impl {
 public:
  // `options` and `endpoints` must outlive this. `first`: the endpoint to try first. A stop that is
  // requested of `cancel` has the effect of Cancel.
  Impl(const Options* options, const std::vector<std::unique_ptr<Endpoint>>* endpoints,
       size_t first, etcdserverpb::WatchCreateRequest request, const std::stop_token& cancel);
  ~Impl();

  // Waits until a service has created the watch.
  absl::Status Start(MonotonicTime deadline);
  absl::StatusOr<WatchBatch> Next(MonotonicTime deadline);
  void Cancel();           // from any thread
  void RequestProgress();  // from any thread

  int64_t next_revision() const { return next_revision_; }
  int64_t compact_revision() const { return compact_revision_; }

 private:
  using Call =
      grpc::ClientAsyncReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>;
  // What is known after an attempt.
  enum class Step { kGoOn, kDeadline, kOver };
  struct CancelIt {
    Impl* watch;
    void operator()() const { watch->Cancel(); }
  };

  // Waits until the pause before the next attempt is over. Then connects, and sends the create
  // request.
  Step Connect(MonotonicTime deadline);
  // Connects to endpoint_ and, with delays, to the ones after it. Returns the first connection that
  // is ready; null if there is none, or after Cancel.
  std::shared_ptr<Connection> ConnectToFirst(MonotonicTime deadline);
  // Sends the create request on connection_.
  Step Open();
  // Reads the next response into response_.
  Step Read(MonotonicTime deadline);
  // Takes response_. Returns a batch if it has one.
  std::optional<WatchBatch> Take();
  void SendProgressRequest();  // if one is wanted, and can be sent now
  // The stream has broken: decides whether to go on.
  Step Broken();
  void Close();
  // Gets the status of the call, and waits until gRPC no longer uses it. No read may be in flight.
  void Finish(grpc::Status* status);
  // Waits for the event `tag`; false: the deadline has passed. `ok` as gRPC's.
  bool Wait(void* tag, MonotonicTime deadline, bool* ok);
  Step End(absl::Status why);
  absl::Status NobodyReachable() const;
  absl::Status WhyNot(Step step, MonotonicTime deadline) const;
  absl::StatusOr<WatchBatch> Run(MonotonicTime deadline, bool until_created);

  const std::vector<std::unique_ptr<Endpoint>>& endpoints_;
  size_t endpoint_;      // the next one to try
  size_t attempts_ = 0;  // to create the watch
  size_t refused_ = 0;   // the last attempts, by members that serve no watch now, as learners
  const Options& options_;
  etcdserverpb::WatchCreateRequest request_;
  int64_t next_revision_ = 0;  // 0: not known yet
  int64_t compact_revision_ = 0;
  absl::Status over_;        // why the watch is over
  absl::Status last_error_;  // of the last attempt
  MonotonicTime retry_at_ = MonotonicTime::InfinitePast();
  absl::Duration backoff_;
  absl::Duration attempt_limit_;  // how long an attempt may take if there are other endpoints
  MonotonicTime give_up_at_ = MonotonicTime::InfiniteFuture();  // the end of this attempt

  grpc::CompletionQueue queue_;
  std::shared_ptr<Connection> connection_;
  std::unique_ptr<Call> call_;  // null: not connected
  bool created_ = false;
  bool reading_ = false;  // a read is in flight
  std::string address_;
  MonotonicTime begin_;  // of the stream
  etcdserverpb::WatchResponse response_;
  etcdserverpb::WatchResponse fragments_;

  std::atomic<bool> progress_wanted_{false};  // a request for progress is to be sent
  // Requests that were sent on this stream and not answered. A service need not answer, so later
  // ones do not wait. If the stream breaks, one is sent on the next stream.
  int progress_sent_ = 0;
  bool writing_ = false;  // the request is being sent
  grpc::Alarm wake_;      // makes the thread in Wait send it
  std::atomic<bool> wake_is_set_{false};

  std::atomic<bool> cancelled_{false};
  absl::Mutex mutex_;
  std::unique_ptr<grpc::ClientContext> context_ ABSL_GUARDED_BY(mutex_);  // of call_
  std::optional<std::stop_callback<CancelIt>> on_stop_;  // last: it uses the other members
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_WATCH_STREAM_H_
