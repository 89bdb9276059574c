#ifndef RAFTKV_SERVER_MEMBER_PEER_LIVES_H_
#define RAFTKV_SERVER_MEMBER_PEER_LIVES_H_

// What this member remembers of each other one while its own process runs: which process it is
// (boot id), and how far its log has come (raft::Reached), as it said itself or acknowledged to
// this member as its leader. A new process of a member whose log has not come as far runs on an
// older copy of the data directory, and a process that another one has replaced must not be heard
// any more (docs/decisions/0017-older-copies.md).
//
// Owned by the replica; used on the thread of the turns. The memory is bounded by the number of
// members, which may be heard under at most 16 unknown ids (server/peer/handshake.h).

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
    kOlderCopy,  // its log was further
    // A message of an earlier process: late, or it still runs beside the newer one. Also the first
    // messages of an older copy, which look like late ones.
    kReplaced,
  };

  // A message of `peer` arrived. `boot_id` 0: a release that does not tell it.
  Verdict OnHeard(raft::MemberId peer, uint64_t boot_id, const raft::Reached& reached,
                  MonotonicTime now) {
    if (boot_id == 0) return Verdict::kOk;
    Life& life = lives_[peer];
    if (boot_id != life.boot_id) {
      if (std::find(life.replaced.begin(), life.replaced.end(), boot_id) != life.replaced.end()) {
        return Verdict::kReplaced;
      }
      if (reached < life.reached) {
        if (std::exchange(life.behind, boot_id) != boot_id) life.behind_since = now;
        const bool late = now - life.behind_since < kLate;
        return late ? Verdict::kReplaced : Verdict::kOlderCopy;
      }
      if (life.boot_id != 0) life.replaced.push_back(life.boot_id);
      if (life.replaced.size() > kReplacedMax) life.replaced.pop_front();
      life.boot_id = boot_id;
    }
    life.behind = 0;
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
  // A process that is behind and is heard for longer than this, while the known one is silent, did
  // not end before the known one began.
  static constexpr absl::Duration kLate = absl::Seconds(1);

  struct Life {
    uint64_t boot_id = 0;
    raft::Reached reached;
    std::deque<uint64_t> replaced;  // the newest boot ids before this one
    uint64_t behind = 0;            // another process that is behind, since the known one was heard
    MonotonicTime behind_since;
  };
  std::map<raft::MemberId, Life> lives_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_PEER_LIVES_H_
