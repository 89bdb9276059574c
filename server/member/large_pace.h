#ifndef RAFTKV_SERVER_MEMBER_LARGE_PACE_H_
#define RAFTKV_SERVER_MEMBER_LARGE_PACE_H_

// Decides when a member may propose the next large commands of its clients. Everybody's entries are
// in one log, so a small command that is proposed together with a large one, or after it, waits
// until a majority has saved the large one. Therefore, while many small commands are committed,
//   - large ones are proposed in batches: one, or several that are small enough together, and
//   - when a batch is committed, the next one is proposed only after a rest, which is several times
//     as long as the batch took.
// A few small commands, such as keep-alives, do not matter: then large ones are proposed at once.
//
// The small commands are those of all members: each member sees what is committed.
//
// Owned by Proposals.

#include <cstddef>

#include "absl/time/time.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

class LargePace {
 public:
  // A command of at least `large_bytes` is large.
  explicit LargePace(size_t large_bytes) : large_bytes_(large_bytes) {}

  bool IsLarge(size_t bytes) const { return bytes >= large_bytes_; }

  // A small command was committed, of any member.
  void OnSmallCommitted(MonotonicTime now);
  // A large command was proposed.
  void OnProposed(size_t bytes, MonotonicTime now);
  // No large command is in flight any more.
  void OnNoneInFlight(MonotonicTime now);

  // Whether a large command may be proposed now.
  bool MayPropose(MonotonicTime now) const;

 private:
  // Figures: docs/decisions/0028.
  static constexpr absl::Duration kPeriod = absl::Milliseconds(100);
  static constexpr int kMany = 10;  // small ones in a period
  static constexpr int kRest = 3;   // times the time of the batch
  static constexpr absl::Duration kRestMax = absl::Milliseconds(100);
  static constexpr size_t kBatch = 4;  // times large_bytes_; the last one of a batch may exceed it

  const size_t large_bytes_;
  // When there were many small ones in a period last.
  MonotonicTime many_at_ = MonotonicTime::InfinitePast();
  MonotonicTime period_begin_ = MonotonicTime::InfinitePast();
  int smalls_ = 0;  // in this period
  // When large ones were proposed last, and how many bytes then; 0 bytes if none is in flight.
  MonotonicTime proposed_at_ = MonotonicTime::InfinitePast();
  size_t batch_bytes_ = 0;
  MonotonicTime rests_until_ = MonotonicTime::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_LARGE_PACE_H_
