#ifndef RAFTKV_STORAGE_BASE_MONOTONIC_TIME_H_
#define RAFTKV_STORAGE_BASE_MONOTONIC_TIME_H_

// A point on a clock that never goes back: for deadlines, ticks and intervals. It has no date, so
// that nobody can compare it with the wall clock (absl::Time) by mistake; a wall clock that jumps
// must not call an election or end a request.
//
// The server reads the system's clock in server/clock.h. The simulator and tests make their own
// times from durations. Code that must replay never reads a clock: it gets `now` as an argument.

#include "absl/time/time.h"

namespace raftkv {

class MonotonicTime {
 public:
  // The origin of the clock. It means nothing by itself.
  constexpr MonotonicTime() = default;
  // `since_origin` after it.
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
