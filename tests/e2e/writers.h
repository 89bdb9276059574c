#ifndef RAFTKV_TESTS_E2E_WRITERS_H_
#define RAFTKV_TESTS_E2E_WRITERS_H_

// Clients that put without pause, each call through the next connected member. They repeat a put in
// the same cases as etcd's client library (clientv3 3.4 to 3.6): only if the answer is Unavailable
// with one of two texts. Sixteen clients share their connections, as goroutines of one client do.

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {

class Writers {
 public:
  // The clients use the members at `addresses`.
  Writers(const std::vector<std::string>& addresses, int clients);
  ~Writers() { Stop(); }

  int64_t acknowledged() const { return acknowledged_; }
  // Waits until `count` more puts are acknowledged.
  bool WaitFor(int64_t count);

  // Starts to measure the time until a put is acknowledged that is sent after this call.
  void StartClock();
  // Waits for that acknowledgement and returns the time; nullopt: there is none within `timeout`.
  std::optional<absl::Duration> WaitForAcknowledgement(absl::Duration timeout);

  // The longest time without an acknowledged put since the last call.
  absl::Duration TakeLongestGap();

  // Stops. Returns how often calls failed, by code and text. Puts that were repeated do not count.
  std::map<std::string, int> Stop();

 private:
  using Connections = std::vector<std::unique_ptr<Connection>>;

  void Run(int client, const Connections& connections);
  void OnAcknowledged(int64_t sent);

  std::deque<Connections> connections_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> acknowledged_{0};
  std::atomic<int64_t> clock_started_{0};   // in nanoseconds
  std::atomic<int64_t> clock_stopped_{-1};  // -1: it runs or was never started
  absl::Mutex mutex_;
  int64_t last_acknowledged_ ABSL_GUARDED_BY(mutex_) = 0;  // in nanoseconds; 0: no gap has begun
  int64_t longest_gap_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int> failures_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_WRITERS_H_
