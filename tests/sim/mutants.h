#ifndef RAFTKV_TESTS_SIM_MUTANTS_H_
#define RAFTKV_TESTS_SIM_MUTANTS_H_

// The planted bugs (storage/base/mutant.h), each a mistake that real systems have made. `make
// mutants` shows that the simulator finds every one of them within its bound of seeds, by the
// invariants that are seen from outside (raft::Invariants, which looks inside, is off).
//
// sim_test checks that this list and the RAFTKV_MUTANT(...) in the product are the same.

#include <cstdint>
#include <string_view>
#include <vector>

#include "tests/sim/profile.h"

namespace raftkv::sim {

struct Mutant {
  std::string_view name;
  std::string_view what;
  uint64_t seeds_max = 1000;
  std::string_view not_hunted = {};  // why nothing can be seen of it from outside
};

const std::vector<Mutant>& Mutants();

// Seeds of a mutant's hunt are as any seed, but what its bug needs happens more often.
void Aim(std::string_view mutant, Profile* profile);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_MUTANTS_H_
