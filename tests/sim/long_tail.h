#ifndef RAFTKV_TESTS_SIM_LONG_TAIL_H_
#define RAFTKV_TESTS_SIM_LONG_TAIL_H_

// Runs in which a member installs a snapshot that ends before the member's own log does, and
// crashes before the leader's entries replace the rest. A leader is cut off after it appended many
// entries; the next leader commits few and cuts its log. This is too rare in the runs of World. The
// entries beyond the snapshot must not come back.

#include <cstdint>

#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

void RunLongTail(uint64_t seed, Marks* marks, Verdict* verdict);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_LONG_TAIL_H_
