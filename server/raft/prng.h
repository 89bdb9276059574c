#ifndef RAFTKV_SERVER_RAFT_PRNG_H_
#define RAFTKV_SERVER_RAFT_PRNG_H_

// The core's only source of randomness: SplitMix64 (Steele, Lea and Flood, 2014). Equal seeds give
// equal sequences on every platform; the distributions of <random> do not guarantee that.

#include <cstdint>

#include "storage/base/check.h"

namespace raftkv::raft {

class Prng {
 public:
  explicit Prng(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // A number in [0, bound). The modulo bias is below bound / 2^64.
  uint64_t Below(uint64_t bound) {
    CHECK_GT(bound, 0u);
    return Next() % bound;
  }

 private:
  uint64_t state_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_PRNG_H_
