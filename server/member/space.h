#ifndef RAFTKV_SERVER_MEMBER_SPACE_H_
#define RAFTKV_SERVER_MEMBER_SPACE_H_

// What a member concludes from the free space on its disk and from the size of its data
// (docs/decisions/0016):
//
//   enough  nothing.
//   low     it raises the alarm NOSPACE (storage/alarms.h), for the whole cluster.
//   full    it stops writing: it hands its leadership over and takes no entries from a leader. It
//           still serves reads, from the state that it has.
//
// The level rises at once. It falls only when there is somewhat more space than at the limit, so
// that it does not change with each small difference. The server measures the space
// (server/space_watch.h).
//
// Owned by the replica; used on the thread of the turns.

#include <algorithm>
#include <cstdint>

namespace raftkv {

struct SpaceOptions {
  // Below this free space the level is low, below a quarter of it full. 0: a tenth of the volume,
  // but at most 1 GiB.
  uint64_t low_bytes = 0;
  // The level is also low if the state machine has more than this on disk. 0: no quota.
  uint64_t quota_bytes = 0;
};

inline uint64_t LowBytes(uint64_t configured, uint64_t volume_bytes) {
  constexpr uint64_t kDefaultMax = uint64_t{1} << 30;
  return configured != 0 ? configured : std::min(volume_bytes / 10, kDefaultMax);
}
inline uint64_t FullBytes(uint64_t low_bytes) { return low_bytes / 4; }

// How much space there is now.
struct SpaceReport {
  uint64_t volume_bytes = 0;
  uint64_t free_bytes = 0;   // without what the reserve file holds, or will hold again
  uint64_t state_bytes = 0;  // of the state machine
};

class Space {
 public:
  enum class Level { kEnough, kLow, kFull };

  explicit Space(SpaceOptions options) : options_(options) {}

  Level level() const { return level_; }
  const SpaceReport& report() const { return report_; }
  const SpaceOptions& options() const { return options_; }
  uint64_t low_bytes() const { return LowBytes(options_.low_bytes, report_.volume_bytes); }
  bool over_quota() const { return over_quota_; }

  // Returns whether the level has changed.
  bool OnReport(const SpaceReport& report) {
    report_ = report;
    const uint64_t low = low_bytes(), full = FullBytes(low), quota = options_.quota_bytes;
    const bool was_full = level_ == Level::kFull, was_low = was_full || low_free_;
    low_free_ = report.free_bytes < low + (was_low ? low / 8 : 0);
    over_quota_ = quota != 0 && report.state_bytes > quota - (over_quota_ ? quota / 16 : 0);
    const bool is_full = report.free_bytes < full + (was_full ? full / 2 : 0);
    const Level before = level_;
    level_ = is_full ? Level::kFull : low_free_ || over_quota_ ? Level::kLow : Level::kEnough;
    return level_ != before;
  }

 private:
  const SpaceOptions options_;
  SpaceReport report_;
  Level level_ = Level::kEnough;
  bool low_free_ = false;
  bool over_quota_ = false;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_SPACE_H_
