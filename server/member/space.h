#ifndef RAFTKV_SERVER_MEMBER_SPACE_H_
#define RAFTKV_SERVER_MEMBER_SPACE_H_

// What a member concludes from the free space on its disk and from the size of its data
// (docs/decisions/0016):
//
//   enough  nothing.
//   low     it raises the alarm NOSPACE (storage/rules/alarms.h), for the whole cluster.
//   full    it stops writing: it transfers its leadership and takes no entries from a leader. It
//           still serves serializable reads.
//
// The level rises at once. It falls by one step when the free space has exceeded the limit by a
// quarter for some seconds (kSettle). So it does not change with each flush and compaction. The
// server measures the space (server/space_watch.h).
//
// Owned by the replica; used on the thread of the turns.

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "storage/base/disk_space.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

struct SpaceOptions {
  // Below this free space the level is low, below a quarter of it full. 0: the default (LowBytes).
  uint64_t low_bytes = 0;
  // The level is also low if the state machine has more than this on disk. 0: no quota.
  uint64_t quota_bytes = 0;
};

// How much space there is now.
struct SpaceReport {
  uint64_t volume_bytes = 0;
  uint64_t free_bytes = 0;   // without what the reserve file holds, or will hold again
  uint64_t state_bytes = 0;  // of the state machine
};

class Space {
 public:
  enum class Level { kEnough, kLow, kFull };
  static constexpr absl::Duration kSettle = absl::Seconds(3);

  explicit Space(SpaceOptions options) : options_(options) {}

  Level level() const { return level_; }
  const SpaceReport& report() const { return report_; }
  const SpaceOptions& options() const { return options_; }
  uint64_t low_bytes() const { return LowBytes(options_.low_bytes, report_.volume_bytes); }
  bool over_quota() const { return over_quota_; }

  void OnReport(const SpaceReport& report) { report_ = report; }
  // Call it after each report, and at least several times a second. Returns whether the level has
  // changed.
  bool Update(MonotonicTime now) {
    if (report_.volume_bytes == 0) return false;  // nothing was measured yet
    const uint64_t low = low_bytes(), quota = options_.quota_bytes;
    const auto less_than = [this](uint64_t limit, bool before) {
      return report_.free_bytes < limit + (before ? limit / 4 : 0);
    };
    over_quota_ = quota != 0 && report_.state_bytes > quota - (over_quota_ ? quota / 16 : 0);
    const bool full = less_than(FullBytes(low), level_ == Level::kFull);
    const bool is_low = less_than(low, level_ != Level::kEnough && !only_quota_);
    if (is_low) only_quota_ = false;
    const Level next = full ? Level::kFull : is_low || over_quota_ ? Level::kLow : Level::kEnough;
    if (next >= level_) {
      falls_at_.reset();
    } else if (!falls_at_) {
      falls_at_ = now + kSettle;
    }
    if (next == level_ || (falls_at_ && now < *falls_at_)) return false;
    falls_at_.reset();
    level_ = next > level_ ? next : static_cast<Level>(static_cast<int>(level_) - 1);
    only_quota_ = level_ == Level::kLow && !is_low && over_quota_;
    return true;
  }

 private:
  const SpaceOptions options_;
  SpaceReport report_;
  Level level_ = Level::kEnough;
  bool over_quota_ = false;
  bool only_quota_ = false;  // the level is low, and only because of the quota
  std::optional<MonotonicTime> falls_at_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_SPACE_H_
