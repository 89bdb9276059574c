#ifndef RAFTKV_TESTS_SIM_DIVERGENCE_H_
#define RAFTKV_TESTS_SIM_DIVERGENCE_H_

// Runs in which a byte of one member's stored state changes while the member is down. World's
// checkers would find it at once, so these runs do without them: only the members themselves
// compare their states (server/member/audit.h). Once entries have read the byte, and an interval of
// digests is over, the changed member must have halted, and no other one.

#include <cstdint>

#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

void RunDivergence(uint64_t seed, Marks* marks, Verdict* verdict);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_DIVERGENCE_H_
