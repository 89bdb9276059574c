#ifndef RAFTKV_TESTS_E2E_TRAFFIC_H_
#define RAFTKV_TESTS_E2E_TRAFFIC_H_

// Clients that put, delete and get a few keys through all members while a test breaks things, and
// the history of what they saw. Half the calls are gets; each put writes a value of its own. A
// client goes on to another member after an error, and every call has a deadline, so nobody ever
// hangs.

#include <atomic>
#include <thread>
#include <vector>

#include "tests/e2e/cluster.h"
#include "tests/e2e/witness.h"

namespace raftkv::e2e {

struct TrafficOptions {
  int clients = 8;
  int keys = 10;
  uint64_t seed = 1;
  bool serializable_reads = false;  // the control: such reads may be stale
  absl::Duration call_timeout = absl::Seconds(2);
};

class Traffic {
 public:
  // Starts at once. The cluster must hold no keys yet; nobody else may write to it.
  Traffic(Cluster* cluster, const TrafficOptions& options);
  ~Traffic();

  int64_t acknowledged() const { return acknowledged_; }
  // Waits for `count` more acknowledgements; false if they do not come in time.
  bool WaitForAcknowledged(int64_t count, absl::Duration timeout);

  void Stop();

  // After Stop, and once the running members are equal: what the clients saw and what the test has
  // Recorded of its own calls, with evidence of every revision, read back from the running members
  // in turn, and a last get of every key through each.
  History Collect();
  void Record(Operation op) { recorded_.push_back(std::move(op)); }

 private:
  void RunClient(int client);

  Cluster* const cluster_;
  const TrafficOptions options_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> acknowledged_{0};
  std::vector<std::vector<Operation>> seen_;  // by each client
  std::vector<Operation> recorded_;           // by the test itself
  std::vector<std::thread> threads_;
};

// One call through one connection, timed and judged. `value` is for puts.
Operation Observe(Connection& connection, Operation::Kind kind, const std::string& key,
                  const std::string& value = "", bool serializable = false,
                  absl::Duration timeout = kCallTimeout);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_TRAFFIC_H_
