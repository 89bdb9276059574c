#ifndef RAFTKV_SERVER_RPC_EVENT_QUEUE_H_
#define RAFTKV_SERVER_RPC_EVENT_QUEUE_H_

// Events that some threads give to one other thread, which serves them: what happens to calls on a
// port (server/port). The objects behind the events (completion.h) are used by the serving thread
// only.

#include <deque>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/rpc/completion.h"

namespace raftkv {

struct Event {
  Completion* completion = nullptr;
  bool ok = true;
};

// Serves events in the order of Push. The queue itself has no bound: each call or request that is
// in flight has a few events here at most, and these are bounded.
class EventQueue {
 public:
  // `wake` is called after a Push to an empty queue, on the pushing thread. The serving thread must
  // then call RunNext soon.
  explicit EventQueue(std::function<void()> wake) : wake_(std::move(wake)) {}

  // From any thread.
  void Push(absl::Span<const Event> events);
  // On the serving thread: serves the oldest event. False: there is none.
  bool RunNext();
  // On the serving thread.
  bool empty();

 private:
  const std::function<void()> wake_;
  absl::Mutex mutex_;
  std::deque<Event> pushed_ ABSL_GUARDED_BY(mutex_);
  std::deque<Event> taken_;  // by the serving thread
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_EVENT_QUEUE_H_
