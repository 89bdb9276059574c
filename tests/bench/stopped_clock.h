#ifndef RAFTKV_TESTS_BENCH_STOPPED_CLOCK_H_
#define RAFTKV_TESTS_BENCH_STOPPED_CLOCK_H_

// All clocks of one thread, of which the program decides how much time passes. A program that has
// stopped_clock.cc uses its clock_gettime instead of the C library's.

#include "absl/time/time.h"

namespace raftkv {

// Stops the clocks of the calling thread. Those of other threads go on.
void StopClock();
// The clocks of the calling thread, which has stopped them, show this much more.
void AdvanceClock(absl::Duration time);

}  // namespace raftkv

#endif  // RAFTKV_TESTS_BENCH_STOPPED_CLOCK_H_
