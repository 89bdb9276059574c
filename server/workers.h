#ifndef RAFTKV_SERVER_WORKERS_H_
#define RAFTKV_SERVER_WORKERS_H_

// A pool of threads for work that may be slow, so that the loop does not wait for it. Thread-safe.
// At most `waiting_max` items wait; beyond that Run returns false.
//
// Work may have an owner, for example the connection of a client. The owners take turns, so that
// one with much work does not make the others wait. The work of one owner runs in order, and takes
// at most a quarter of the places.

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace raftkv {

class Workers {
 public:
  Workers(int threads, size_t waiting_max);
  ~Workers() { Stop(); }

  // Queues `work`. Returns false and discards `work` if there is no place left or after Stop. Work
  // without an owner (empty) has one queue, which may take all places.
  bool Run(std::function<void()> work, const std::string& owner = "");
  // Runs the queued work, because each item answers a call, then ends the threads. From then on Run
  // returns false. Independent of the member's phase.
  void Stop();

 private:
  void Loop();

  const size_t waiting_max_;
  absl::Mutex mutex_;
  using Queue = std::deque<std::function<void()>>;
  std::map<std::string, Queue> queues_ ABSL_GUARDED_BY(mutex_);  // by owner; none is empty
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mutex_);        // the owners, the next one first
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;                   // in all queues
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_WORKERS_H_
