#ifndef RAFTKV_SERVER_CLOCK_H_
#define RAFTKV_SERVER_CLOCK_H_

// The server's monotonic clock. From any thread.

#include <chrono>

#include "absl/time/time.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

inline MonotonicTime MonotonicNow() {
  return MonotonicTime(absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()));
}

}  // namespace raftkv

#endif  // RAFTKV_SERVER_CLOCK_H_
