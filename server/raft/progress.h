#ifndef RAFTKV_SERVER_RAFT_PROGRESS_H_
#define RAFTKV_SERVER_RAFT_PROGRESS_H_

// A leader's view of one peer (§5.3): up to where the logs match (match_index), which entry to send
// next (next_index), and what was sent but not acknowledged. Owned by Raft, one for each other
// member.
//
//   kProbe      The leader does not know up to where the logs match. It sends one append at a time
//               and repeats it at most once in a heartbeat interval until it is answered. So a
//               probe is small: if the next entry is large, it has no entries.
//   kReplicate  The leader expects the logs to match up to next_index - 1. It sends appends without
//               waiting for replies, within a window of messages and bytes. next_index advances
//               when an append is sent.
//   kSnapshot   The leader's log no longer has the peer's next entry. The driver sends a snapshot
//               instead (Ready::snapshots_to), and no appends are sent until it reports how that
//               ended; heartbeats go on.
//   kExcluded   The peer has lost entries that it had acknowledged, and does not know it. It gets
//               only heartbeats, from which it learns this (AppendEntries::acknowledged), and is
//               not counted. No other state follows.
//
// A rejection or a broken connection leads to kProbe, an acknowledgement to kReplicate, the end of
// a snapshot to kProbe. Invariant: match_index < next_index. The bytes in flight may exceed the
// window by less than one message.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

#include "server/raft/types.h"

namespace raftkv::raft {

class Progress {
 public:
  enum class State : uint8_t { kProbe, kReplicate, kSnapshot, kExcluded };

  struct Window {
    size_t messages_max = 0;
    size_t bytes_max = 0;
  };

  Progress(Index next_index, Window window) : next_index_(next_index), window_(window) {}

  State state() const { return state_; }
  Index match_index() const { return match_index_; }
  Index acknowledged() const { return acknowledged_; }  // the highest match_index ever
  Index next_index() const { return next_index_; }
  size_t inflight_messages() const { return inflight_.size(); }
  size_t inflight_bytes() const { return inflight_bytes_; }
  size_t last_inflight_bytes() const { return inflight_.empty() ? 0 : inflight_.back().bytes; }

  bool CanSend() const;

  // An append was sent. `last` is the index of its last entry; if it has no entries (a probe), of
  // its prev.
  void OnSent(Index last, size_t bytes);

  // A message that is sent now may arrive late, because appends are in flight before it: they are
  // large, or none was acknowledged for a whole heartbeat interval.
  bool congested() const { return late_ || inflight_bytes_ > kCongestedBytes; }

  // The peer has saved everything up to `match`. `round` is the leader's newest round. Returns
  // whether match_index advanced.
  bool OnAccepted(Index match, uint64_t round);

  // The peer rejected an append of `round` whose prev is at index `rejected_prev`. Continue from
  // `next`, which is at most rejected_prev. kIgnored: the rejection is out of date. kLostEntries:
  // the peer rejects what it had acknowledged before it got the append. Then match_index is 0. If
  // the peer knows it (AppendEntriesReply::repairs), it gets the entries again, and what it
  // acknowledges from now on counts. Otherwise it is excluded for ever.
  enum class Rejection { kIgnored, kUsed, kLostEntries };
  Rejection OnRejected(Index rejected_prev, Index next, uint64_t round, bool repairs = false);

  // Messages in flight may be lost. The next probe begins at next_index, or at `first_index` (of
  // the leader's log) if that is less, but not at or below match_index. A peer that has the entry
  // before `first_index` needs no snapshot.
  void OnUnreachable(Index first_index);

  // A snapshot is being sent, because next_index is below the leader's first index.
  void BecomeSnapshot();
  // ok: the peer has installed it, so it should have the entry before `first_index`; the next probe
  // checks that. Not ok: the peer gets another snapshot, but not before the next heartbeat.
  void OnSnapshotSent(bool ok, Index first_index);

  // The peer reported that its disk is full, or has space again. A peer with a full disk takes no
  // entries, so it is sent only heartbeats. When it has space again, the leader probes.
  // `first_index` as above.
  void OnOutOfSpace(bool out_of_space, Index first_index);
  bool out_of_space() const { return out_of_space_; }

  // A new heartbeat interval begins.
  void OnHeartbeat();

  // True once for each interval in which appends were in flight and none was acknowledged. The
  // leader then sends an append without entries whose prev is next_index - 1. The peer rejects it
  // if one of the appends before it was lost. Otherwise the loss of the last append would not be
  // noticed.
  bool TakeStalled() { return std::exchange(stalled_, false); }

  // Set by Raft.
  uint64_t contact_tick = 0;  // when the peer last answered an append of this term
  uint64_t echoed_round = 0;  // the newest heartbeat round that the peer answered
  Index told_commit = 0;      // how far the messages that were sent so far let the peer commit

 private:
  static constexpr size_t kCongestedBytes = 64 << 10;

  struct Inflight {
    Index last = 0;
    size_t bytes = 0;
  };

  void PutInFlight(Inflight append);
  void ClearInflight();

  State state_ = State::kProbe;
  Index match_index_ = 0;
  Index acknowledged_ = 0;
  Index next_index_;
  Window window_;

  bool out_of_space_ = false;
  bool probe_outstanding_ = false;
  Inflight probe_ = {};  // the last probe that was sent
  bool accepted_since_heartbeat_ = true;
  bool stalled_ = false;
  bool late_ = false;
  uint64_t match_round_ = 0;  // the leader's round when match_index last moved

  std::deque<Inflight> inflight_;
  size_t inflight_bytes_ = 0;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_PROGRESS_H_
