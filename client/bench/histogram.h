// Counts latencies, in microseconds, in buckets that are at most 1 % wide, so that percentiles of
// any number of samples take a fixed amount of memory. Exact up to about 19 hours. Not
// synchronised: each thread has its own, and they are merged at the end.
#ifndef RAFTKV_CLIENT_BENCH_HISTOGRAM_H_
#define RAFTKV_CLIENT_BENCH_HISTOGRAM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace raftkv::client {

class Histogram {
 public:
  void Add(int64_t microseconds);
  void Merge(const Histogram& other);
  uint64_t count() const { return count_; }
  int64_t max() const { return max_; }
  // The smallest value such that at least `fraction` of the samples are not above it, to within the
  // width of a bucket. 0 without samples.
  int64_t Percentile(double fraction) const;
  double StandardDeviation() const;  // exact. 0 without samples

  // The samples in coarse buckets, one for each power of two: those that are above the bucket
  // before and at most `last`. From the first bucket that has samples to the last one.
  struct Bar {
    int64_t last;
    uint64_t count;
  };
  std::vector<Bar> Bars() const;

 private:
  // Below 128 us, one bucket for each microsecond. Above, 128 buckets for each power of two.
  static constexpr int kBits = 7;
  static constexpr size_t kBuckets = 30 << kBits;

  static size_t BucketOf(uint64_t value);
  static uint64_t LastOf(size_t bucket);

  std::array<uint64_t, kBuckets> buckets_ = {};
  uint64_t count_ = 0;
  int64_t max_ = 0;
  double sum_ = 0;
  double sum_of_squares_ = 0;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_BENCH_HISTOGRAM_H_
