#include "client/bench/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace raftkv::client {

size_t Histogram::BucketOf(uint64_t value) {
  if (value < (1u << kBits)) return value;
  const int shift = std::bit_width(value) - 1 - kBits;
  const size_t bucket = (static_cast<size_t>(shift) << kBits) + (value >> shift);
  return std::min(bucket, kBuckets - 1);
}

uint64_t Histogram::LastOf(size_t bucket) {
  if (bucket < (1u << kBits)) return bucket;
  const int shift = static_cast<int>(bucket >> kBits) - 1;
  const uint64_t mantissa = bucket - (static_cast<uint64_t>(shift) << kBits);
  return ((mantissa + 1) << shift) - 1;
}

void Histogram::Add(int64_t microseconds) {
  const int64_t value = std::max<int64_t>(microseconds, 0);
  ++buckets_[BucketOf(static_cast<uint64_t>(value))];
  ++count_;
  max_ = std::max(max_, value);
  sum_ += static_cast<double>(value);
  sum_of_squares_ += static_cast<double>(value) * static_cast<double>(value);
}

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
  sum_of_squares_ += other.sum_of_squares_;
}

double Histogram::StandardDeviation() const {
  if (count_ == 0) return 0;
  const auto count = static_cast<double>(count_);
  const double mean = sum_ / count;
  return std::sqrt(std::max(0.0, sum_of_squares_ / count - mean * mean));
}

int64_t Histogram::Percentile(double fraction) const {
  if (count_ == 0) return 0;
  const auto rank = static_cast<uint64_t>(std::ceil(fraction * static_cast<double>(count_)));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += buckets_[i];
    if (seen >= std::max<uint64_t>(rank, 1)) {
      return std::min(static_cast<int64_t>(LastOf(i)), max_);
    }
  }
  return max_;
}

std::vector<Histogram::Bar> Histogram::Bars() const {
  std::vector<Bar> bars;
  for (size_t i = 0; i < kBuckets; ++i) {
    if (buckets_[i] == 0 && bars.empty()) continue;
    const auto last = static_cast<int64_t>(std::bit_ceil(LastOf(i) + 1) - 1);
    if (bars.empty() || bars.back().last != last) bars.push_back({last, 0});
    bars.back().count += buckets_[i];
  }
  while (!bars.empty() && bars.back().count == 0) bars.pop_back();
  return bars;
}

}  // namespace raftkv::client
