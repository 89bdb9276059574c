// The load generator of `raftkv bench`, against any etcd v3 service. Each of `clients` workers has
// at most one request in flight, and starts the next one when that is answered. The workers share
// `conns` connections (http2_channel.h), which go to the endpoints in turn. A worker always uses
// the same connection. One or two threads drive all workers, each with connections of its own.
// Nothing is retried; failures are counted by message.
//
// A txn operation puts a key on the condition that nobody has written it since the benchmark last
// saw it. If somebody has, it reads the key's revision and tries again. All attempts together are
// one operation.
//
// Operations that complete within `duration` after the warm-up are measured. Latency is the time
// from starting an operation to handling the end of its last call. With a `rate`, a worker waits
// for its turn before it starts an operation. If the service falls behind the rate, `late_turns`
// says what happens to the turns for which no worker was free.
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
  enum class Verb { kPut, kGet, kTxn, kMix };
  enum class LateTurns {
    kDropped,  // nobody catches up. Latency does not include the wait for a free worker
    kTaken,    // one after the other. Latency is counted from the turn, as a user would see it
  };

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
  int key_digits = 10;  // of the number
  // How many consecutive keys one get reads (a range), or one put writes (a transaction). At most
  // `key_space`.
  int keys_per_operation = 1;
  double rate = 0;  // operations per second, of all workers together; 0: no limit
  LateTurns late_turns = LateTurns::kDropped;
  uint64_t total = 0;  // the run ends early when so many operations were measured; 0: no limit
  double reads = 0.5;  // kMix: the share of gets; the others are puts
  bool serializable = false;  // gets only
  bool timed_values = false;  // each value of a put begins with its start, see StartOf
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
  Histogram gets;     // kMix: of these, the gets
  Histogram puts;     // kMix: of these, the puts
  double OpsPerSecond() const { return seconds > 0 ? latency.count() / seconds : 0; }
};

// Totals since the end of the warm-up, reported five times a second.
struct LoadProgress {
  double seconds = 0;  // negative during the warm-up
  uint64_t ops = 0;
  uint64_t errors = 0;
};

// The key with this number.
std::string KeyOf(const LoadOptions& options, uint64_t number);

// With `timed_values`: when the put of this value was started, which is where its latency begins.
// In nanoseconds of std::chrono::steady_clock.
int64_t StartOf(const std::string& value);

// Before a benchmark with gets, writes the keys if some are missing. Fails if an endpoint cannot be
// reached; Cancelled if it is stopped before the measurement began. The keys stay.
absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options,
                                   const std::function<void(const LoadProgress&)>& progress);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_BENCH_LOAD_H_
