#ifndef RAFTKV_SERVER_RAFT_INVARIANTS_H_
#define RAFTKV_SERVER_RAFT_INVARIANTS_H_

// What must hold of one member's core at every moment, and between any two moments of its life.
// Tests and the simulator keep one of these beside each core and call Check after every call into
// it. What concerns several members (one leader a term, equal committed prefixes, ...) is checked
// by whoever sees several. Reads the core's private state, changes nothing.

#include <string>
#include <vector>

#include "server/raft/raft.h"

namespace raftkv::raft {

class Invariants {
 public:
  // Empty, or one sentence for each broken invariant. `raft` is the same object each time; after a
  // restart begin with new Invariants.
  std::vector<std::string> Check(const Raft& raft);

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
