#ifndef RAFTKV_SERVER_RAFT_PROGRESS_H_
#define RAFTKV_SERVER_RAFT_PROGRESS_H_

// What a leader knows about one peer: how far its log matches (match_index), where to go on
// (next_index), and how much may be under way (§5.3). Owned by Raft, one for each other member.
//
//   kProbe      we do not know where the logs part: one append at a time, repeated at most once a
//               heartbeat interval until it is answered
//   kReplicate  the logs match up to next_index - 1 as far as we know: appends are sent without
//               waiting, next_index moves on at once, within a window of messages and bytes
//
// A refusal or a broken connection leads back to kProbe, an acknowledgement to kReplicate.
// Invariant: match_index < next_index. The window may be passed by less than one message's bytes.

#include <cstddef>
#include <cstdint>
#include <deque>

#include "server/raft/types.h"

namespace raftkv::raft {

class Progress {
 public:
  enum class State : uint8_t { kProbe, kReplicate };

  struct Window {
    size_t messages_max = 0;
    size_t bytes_max = 0;
  };

  Progress(Index next_index, Window window) : next_index_(next_index), window_(window) {}

  State state() const { return state_; }
  Index match_index() const { return match_index_; }
  Index next_index() const { return next_index_; }
  size_t inflight_messages() const { return inflight_.size(); }
  size_t inflight_bytes() const { return inflight_bytes_; }

  bool CanSend() const;

  // An append whose last entry is `last` was sent.
  void OnSent(Index last, size_t bytes);

  // Everything up to `match` is saved at the peer. `round` is the leader's newest round. Returns
  // whether match_index moved.
  bool OnAccepted(Index match, uint64_t round);

  // The peer lacks the entry before an append of `round`; the logs may agree below `next`, which is
  // at most the refused position. Returns false for an answer that is out of date.
  bool OnRejected(Index rejected_prev, Index next, uint64_t round);

  // What was sent may be lost.
  void OnUnreachable();

  // A heartbeat interval has passed.
  void OnHeartbeat();

  // The position at which a heartbeat asks: where the peer is known to match, hence never refused,
  // unless nothing in flight was acknowledged for a whole interval. Then the end of what was sent:
  // the peer refuses if it lost any of it, which is how a lost last append is noticed.
  Index heartbeat_prev() const { return stalled_ ? next_index_ - 1 : match_index_; }

  // Facts noted by the leader.
  uint64_t contact_tick = 0;  // when a message of this term last came
  uint64_t echoed_round = 0;  // newest heartbeat round that was answered
  Index told_commit = 0;      // commit index that the peer can have derived from what was sent

 private:
  struct Inflight {
    Index last = 0;
    size_t bytes = 0;
  };

  void PutInFlight(Inflight append);
  void ClearInflight();

  State state_ = State::kProbe;
  Index match_index_ = 0;
  Index next_index_;
  Window window_;

  bool probe_outstanding_ = false;
  Inflight probe_ = {};  // the last one sent
  bool accepted_since_heartbeat_ = true;
  bool stalled_ = false;
  uint64_t match_round_ = 0;  // the leader's round when match_index last moved

  std::deque<Inflight> inflight_;
  size_t inflight_bytes_ = 0;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_PROGRESS_H_
