#ifndef RAFTKV_TESTS_BENCH_PACED_PUTS_H_
#define RAFTKV_TESTS_BENCH_PACED_PUTS_H_

// What the benchmarks of watches and leases share: puts at a fixed rate, and a process's memory.

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/bench/histogram.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {

using client::Histogram;

// In milliseconds, with one decimal.
std::string Ms(const Histogram& times, double fraction);

int64_t ResidentMiB(pid_t pid);

// Sends puts at a fixed rate, over the connections in turn, without waiting for answers. The value
// of a put is the time when it was sent, in nanoseconds since 1970, and spaces up to 256 bytes.
class PacedPuts {
 public:
  // `next_key` is called by Run's thread.
  PacedPuts(const std::vector<std::unique_ptr<Connection>>* connections, int per_second,
            std::function<std::string()> next_key);

  // Sends for `duration`, or until Stop, and then waits for all answers.
  void Run(absl::Duration duration);
  void Stop() { stopped_ = true; }  // from any thread

  // After Run.
  int64_t answered() const { return static_cast<int64_t>(times().count()); }
  const Histogram& times() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return times_; }
  int64_t failed() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return failed_; }

 private:
  struct Put {
    grpc::ClientContext context;
    etcdserverpb::PutRequest request;
    etcdserverpb::PutResponse response;
    absl::Time sent;
  };
  void Send();

  const std::vector<std::unique_ptr<Connection>>& connections_;
  const int per_second_;
  const std::function<std::string()> next_key_;
  size_t next_ = 0;
  std::atomic<bool> stopped_{false};
  absl::Mutex mutex_;
  int64_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t failed_ ABSL_GUARDED_BY(mutex_) = 0;
  Histogram times_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_BENCH_PACED_PUTS_H_
