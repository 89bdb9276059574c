#ifndef RAFTKV_TESTS_SIM_RNG_H_
#define RAFTKV_TESTS_SIM_RNG_H_

// The simulator's random generator and its unit of time. All random choices of a run come from one
// Rng, in the order of its events, so a seed determines the run.

#include <cstdint>

#include "server/raft/prng.h"

namespace raftkv::sim {

using Micros = int64_t;  // virtual time since the start of a run

inline constexpr Micros kMillisecond = 1000;
inline constexpr Micros kSecond = 1'000'000;

class Rng {
 public:
  explicit Rng(uint64_t seed) : prng_(seed) {}

  uint64_t Next() { return prng_.Next(); }
  uint64_t Below(uint64_t bound) { return prng_.Below(bound); }
  // In [low, high], both included.
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low) + 1));
  }
  // True with a probability of `parts` in a million.
  bool Chance(uint32_t parts) { return Below(1'000'000) < parts; }
  // Nine times in ten between 1/4 and 5/4 of `mean`, else between 1 and 6 times `mean`.
  Micros Around(Micros mean) {
    if (mean <= 0) return 0;
    return Chance(100'000) ? Between(mean, 6 * mean) : Between(mean / 4, mean * 5 / 4);
  }

 private:
  raft::Prng prng_;
};

inline constexpr uint32_t kPercent = 10'000;  // in parts of a million

// Mixes `value` into a running hash, with the finalizer of SplitMix64.
inline uint64_t Mix(uint64_t hash, uint64_t value) {
  uint64_t z = hash * 0x100000001b3u + value + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_RNG_H_
