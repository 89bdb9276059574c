#ifndef RAFTKV_SERVER_MEMBER_AUTO_COMPACTION_H_
#define RAFTKV_SERVER_MEMBER_AUTO_COMPACTION_H_

// Decides when the leader compacts the history by itself, as etcd does:
//
//   periodic  keeps the history of the last `period`. Every member notes the revision ten times in
//             a period (or in an hour, if that is shorter). Once a period is over, and then once in
//             each period (or hour), the leader compacts up to the oldest revision that it noted.
//   revision  keeps the last `revisions` revisions. The leader compacts every five minutes.
//
// The notes are in memory only, so a member that has just started waits a whole period.
//
// Owned by the replica; used on the thread of the turns.

#include <cstddef>
#include <deque>
#include <optional>

#include "absl/time/time.h"
#include "proto/command.pb.h"
#include "storage/base/monotonic_time.h"
#include "storage/rules/revision.h"

namespace raftkv {

// At most one of the two is not zero.
struct AutoCompactionOptions {
  absl::Duration period = absl::ZeroDuration();
  Revision revisions = 0;

  absl::Duration hour = absl::Hours(1);  // tests choose shorter times
  absl::Duration revision_interval = absl::Minutes(5);
};

class AutoCompaction {
 public:
  explicit AutoCompaction(AutoCompactionOptions options) : options_(options) {}

  // Call it in each turn with the newest revision that is applied. Returns the command to propose
  // now, if this member leads; none: nothing is due. When it is proposed, call OnProposed.
  std::optional<proto::Command> CommandToCompact(MonotonicTime now, Revision newest, bool leads);
  void OnProposed(MonotonicTime now, const etcdserverpb::CompactionRequest& compaction);

 private:
  absl::Duration interval() const;  // between two compactions
  absl::Duration step() const;      // between two notes of the revision

  const AutoCompactionOptions options_;
  std::deque<Revision> noted_;  // periodic: one for each step of the last period, oldest first
  MonotonicTime next_look_ = MonotonicTime::InfinitePast();
  MonotonicTime last_;  // the last compaction; before that, the first look
  bool begun_ = false;
  bool compacted_once_ = false;
  Revision last_revision_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_AUTO_COMPACTION_H_
