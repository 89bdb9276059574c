#ifndef RAFTKV_TESTS_SIM_RUNNER_H_
#define RAFTKV_TESTS_SIM_RUNNER_H_

// Runs many seeds in forked child processes, to use several cores. A failed CHECK or a crash in the
// product ends one child and is reported with its seed, like a broken invariant. The children send
// reports of fixed size through one pipe; the parent adds them up.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/marks.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

// What a seed runs: whole members (world.h), or Raft cores alone (core_run.h).
enum class Kind { kMembers, kCores };

// Runs one seed with the planted bug `mutant` (empty: none). One seed in twenty runs twice, and the
// two runs must be equal.
RunResult RunSeed(uint64_t seed, std::string_view mutant, bool trace, Kind kind = Kind::kMembers);

struct Totals : Counts {
  uint64_t seeds = 0;
  uint64_t below_minima = 0;  // runs that ended below the minima of a Profile (time_min, ...)

  void AddRun(const Counts& run);
};

struct Failure {
  uint64_t seed = 0;
  std::string invariant;
  std::string what;
};

struct Outcome {
  Totals totals;
  std::vector<Failure> failures;  // at most one for each process, which stops there
};

// `progress` is called after each seed with the totals so far.
Outcome RunSeeds(const std::vector<uint64_t>& seeds, std::string_view mutant, int jobs,
                 const std::function<void(const Totals&)>& progress, Kind kind = Kind::kMembers);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_RUNNER_H_
