#ifndef RAFTKV_SERVER_CLOCK_H_
#define RAFTKV_SERVER_CLOCK_H_

// The server's monotonic clock. From any thread.

#include <chrono>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

inline MonotonicTime MonotonicNow() {
  return MonotonicTime(absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()));
}

// Converts a wall-clock time, such as a deadline of gRPC. Exact if neither clock is adjusted
// between now and that time.
inline MonotonicTime ToMonotonic(absl::Time wall) {
  if (wall == absl::InfiniteFuture()) return MonotonicTime::InfiniteFuture();
  return MonotonicNow() + (wall - absl::Now());
}

}  // namespace raftkv

#endif  // RAFTKV_SERVER_CLOCK_H_
