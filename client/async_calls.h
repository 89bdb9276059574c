// Runs many calls at the same time on one thread and one completion queue: those of Client::Start.
// Client makes it for the first such call, so that programs which only block pay nothing for it.
#ifndef RAFTKV_CLIENT_ASYNC_CALLS_H_
#define RAFTKV_CLIENT_ASYNC_CALLS_H_

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/clock.h"
#include "client/endpoint.h"
#include "client/failover_call.h"

namespace raftkv::client {

class AsyncCalls {
 public:
  // The bounds of the calls that have been started and have not ended.
  static constexpr size_t kCallsMax = 10'000;
  static constexpr size_t kBytesMax = 64 << 20;  // of their requests

  // Called once, on the thread of this class. `call` is decided.
  using Done = absl::AnyInvocable<void(FailoverCall& call)>;

  AsyncCalls();
  ~AsyncCalls();
  // Cancels the calls, and each later one. Returns when each `done` has returned.
  void End();
  AsyncCalls(const AsyncCalls&) = delete;
  AsyncCalls& operator=(const AsyncCalls&) = delete;

  // Starts a call, as FailoverCall's constructor does. It ends with ResourceExhausted if there are
  // too many. If `request` is an error, the call ends with it.
  void Start(FailoverOptions options, const std::vector<std::unique_ptr<Endpoint>>& endpoints,
             size_t first, absl::StatusOr<grpc::ByteBuffer> request, Done done);

 private:
  struct Call;

  void Run();
  // Makes the first step of the calls that Start has added since the last time. `woken`: the event
  // of wake_ has come.
  void TakeStarted(bool woken);
  // Makes the next step of a call after one of its events. Deletes the call at its end.
  void Advance(Call* call);
  void SetDue(Call* call, MonotonicTime due);
  bool Idle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return calls_ == 0; }

  grpc::CompletionQueue queue_;
  // The calls that need a step at some time even if no event comes, sorted by that time. Used by
  // thread_ only.
  std::set<std::pair<MonotonicTime, Call*>> due_;

  absl::Mutex mutex_;
  grpc::Alarm wake_;                                  // makes the thread look at started_
  bool wake_is_set_ ABSL_GUARDED_BY(mutex_) = false;  // its event has not come yet
  std::vector<Call*> started_ ABSL_GUARDED_BY(mutex_);
  std::set<Call*> undecided_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;  // the destructor runs
  size_t calls_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;

  std::thread thread_;  // last: it uses the other members
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_ASYNC_CALLS_H_
