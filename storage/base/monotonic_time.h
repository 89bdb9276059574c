#ifndef RAFTKV_STORAGE_BASE_MONOTONIC_TIME_H_
#define RAFTKV_STORAGE_BASE_MONOTONIC_TIME_H_

// A point in time on a clock that never goes back: for deadlines, ticks and intervals. It is a type
// of its own, so that it cannot be compared with wall-clock time (absl::Time) by mistake. A jump of
// the wall clock must not start an election or end a request.
//
// The server reads the system's clock in server/clock.h. The simulator and tests build their times
// from durations. Deterministic code never reads a clock: it gets `now` as an argument.

#include "absl/time/time.h"

namespace raftkv {

class MonotonicTime {
 public:
  // The origin of the clock: an arbitrary point.
  constexpr MonotonicTime() = default;
  // The origin plus `since_origin`.
  explicit constexpr MonotonicTime(absl::Duration since_origin) : since_origin_(since_origin) {}

  static constexpr MonotonicTime InfinitePast() { return MonotonicTime(-absl::InfiniteDuration()); }
  static constexpr MonotonicTime InfiniteFuture() {
    return MonotonicTime(absl::InfiniteDuration());
  }

  constexpr absl::Duration since_origin() const { return since_origin_; }

  MonotonicTime& operator+=(absl::Duration d) {
    since_origin_ += d;
    return *this;
  }
  friend MonotonicTime operator+(MonotonicTime t, absl::Duration d) { return t += d; }
  friend MonotonicTime operator-(MonotonicTime t, absl::Duration d) { return t += -d; }
  friend absl::Duration operator-(MonotonicTime a, MonotonicTime b) {
    return a.since_origin_ - b.since_origin_;
  }
  friend bool operator==(MonotonicTime a, MonotonicTime b) {
    return a.since_origin_ == b.since_origin_;
  }
  friend bool operator<(MonotonicTime a, MonotonicTime b) {
    return a.since_origin_ < b.since_origin_;
  }
  friend bool operator>(MonotonicTime a, MonotonicTime b) { return b < a; }
  friend bool operator<=(MonotonicTime a, MonotonicTime b) { return !(b < a); }
  friend bool operator>=(MonotonicTime a, MonotonicTime b) { return !(a < b); }

 private:
  absl::Duration since_origin_ = absl::ZeroDuration();
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_MONOTONIC_TIME_H_
