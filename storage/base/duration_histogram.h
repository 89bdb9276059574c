#ifndef RAFTKV_STORAGE_BASE_DURATION_HISTOGRAM_H_
#define RAFTKV_STORAGE_BASE_DURATION_HISTOGRAM_H_

// Counts durations in buckets, for /metrics. From any thread.

#include <array>
#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace raftkv {

class DurationHistogram {
 public:
  static constexpr int kBuckets = 16;

  // A bucket has what took at most its limit and more than the limit of the one before: 0.25 ms,
  // 0.5 ms, ... 8.192 s. One more bucket, number kBuckets, has the rest.
  static absl::Duration limit(int bucket) {
    return absl::Microseconds(250) * (int64_t{1} << bucket);
  }

  void Add(absl::Duration duration) {
    int bucket = 0;
    while (bucket < kBuckets && duration > limit(bucket)) ++bucket;
    counts_[bucket].fetch_add(1, std::memory_order_relaxed);
    sum_ns_.fetch_add(absl::ToInt64Nanoseconds(duration), std::memory_order_relaxed);
  }

  uint64_t count(int bucket) const {  // 0 to kBuckets
    return counts_[bucket].load(std::memory_order_relaxed);
  }
  absl::Duration sum() const { return absl::Nanoseconds(sum_ns_.load(std::memory_order_relaxed)); }

 private:
  std::array<std::atomic<uint64_t>, kBuckets + 1> counts_{};
  std::atomic<int64_t> sum_ns_{0};
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_DURATION_HISTOGRAM_H_
