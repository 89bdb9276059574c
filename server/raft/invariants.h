#ifndef RAFTKV_SERVER_RAFT_INVARIANTS_H_
#define RAFTKV_SERVER_RAFT_INVARIANTS_H_

// Checks the invariants of one member's core: those of its state, and those of the change since the
// previous check. Tests and the simulator have one of these for each core and call Check and
// CheckBounds after every call into the core. Invariants over several members (at most one leader
// in a term, equal committed prefixes, ...) are checked elsewhere, for example in
// tests/sim/raft_checker. Check reads the core's private state and changes nothing.

#include <string>
#include <vector>

#include "server/raft/raft.h"

namespace raftkv::raft {

class Invariants {
 public:
  // Returns one sentence for each broken invariant. `raft` must be the same object at each call;
  // use a new Invariants after a restart.
  std::vector<std::string> Check(const Raft& raft);
  // The same for the bounds of Config: what the core holds in memory or has in flight.
  std::vector<std::string> CheckBounds(const Raft& raft);

 private:
  struct Seen {
    bool anything = false;
    Role role = Role::kFollower;
    Term term = 0;
    MemberId voted_for = kNobody;
    MemberId leader = kNobody;
    EntryId last;
    EntryId committed;
    Index handed_out = 0;
    Index applied = 0;
    uint64_t round = 0;
    HardState saved;
  };

  void CheckState(const Raft& raft);
  void CheckLeader(const Raft& raft);
  void CheckStep(const Raft& raft);
  void Require(bool holds, const char* what);

  Seen seen_;
  std::vector<std::string> broken_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_INVARIANTS_H_
