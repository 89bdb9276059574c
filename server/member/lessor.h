#ifndef RAFTKV_SERVER_MEMBER_LESSOR_H_
#define RAFTKV_SERVER_MEMBER_LESSOR_H_

// Measures how long leases still live, and tells the leader which ones to expire
// (docs/decisions/0011).
//
// Grants and renewals are entries of the log. Every member starts a lease's time when it learns
// that it has applied such an entry, on its own clock. So each member knows the deadlines, and a
// new leader continues with those that it has. A deadline is never too early, because the time
// starts when the entry is applied, after the client has sent its request. A member that starts, or
// installs a snapshot, gives a full time to live to each lease whose last renewal it has not
// applied since its start.
//
// Only a leader expires leases, and only once it has applied an entry of its own term, so that it
// knows all renewals that were acknowledged before it was elected. A new leader expires nothing for
// one election timeout, so that clients can renew leases that they could not renew without a
// leader. The expiry is an entry of the log, so it takes effect only if a majority still follows
// the leader. It names the last renewal of each lease that the leader knew. A lease that was
// renewed later does not expire.
//
// Owned by the replica; used on the thread that runs the turns.

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "proto/command.pb.h"
#include "storage/base/monotonic_time.h"
#include "storage/base/seeded_hash.h"
#include "storage/log/entry.h"
#include "storage/tables/state.h"

namespace raftkv {

class Lessor {
 public:
  // Expiring a lease takes time from other requests, so the leases that are due are spread over the
  // time that they may be late, and at least kExpiredInInterval of them expire in each kInterval.
  // One entry in kInterval at most expires leases, at most kExpiredTogetherMax. When the oldest
  // lease is late by kLateMax, entries are as large as possible and follow each other at once.
  static constexpr absl::Duration kInterval = absl::Milliseconds(2);
  static constexpr int kExpiredInInterval = 20;
  static constexpr int kExpiredTogetherMax = 500;
  static constexpr absl::Duration kLateMax = absl::Milliseconds(1700);

  // `changes`: what was applied since the last call.
  void OnApplied(const LeaseChanges& changes, MonotonicTime now);

  // This member has become a leader. It expires nothing before `first_expiry`.
  void OnLeading(MonotonicTime first_expiry);
  // Call it on a leader that has applied everything up to `applied`. Returns the command to
  // propose: it expires the leases whose time is over. Returns none if there are no such leases, if
  // the previous command of this kind is not applied yet, or if it is too early for the next one.
  // When the proposal is accepted, call OnProposed.
  std::optional<proto::Command> CommandToExpire(MonotonicTime now, raft::Index applied);
  void OnProposed(raft::Index index, MonotonicTime now) {
    proposed_ = index;
    proposed_at_ = now;
  }
  // The leader or the term changed, so a proposed command may be lost.
  void OnNewTerm() { proposed_ = 0; }

  // The remaining time to live; none if there is no such lease.
  std::optional<absl::Duration> Remaining(int64_t id, MonotonicTime now) const;
  size_t size() const { return leases_.size(); }

 private:
  struct Lease {
    MonotonicTime deadline;
    raft::Index renewed = 0;
  };
  void Add(int64_t id, const Lease& lease);
  void Remove(int64_t id);
  void CountDue(MonotonicTime now);
  // How many leases the next command may expire; 0: it is too early. There is a lease that is due.
  int ExpiredTogether(MonotonicTime now) const;

  using LeasesById = absl::flat_hash_map<int64_t, Lease, SeededIdHash>;  // never iterated
  LeasesById leases_;
  absl::btree_set<std::pair<MonotonicTime, int64_t>> by_deadline_;
  MonotonicTime counted_to_ = MonotonicTime::InfinitePast();
  int64_t due_ = 0;  // leases with a deadline up to counted_to_
  MonotonicTime first_expiry_ = MonotonicTime::InfinitePast();
  raft::Index proposed_ = 0;
  MonotonicTime proposed_at_ = MonotonicTime::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_LESSOR_H_
