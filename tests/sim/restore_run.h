#ifndef RAFTKV_TESTS_SIM_RESTORE_RUN_H_
#define RAFTKV_TESTS_SIM_RESTORE_RUN_H_

// A backup of one cluster is restored into a new one (storage/restored_state.h), whose members
// start one after the other, crash before they may vote, and later. Every member must have the
// contents of the backup and nothing that was written after it, must not know the members of the
// old cluster, and must serve. Uses the cluster of tests/member: the checkers of World know the
// whole log, and the log of a restored member begins after the backup.

#include <cstdint>

#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

void RunRestore(uint64_t seed, Marks* marks, Verdict* verdict);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_RESTORE_RUN_H_
