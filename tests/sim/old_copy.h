#ifndef RAFTKV_TESTS_SIM_OLD_COPY_H_
#define RAFTKV_TESTS_SIM_OLD_COPY_H_

// Runs in which an older copy of one member's data directory is put back. Raft does not tolerate
// this fault, because the member has forgotten votes and entries. World cannot do these runs,
// because the fault breaks the invariants that its checkers check. These runs use the small cluster
// of tests/member, with members that stop, crash, are cut off, and write. At the end everything is
// healed, and two rules must hold (docs/decisions/0017-older-copies.md):
//
//   history   No two members that have not halted have committed different entries at one index,
//             and no member has lost an entry that it knows to be committed: so each acknowledged
//             write that such a member knows is either kept, or some member has halted and says so.
//   served    While a member that has halted knows committed entries that another one lacks or
//             contradicts, that other one does not lead a majority.
//
// In two cases nothing need be found: a crash has made a member forget which of its newest entries
// are committed, or no other member knows what the copy has forgotten.

#include <cstdint>

#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

void RunOldCopies(uint64_t seed, Marks* marks, Verdict* verdict);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_OLD_COPY_H_
