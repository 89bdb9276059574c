#ifndef RAFTKV_TESTS_BENCH_MS_H_
#define RAFTKV_TESTS_BENCH_MS_H_

#include <string>

#include "absl/strings/str_format.h"
#include "client/bench/histogram.h"

namespace raftkv::e2e {

// For the benchmarks: a percentile of times in microseconds, in milliseconds with one decimal.
inline std::string Ms(const client::Histogram& times, double fraction) {
  return absl::StrFormat("%.1f", static_cast<double>(times.Percentile(fraction)) / 1000);
}

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_BENCH_MS_H_
