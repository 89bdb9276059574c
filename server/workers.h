#ifndef RAFTKV_SERVER_WORKERS_H_
#define RAFTKV_SERVER_WORKERS_H_

// A pool of threads for work that may be slow, so that the loop does not wait for it. Thread-safe.
// At most `waiting_max` items wait; beyond that Run returns false.

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace raftkv {

class Workers {
 public:
  Workers(int threads, size_t waiting_max);
  ~Workers() { Stop(); }

  // Queues `work`. Returns false and discards `work` if the queue is full or after Stop.
  bool Run(std::function<void()> work);
  // Runs what is queued, because each item answers a call, then ends the threads. From then on Run
  // returns false. Independent of the member's phase.
  void Stop();

 private:
  void Loop();

  const size_t waiting_max_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_WORKERS_H_
