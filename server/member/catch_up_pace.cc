#include "server/member/catch_up_pace.h"

namespace raftkv {

void CatchUpPace::OnTurn(raft::Index last, raft::Index committed) {
  if (committed <= last + kFarBehind) {
    rests_ = false;
    turns_ = 0;
    return;
  }
  if (++turns_ % kTurns != 1) return;
  const bool others_commit = turns_ > 1 && committed > committed_;
  rests_ = others_commit && last > last_ && 2 * (last - last_) > 3 * (committed - committed_);
  last_ = last;
  committed_ = committed;
}

}  // namespace raftkv
