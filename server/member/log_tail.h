#ifndef RAFTKV_SERVER_MEMBER_LOG_TAIL_H_
#define RAFTKV_SERVER_MEMBER_LOG_TAIL_H_

// How much of its log a member keeps (docs/decisions/0012). Each member decides alone, so that the
// log is bounded on followers too.
//
// Entries are removed only once the state machine has their effects on disk: otherwise a crash
// would lose them. Some of these entries are kept nevertheless, so that a follower that was away
// for a short time can catch up without a snapshot. A leader keeps more for a follower that is
// catching up.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "storage/log/log_store.h"

namespace raftkv {

struct LogTail {
  // What is kept: no more than either of these. At least one entry is always kept.
  raft::Index entries_max = 10'000;
  uint64_t bytes_max = 64 << 20;
  // The log is cut when it has this much more than that: a cut costs a sync.
  raft::Index step_entries = 5'000;
  uint64_t step_bytes = 16 << 20;
  // For a follower that is catching up, or a snapshot that is being sent, a leader keeps up to this
  // many bytes of the log, or as many as the state has. Beyond that, a new snapshot is cheaper.
  uint64_t held_bytes_max = 512 << 20;
};

// The first entry to keep, or first_index() if it is too early for a cut. `flushed` is the last
// entry whose effects the state machine holds on disk. `held`: a follower needs the entries from
// there on; 0: none does. `state_bytes`: the size of the state machine.
inline raft::Index FirstToKeep(const LogStore& log, const LogTail& tail, raft::Index flushed,
                               raft::Index held, uint64_t state_bytes) {
  const raft::Index first = log.first_index(), last = log.last_index();
  if (last < first) return first;
  raft::Index keep = last + 1 - std::min(last, tail.entries_max);
  keep = std::clamp(std::max(keep, log.FirstWithin(tail.bytes_max)), first, last);
  if (held != 0 && held < keep) {
    const uint64_t held_bytes_max = std::max(tail.held_bytes_max, state_bytes);
    keep = std::max(held, std::min(keep, log.FirstWithin(held_bytes_max)));
  }
  keep = std::min(keep, flushed + 1);
  if (keep <= first) return first;
  const bool worthwhile = keep - first >= tail.step_entries ||
                          log.BytesFrom(first) - log.BytesFrom(keep) >= tail.step_bytes;
  return worthwhile ? keep : first;
}

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_LOG_TAIL_H_
