#ifndef RAFTKV_TESTS_SIM_MUTANTS_H_
#define RAFTKV_TESTS_SIM_MUTANTS_H_

// The planted bugs (storage/base/mutant.h). Each is a mistake that real systems have made. `make
// mutants` shows that the simulator finds each of them within seeds_max seeds. It must find them by
// the behaviour of the members: raft::Invariants::Check, which reads the core's private state, is
// off.
//
// sim_test checks that this list has exactly the names that the product uses in RAFTKV_MUTANT(...).

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"
#include "tests/sim/profile.h"

namespace raftkv::sim {

struct Mutant {
  std::string_view name;
  std::string_view number;  // in docs/planted-bugs.md; empty: it has none
  std::string_view what;
  uint64_t seeds_max = 1000;
  std::string_view not_tried = {};  // if set: the mutant is not tried, for this reason
};

absl::Span<const Mutant> Mutants();

// Whether the planted bug shows only after an older copy of a directory was put back (old_copy.h).
bool NeedsAnOldCopy(std::string_view mutant);

// Whether it shows only after a member's state was changed (divergence.h).
bool NeedsADivergence(std::string_view mutant);

// Whether it shows only after a snapshot was installed over a longer log (long_tail.h).
bool NeedsALongTail(std::string_view mutant);

// Whether it shows only after a backup was restored (restore_run.h).
bool NeedsARestore(std::string_view mutant);

// Adjusts a seed's profile, so that the situations that the planted bug needs are more frequent.
void Aim(std::string_view mutant, Profile* profile);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_MUTANTS_H_
