#include "tests/bench/stopped_clock.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>

namespace raftkv {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
// What the stopped clocks show. 0: this thread's clocks are not stopped.
thread_local int64_t now_ns = 0;

}  // namespace

// Earlier than the clocks of the other threads: RocksDB's rate limiter, which this thread makes,
// lets them wait until a time that this thread has read.
void StopClock() { now_ns = kNanosecondsPerSecond; }

void AdvanceClock(absl::Duration time) { now_ns += absl::ToInt64Nanoseconds(time); }

}  // namespace raftkv

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  using raftkv::kNanosecondsPerSecond, raftkv::now_ns;
  if (now_ns == 0) return static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  *time = {.tv_sec = now_ns / kNanosecondsPerSecond, .tv_nsec = now_ns % kNanosecondsPerSecond};
  return 0;
}
