// The clock of the client library: monotonic, so that a jump of the wall clock neither ends a call
// nor makes it wait.
#ifndef RAFTKV_CLIENT_CLOCK_H_
#define RAFTKV_CLIENT_CLOCK_H_

#include <grpc/support/time.h>

#include <chrono>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "storage/base/monotonic_time.h"

namespace raftkv::client {

inline MonotonicTime Now() {
  return MonotonicTime(absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()));
}

// A deadline in the form that gRPC's functions take.
inline gpr_timespec ForGrpc(MonotonicTime deadline) {
  if (deadline == MonotonicTime::InfiniteFuture()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  const int64_t left = absl::ToInt64Nanoseconds(deadline - Now());
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left, GPR_TIMESPAN));
}

// A caller's deadline on the wall clock, as that clock is now.
inline MonotonicTime FromWallClock(absl::Time deadline) { return Now() + (deadline - absl::Now()); }
inline absl::Time ToWallClock(MonotonicTime deadline) { return absl::Now() + (deadline - Now()); }

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLOCK_H_
