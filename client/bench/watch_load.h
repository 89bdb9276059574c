// The load generator of `raftkv bench watch`: watches, and puts to the watched keys at a fixed rate
// (load.h), against any etcd v3 service. It measures the time from the start of a put until its
// event arrives.
//
// Watch i watches the key with the number i modulo `key_space`. `watches` is a multiple of
// `key_space`: with as many keys as watches each has a key of its own, and with one key all share
// it. The streams are divided among the connections. One thread reads each stream.
#ifndef RAFTKV_CLIENT_BENCH_WATCH_LOAD_H_
#define RAFTKV_CLIENT_BENCH_WATCH_LOAD_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "client/bench/histogram.h"
#include "client/bench/load.h"

namespace raftkv::client {

struct WatchLoadOptions {
  LoadOptions puts;  // its verb, warm_up, timed_values are set by RunWatchLoad
  int watches = 1000;
  int streams = 10;
  // After the puts: how long to wait for events that are still missing.
  absl::Duration drain = absl::Seconds(10);
};

struct WatchReport {
  LoadReport puts;
  Histogram delay;       // of each event
  uint64_t missing = 0;  // events of acknowledged puts that did not arrive
};

// Called once, when all watches are there and before the first put.
using OnWatching = std::function<void()>;

// Fails as RunLoad does, and if a watch cannot be created.
absl::StatusOr<WatchReport> RunWatchLoad(const WatchLoadOptions& options,
                                         const OnWatching& watching,
                                         const std::function<void(const LoadProgress&)>& progress);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_BENCH_WATCH_LOAD_H_
