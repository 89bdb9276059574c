#ifndef RAFTKV_SERVER_WORKERS_H_
#define RAFTKV_SERVER_WORKERS_H_

// A few threads for what may be slow. Thread-safe. Bounded: beyond, Run refuses.

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

  bool Run(std::function<void()> work);
  // Finishes what was accepted and refuses the rest.
  void Stop();

 private:
  void Loop();

  const size_t waiting_max_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_WORKERS_H_
