#ifndef RAFTKV_STORAGE_BASE_MUTANT_H_
#define RAFTKV_STORAGE_BASE_MUTANT_H_

// Planted bugs ("mutants"). They show that the simulator would find real bugs (docs/testing.md).
// Product builds compile each of them to `false`. Only the simulator's build defines
// RAFTKV_MUTANTS; it selects one mutant by name at run time. Example:
//
//   if (voted_for_ != kNobody && !RAFTKV_MUTANT("vote-twice-in-a-term")) reject...
//
// This header has no dependencies, so that server/raft, server/member and storage may all use it.

#ifdef RAFTKV_MUTANTS
#include <string_view>
namespace raftkv {
inline std::string_view g_mutant;  // set by the simulator before a run; empty: no planted bug
}  // namespace raftkv
#define RAFTKV_MUTANT(name) (::raftkv::g_mutant == (name))
#else
#define RAFTKV_MUTANT(name) false
#endif

#endif  // RAFTKV_STORAGE_BASE_MUTANT_H_
