#ifndef RAFTKV_STORAGE_BASE_MUTANT_H_
#define RAFTKV_STORAGE_BASE_MUTANT_H_

// Planted bugs, to prove that the simulator would find real ones (docs/testing.md). Product builds
// compile each of them to `false`; only the simulator's own build defines RAFTKV_MUTANTS and
// chooses one by name at run time. Used as:
//
//   if (voted_for_ != kNobody && !RAFTKV_MUTANT("vote-twice-in-a-term")) reject...
//
// This header is free of dependencies so that raft/, replica/ and storage/ may all plant bugs.

#ifdef RAFTKV_MUTANTS
#include <string_view>
namespace raftkv {
inline std::string_view g_mutant;  // set once by the simulator before a run; empty: no bug
}  // namespace raftkv
#define RAFTKV_MUTANT(name) (::raftkv::g_mutant == (name))
#else
#define RAFTKV_MUTANT(name) false
#endif

#endif  // RAFTKV_STORAGE_BASE_MUTANT_H_
