#ifndef RAFTKV_SERVER_MEMBER_PEER_LIVES_H_
#define RAFTKV_SERVER_MEMBER_PEER_LIVES_H_

// What this member remembers about each peer while this process runs: the peer's process (boot id),
// and how far the peer's log has come (raft::Reached), as the peer said, or acknowledged to this
// member as its leader. If a new process of a peer has a log that has not come as far, it runs on
// an older copy of the data directory. Messages of a process that a newer one has replaced must be
// rejected (docs/decisions/0017-older-copies.md).
//
// Owned by the replica; used on the thread of the turns. The memory is bounded: the peers are the
// members, and at most 16 unknown senders (server/peer/handshake.h).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <utility>

#include "absl/time/time.h"
#include "storage/base/monotonic_time.h"
#include "storage/log/entry.h"

namespace raftkv {

class PeerLives {
 public:
  enum class Verdict {
    kOk,
    kOlderCopy,  // an earlier process of this peer had a longer log
    // The message is from an earlier process: it is late, or that process still runs. The first
    // messages of an older copy get this verdict too, because they look like late ones.
    kReplaced,
  };

  // Call it at the start of each turn. After a pause of this process, messages that arrived during
  // the pause are handled, and they look later than they are. So only a part of the pause counts.
  void OnTurn(MonotonicTime now) {
    const absl::Duration pause = now - last_turn_;
    if (last_turn_ != MonotonicTime::InfinitePast() && pause > kPauseCounts) {
      for (auto& [peer, life] : lives_) life.doubted_since += pause - kPauseCounts;
    }
    last_turn_ = now;
  }

  // A message of `peer` arrived. `boot_id` 0: a release that does not tell it.
  Verdict OnHeard(raft::MemberId peer, uint64_t boot_id, const raft::Reached& reached,
                  MonotonicTime now) {
    if (boot_id == 0) return Verdict::kOk;
    Life& life = lives_[peer];
    if (boot_id != life.boot_id) {
      const auto replaced = std::find(life.replaced.begin(), life.replaced.end(), boot_id);
      const bool was_replaced = replaced != life.replaced.end();
      if (was_replaced || reached < life.reached) {
        if (std::exchange(life.doubted, boot_id) != boot_id) life.doubted_since = now;
        if (now - life.doubted_since < kLate) return Verdict::kReplaced;
        if (reached < life.reached) return Verdict::kOlderCopy;
      }
      if (was_replaced) life.replaced.erase(replaced);
      if (life.boot_id != 0) life.replaced.push_back(life.boot_id);
      if (life.replaced.size() > kReplacedMax) life.replaced.pop_front();
      life.boot_id = boot_id;
    }
    life.doubted = 0;
    life.reached = std::max(life.reached, reached);
    return Verdict::kOk;
  }

  // `peer` has acknowledged this much to this member, its leader.
  void OnAcknowledged(raft::MemberId peer, const raft::Reached& reached) {
    const auto life = lives_.find(peer);
    if (life != lives_.end()) life->second.reached = std::max(life->second.reached, reached);
  }

  raft::Reached reached(raft::MemberId peer) const {
    const auto life = lives_.find(peer);
    return life == lives_.end() ? raft::Reached{} : life->second.reached;
  }

 private:
  static constexpr size_t kReplacedMax = 8;
  // Messages of a process that ended before the known one began are late by no more than this. So
  // if another process sends for longer than this, and the known process is silent meanwhile, then
  // the other one runs. If its log is behind, it runs on an older copy. If not, a late message of
  // an earlier process was taken for the first one of a newer process, and is corrected now.
  static constexpr absl::Duration kLate = absl::Seconds(1);
  static constexpr absl::Duration kPauseCounts = absl::Milliseconds(125);

  struct Life {
    uint64_t boot_id = 0;
    raft::Reached reached;
    std::deque<uint64_t> replaced;  // the newest boot ids before this one
    // The boot id of a process that was replaced or is behind, and that sends. 0: none since the
    // last message of the known one.
    uint64_t doubted = 0;
    MonotonicTime doubted_since;
  };
  std::map<raft::MemberId, Life> lives_;
  MonotonicTime last_turn_ = MonotonicTime::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_PEER_LIVES_H_
