// Threads that run the writes which Client::Start gets with Options::exactly_once. Such a write
// waits for its session and between its attempts, so it has a thread while it runs.
//
// Bounds: kThreadsMax, kWaitingMax, kBytesMax.
#ifndef RAFTKV_CLIENT_WRITER_THREADS_H_
#define RAFTKV_CLIENT_WRITER_THREADS_H_

#include <cstddef>
#include <deque>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace raftkv::client {

class WriterThreads {
 public:
  static constexpr size_t kThreadsMax = 16;
  static constexpr size_t kWaitingMax = 1000;    // writes that wait for a thread
  static constexpr size_t kBytesMax = 64 << 20;  // of their requests

  // `closing`: a stop is requested when Stop is called.
  using Write = absl::AnyInvocable<void(std::stop_token closing)>;

  ~WriterThreads() { Stop(); }
  // From any thread. `bytes`: of the request. False: too many wait, and the write is not run. After
  // Stop, it runs the write at once.
  bool Run(size_t bytes, Write write);
  // Returns when all writes have ended.
  void Stop();

 private:
  struct Item {
    size_t bytes;
    Write write;
  };
  void Loop();
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return closed_ || !waiting_.empty(); }

  std::stop_source closing_;
  absl::Mutex mutex_;
  std::deque<Item> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_WRITER_THREADS_H_
