#ifndef RAFTKV_SERVER_EVENT_THREAD_H_
#define RAFTKV_SERVER_EVENT_THREAD_H_

// A thread that serves calls of clients beside the loop, and runs a task regularly. One serves
// backups, whose handlers may wait for the disk (server/api/backup.cc); one the health service and
// pages, which must answer while the loop hangs (watchdog.h); one /metrics and server reflection.

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/phase.h"
#include "server/rpc/event_queue.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

class EventThread {
 public:
  // `phase` must outlive this.
  explicit EventThread(const PhaseValue* phase) : phase_(phase) {}
  ~EventThread() { Join(); }

  // Call it before Start. `task` is called on this thread, about once in each `interval`.
  void Each(absl::Duration interval, std::function<void()> task) {
    interval_ = interval;
    task_ = std::move(task);
  }
  void Start();
  // From any thread: the task runs soon, whatever the interval.
  void RunTaskSoon();
  // They are served until Join returns.
  EventQueue* events() { return &events_; }
  // Returns when the thread has ended, which it does in Phase::kStopped.
  void Join();

 private:
  void Run();
  // Waits for an event until `until`. Returns whether the task is due before that.
  bool Wait(MonotonicTime until);
  void Wake();

  const PhaseValue* const phase_;
  absl::Duration interval_ = absl::Seconds(1);
  std::function<void()> task_;
  absl::Mutex mutex_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool task_is_due_ ABSL_GUARDED_BY(mutex_) = false;
  EventQueue events_{[this] { Wake(); }};
  std::thread thread_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_EVENT_THREAD_H_
