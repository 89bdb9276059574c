#ifndef RAFTKV_SERVER_RAFT_ACKNOWLEDGEMENT_H_
#define RAFTKV_SERVER_RAFT_ACKNOWLEDGEMENT_H_

// What a follower has to acknowledge to the leader of the current term (AppendEntriesReply): up to
// which index its log equals the leader's, and the newest heartbeat round that the leader sent.
// Owned by Raft, which takes a new one at the start of each term: the next leader may truncate the
// entries before they are written. The reply is built when a Ready is taken, from the values at
// that time, so one reply answers all appends of a turn.

#include <algorithm>
#include <cstdint>

#include "server/raft/types.h"

namespace raftkv::raft {

class Acknowledgement {
 public:
  Index match() const { return now_.match; }
  uint64_t round() const { return now_.round; }
  bool due() const { return due_; }
  // Whether no reply of this term has carried round() yet.
  bool new_round() const { return !replied_ || last_.round < now_.round; }

  // An append with only a new commit index needs no reply. One with entries needs a reply even if
  // the log already had them, because the reply to an earlier copy may be lost.
  void OnAppend(Index match, uint64_t round, bool had_entries) {
    now_ = {std::max(now_.match, match), std::max(now_.round, round)};
    due_ |= had_entries || !replied_ || last_ != now_;
  }
  void OnSnapshot(Index match) {
    now_.match = std::max(now_.match, match);
    due_ = true;
  }
  // This member's disk is full now, or has space again. The first reply of a term reports that,
  // too, so no reply is needed before it.
  void OnSpaceChanged() { due_ |= replied_; }
  // Another member leads now, or no leader is known: the reply is no longer needed.
  void OnLeaderChanged() { due_ = false; }
  void OnReply() {
    due_ = false;
    replied_ = true;
    last_ = now_;
  }

 private:
  struct Values {
    Index match = 0;
    uint64_t round = 0;
    friend bool operator==(const Values&, const Values&) = default;
  };

  Values now_;
  Values last_;  // in the last reply
  bool due_ = false;
  bool replied_ = false;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_ACKNOWLEDGEMENT_H_
