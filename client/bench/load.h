// The load generator of `raftkv bench`: closed loops against any etcd v3 service. Each of `clients`
// workers has one request in flight. The workers share `conns` connections, which go to the
// endpoints in turn. One or two threads drive all workers through completion queues. A worker
// always uses the same connection. Nothing is retried; failures are counted by message.
//
// A txn operation puts a key on the condition that nobody has written it since the benchmark last
// saw it. If somebody has, it reads the key's revision and tries again. All attempts together are
// one operation.
//
// Operations that complete within `duration` after the warm-up are measured. Latency is the time
// from starting an operation to taking its completion off the queue. With a `rate`, a worker waits
// for its turn before it starts an operation; a service that falls behind the rate does not have to
// catch up.
#ifndef RAFTKV_CLIENT_BENCH_LOAD_H_
#define RAFTKV_CLIENT_BENCH_LOAD_H_

#include <atomic>
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
  int key_space = 10000;  // keys are a prefix and a random number below this
  std::string prefix = "bench/";
  int key_digits = 10;        // of the number
  double rate = 0;            // operations per second, of all workers together; 0: no limit
  bool serializable = false;  // gets only
  // Once true, the run ends early: running requests complete, and the result is what was measured
  // so far. Null: never.
  const std::atomic<bool>* stop = nullptr;
};

struct Reachability {
  std::vector<std::string> up;
  std::vector<std::string> down;
};
// Divides the endpoints by whether a connection succeeds within `dial_timeout`.
Reachability CheckReachability(const std::vector<std::string>& endpoints,
                               absl::Duration dial_timeout);

struct LoadReport {
  double seconds = 0;  // length of the measurement
  uint64_t errors = 0;
  std::map<std::string, uint64_t> errors_by_message;
  Histogram latency;  // of the operations that succeeded
  double OpsPerSecond() const { return seconds > 0 ? latency.count() / seconds : 0; }
};

// Totals since the end of the warm-up, reported five times a second.
struct LoadProgress {
  double seconds = 0;  // negative during the warm-up
  uint64_t ops = 0;
  uint64_t errors = 0;
};

// Before a get benchmark, writes the keys if some are missing. Fails if an endpoint cannot be
// reached; Cancelled if it is stopped before the measurement began. The keys stay.
absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options,
                                   const std::function<void(const LoadProgress&)>& progress);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_BENCH_LOAD_H_
