#ifndef RAFTKV_SERVER_MEMBER_CATCH_UP_PACE_H_
#define RAFTKV_SERVER_MEMBER_CATCH_UP_PACE_H_

// Decides whether a member that catches up rests between its turns. A member that lacks many
// committed entries saves and applies them as fast as it gets them. That takes time from what
// serves the clients meanwhile: the leader, which reads these entries, and everything that shares a
// processor or a disk with this member. So it rests for twice as long as it works, but only if
//   - the leader commits entries meanwhile, so it does not wait for this member, and
//   - this member saves more than 1.5 times as many entries meanwhile, the rests included.
// Owned by Member, which calls it after each turn.

#include <cstdint>

#include "server/raft/types.h"

namespace raftkv {

class CatchUpPace {
 public:
  // `last`: the last index of the log. `committed`: Raft::leader_commit.
  void OnTurn(raft::Index last, raft::Index committed);

  bool rests() const { return rests_; }

 private:
  // It decides once in so many turns, because the entries come in messages that have one commit
  // index each.
  static constexpr int kTurns = 16;
  // So many entries are applied in about 0.1 s.
  static constexpr raft::Index kFarBehind = 10'000;

  uint64_t turns_ = 0;
  raft::Index last_ = 0;  // at the last decision
  raft::Index committed_ = 0;
  bool rests_ = false;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_CATCH_UP_PACE_H_
