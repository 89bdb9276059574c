// A library in which time passes kSlower times more slowly. tests/bench/instructions loads it with
// LD_PRELOAD into a server that runs under valgrind, which makes every instruction take some
// hundred times longer. Without it, the instructions of the server's ticks would be counted with
// those of the requests, more of them on a slower machine.
//
// It slows down what the I/O loop uses: the monotonic clock and epoll_wait. The other threads wait
// by the real-time clock and do little.

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdint>

namespace {

constexpr int64_t kSlower = 100;
constexpr int64_t kNanoseconds = 1'000'000'000;

int64_t Now(clockid_t clock, long* result) {
  timespec time = {};
  *result = syscall(SYS_clock_gettime, clock, &time);
  return time.tv_sec * kNanoseconds + time.tv_nsec;
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const int64_t start = [] {
    long ignored = 0;
    return Now(CLOCK_MONOTONIC, &ignored);
  }();
  long result = 0;
  int64_t now = Now(clock, &result);
  if (clock == CLOCK_MONOTONIC) now = start + (now - start) / kSlower;
  *time = {.tv_sec = now / kNanoseconds, .tv_nsec = now % kNanoseconds};
  return static_cast<int>(result);
}

extern "C" int epoll_wait(int epoll, epoll_event* events, int events_max, int timeout_ms) {
  const int64_t slow_ms = std::min<int64_t>(timeout_ms * kSlower, INT_MAX);
  return static_cast<int>(syscall(SYS_epoll_wait, epoll, events, events_max,
                                  timeout_ms > 0 ? static_cast<int>(slow_ms) : timeout_ms));
}
