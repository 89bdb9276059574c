#include "server/member/lessor.h"

#include <algorithm>
#include <limits>

#include "storage/base/mutant.h"

namespace raftkv {

void Lessor::OnApplied(const LeaseChanges& changes, MonotonicTime now) {
  LeasesById before;
  if (changes.all) {
    before.swap(leases_);
    by_deadline_.clear();
    due_ = 0;
  }
  for (const LeaseChange& change : changes.changes) {
    const auto known = before.find(change.id);
    Lease lease{.deadline = now + absl::Seconds(change.ttl), .renewed = change.renewed};
    if (RAFTKV_MUTANT("leases-expire-early"))
      lease.deadline = now + absl::Seconds(change.ttl) * 0.9;
    if (known != before.end() && known->second.renewed == change.renewed) lease = known->second;
    if (const auto old = leases_.find(change.id);
        old != leases_.end() && change.ttl != 0 && RAFTKV_MUTANT("lessor-forgets-renewals")) {
      lease.deadline = old->second.deadline;
    }
    Remove(change.id);
    if (change.ttl == 0) continue;
    Add(change.id, lease);
  }
}

void Lessor::Add(int64_t id, const Lease& lease) {
  leases_[id] = lease;
  by_deadline_.emplace(lease.deadline, id);
  if (lease.deadline <= counted_to_) ++due_;
}

void Lessor::Remove(int64_t id) {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) return;
  by_deadline_.erase({lease->second.deadline, id});
  if (lease->second.deadline <= counted_to_) --due_;
  leases_.erase(lease);
}

void Lessor::OnLeading(MonotonicTime first_expiry) {
  if (!RAFTKV_MUTANT("new-leader-expires-at-once")) first_expiry_ = first_expiry;
  // The simulator's leases live for up to 4 s.
  if (RAFTKV_MUTANT("new-leader-restarts-leases")) first_expiry_ = first_expiry + absl::Seconds(4);
}

std::optional<proto::Command> Lessor::CommandToExpire(MonotonicTime now, raft::Index applied) {
  if (by_deadline_.empty() || by_deadline_.begin()->first > now) return std::nullopt;
  if (now < first_expiry_ || proposed_ > applied) return std::nullopt;
  CountDue(now);
  const int size = ExpiredTogether(now);
  if (size == 0) return std::nullopt;
  proto::Command command;
  proto::ExpireLeases& expire = *command.mutable_expire_leases();
  for (const auto& [deadline, id] : by_deadline_) {
    if (deadline > now || expire.leases_size() == size) break;
    proto::ExpireLeases::Lease& lease = *expire.add_leases();
    lease.set_id(id);
    lease.set_renewed(leases_.at(id).renewed);
  }
  return command;
}

void Lessor::CountDue(MonotonicTime now) {
  auto lease = by_deadline_.upper_bound({counted_to_, std::numeric_limits<int64_t>::max()});
  for (; lease != by_deadline_.end() && lease->first <= now; ++lease) ++due_;
  counted_to_ = std::max(counted_to_, now);
}

int Lessor::ExpiredTogether(MonotonicTime now) const {
  const absl::Duration time_left = kLateMax - (now - by_deadline_.begin()->first);
  if (time_left <= absl::ZeroDuration()) return kExpiredTogetherMax;
  const absl::Duration since = now - proposed_at_;
  if (since < kInterval) return 0;
  const double spread = static_cast<double>(due_) * absl::FDivDuration(since, time_left);
  const double least = kExpiredInInterval * absl::FDivDuration(since, kInterval);
  return static_cast<int>(std::min<double>(kExpiredTogetherMax, std::max(spread, least)));
}

std::optional<absl::Duration> Lessor::Remaining(int64_t id, MonotonicTime now) const {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) return std::nullopt;
  return std::max(lease->second.deadline - now, absl::ZeroDuration());
}

}  // namespace raftkv
