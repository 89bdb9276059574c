// The load generator behind `raftkv bench`: closed loops against any etcd v3 service. Each of
// `clients` workers has one request in flight; workers share `conns` connections, which are spread
// over the endpoints in turn; one or two threads drive them all through completion queues. A worker
// keeps to its connection: nothing is retried, and every failure is counted by its message.
//
// A txn puts a key if nobody has written it since the bench last saw it, and otherwise reads its
// revision and tries again: one operation, however often it lost that race.
//
// Measured is what completes in the `duration` after the warm-up. A latency is the time from
// starting a call to taking its completion off the queue.
#ifndef RAFTKV_CLIENT_BENCH_LOAD_H_
#define RAFTKV_CLIENT_BENCH_LOAD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/bench/histogram.h"

namespace raftkv::client {

struct LoadOptions {
  enum class Verb { kPut, kGet, kTxn };

  Verb verb = Verb::kPut;
  std::vector<std::string> endpoints;
  int clients = 1;
  int conns = 1;
  absl::Duration warm_up = absl::Seconds(1);
  absl::Duration duration = absl::Seconds(10);
  absl::Duration dial_timeout = absl::Seconds(2);
  absl::Duration request_timeout = absl::Seconds(5);
  int val_size = 256;
  int key_space = 10000;      // keys are "bench/" and a number below this, drawn evenly
  bool serializable = false;  // gets only
};

struct Reach {
  std::vector<std::string> up;
  std::vector<std::string> down;
};
// Which of the endpoints can be connected to within `dial_timeout`.
Reach FindWhoIsUp(const std::vector<std::string>& endpoints, absl::Duration dial_timeout);

struct LoadReport {
  double seconds = 0;  // measured
  uint64_t errors = 0;
  std::map<std::string, uint64_t> errors_by_message;
  Histogram latency;  // of the calls that succeeded
  double OpsPerSecond() const { return seconds > 0 ? latency.count() / seconds : 0; }
};

// Called about twice a second while it runs. Cumulative, without warm-up.
struct LoadProgress {
  double seconds = 0;  // negative during the warm-up
  uint64_t ops = 0;
  uint64_t errors = 0;
};

// Before gets, writes whatever keys are missing. Fails if an endpoint cannot be reached.
absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options,
                                   const std::function<void(const LoadProgress&)>& progress);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_BENCH_LOAD_H_
