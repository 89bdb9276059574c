#ifndef RAFTKV_STORAGE_TABLES_DIGESTS_H_
#define RAFTKV_STORAGE_TABLES_DIGESTS_H_

// The last digests of the state: State::digest right after each entry whose index is divisible by
// an interval, 16 of them. Members compare them through their leader (server/member/audit.h): a
// member whose state was changed by anything but the log is found that way. They are stored with
// the data, so a snapshot contains them, and a member that starts again still has them. They are
// not part of the digest.

#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/status/status.h"
#include "storage/log/entry.h"
#include "storage/tables/state.h"

namespace raftkv {

struct StateDigest {
  raft::Index index = 0;
  uint64_t digest = 0;

  friend bool operator==(const StateDigest&, const StateDigest&) = default;
};

inline constexpr size_t kDigestsKept = 16;
inline constexpr raft::Index kDigestInterval = 1000;

class Digests {
 public:
  static constexpr char kKey[] = "D";

  Digests(Shared* shared, raft::Index interval) : shared_(*shared), interval_(interval) {}

  // DataLoss: the stored data is damaged.
  absl::Status Load();
  // The entry State::applied was applied. Adds to the shared batch, once in an interval.
  void AfterEntry();

  const std::deque<StateDigest>& all() const { return all_; }  // oldest first

 private:
  Shared& shared_;
  const raft::Index interval_;
  std::deque<StateDigest> all_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_DIGESTS_H_
