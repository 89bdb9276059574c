#ifndef RAFTKV_TESTS_SIM_CORE_RUN_H_
#define RAFTKV_TESTS_SIM_CORE_RUN_H_

// The run of one seed with Raft cores alone: server/raft and a log store on the simulated disk, and
// no replica, state machine or client API. It has the profile, the disk with its crash points, and
// the checker of Raft's invariants in common with the runs of whole members (world.h), which have
// all other checkers. It tests elections, logs, changes of the members, snapshots and reads of the
// core, with many seeds of 60 virtual seconds each.
//
// Faults: loss, delay and duplication of messages, partitions in one or both directions, crashes
// before any effect, pauses, and skewed clocks. At the end all faults stop. Then there must be a
// leader, and every member must commit all that it has.

#include "tests/sim/profile.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

RunResult RunCores(const RunOptions& options, const Profile& profile);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_CORE_RUN_H_
