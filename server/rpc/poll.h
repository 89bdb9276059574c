#ifndef RAFTKV_SERVER_RPC_POLL_H_
#define RAFTKV_SERVER_RPC_POLL_H_

// Polls a gRPC completion queue on one thread. Other threads can end its wait.

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <functional>

#include "absl/time/time.h"
#include "server/rpc/completion.h"

namespace raftkv {

class QueuePoller {
 public:
  // Call it before all others.
  void Start(grpc::CompletionQueue* queue) { queue_ = queue; }

  // Handles one event, if there is one. False: there was none.
  bool Poll() { return Poll(gpr_inf_past(GPR_CLOCK_MONOTONIC)); }

  // Waits until an event has been handled, Wake is called, or `timeout` is over. Does not wait if
  // `ready()` is true. Code that makes `ready()` true must call Wake afterwards.
  void Wait(absl::Duration timeout, const std::function<bool()>& ready) {
    // If the alarm was set and its event was not handled yet, that event ends this wait.
    const bool arm = alarm_.unserved == 0;
    if (arm) waiting_ = true;
    if (!ready()) {
      Poll(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_micros(absl::ToInt64Microseconds(timeout), GPR_TIMESPAN)));
    }
    if (arm && !waiting_.exchange(false)) ++alarm_.unserved;
  }

  // From any thread.
  void Wake() {
    // The alarm's deadline is in the past, because gRPC would round the current time up.
    if (waiting_.exchange(false)) {
      alarm_.alarm.Set(queue_, gpr_inf_past(GPR_CLOCK_MONOTONIC), &alarm_);
    }
  }

 private:
  struct Alarm final : public Completion {
    void OnComplete(bool /*ok*/) override { --unserved; }
    grpc::Alarm alarm;
    int unserved = 0;  // on the polling thread
  };

  bool Poll(gpr_timespec deadline) {
    void* tag = nullptr;
    bool ok = false;
    if (queue_->AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return false;
    static_cast<Completion*>(tag)->OnComplete(ok);
    return true;
  }

  grpc::CompletionQueue* queue_ = nullptr;
  Alarm alarm_;
  // The thread that sets it to false sets the alarm, so the alarm is never set twice.
  std::atomic<bool> waiting_{false};
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_POLL_H_
