#include "server/member/lessor.h"

#include <algorithm>

#include "storage/base/mutant.h"

namespace raftkv {

void Lessor::OnApplied(const LeaseChanges& changes, MonotonicTime now) {
  LeasesById before;
  if (changes.all) {
    before.swap(leases_);
    by_deadline_.clear();
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
    leases_[change.id] = lease;
    by_deadline_.emplace(lease.deadline, change.id);
  }
}

void Lessor::Remove(int64_t id) {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) return;
  by_deadline_.erase({lease->second.deadline, id});
  leases_.erase(lease);
}

void Lessor::OnLeading(MonotonicTime first_expiry) {
  if (!RAFTKV_MUTANT("new-leader-expires-at-once")) first_expiry_ = first_expiry;
}

std::optional<proto::Command> Lessor::CommandToExpire(MonotonicTime now,
                                                      raft::Index applied) const {
  if (by_deadline_.empty() || by_deadline_.begin()->first > now) return std::nullopt;
  if (now < first_expiry_ || proposed_ > applied) return std::nullopt;
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

int Lessor::ExpiredTogether(MonotonicTime now) const {
  if (now - by_deadline_.begin()->first >= kLateMax) return kExpiredTogetherMax;
  const absl::Duration since = now - proposed_at_;
  if (since < kInterval) return 0;
  return static_cast<int>(std::min<double>(
      kExpiredTogetherMax, kExpiredInInterval * absl::FDivDuration(since, kInterval)));
}

std::optional<absl::Duration> Lessor::Remaining(int64_t id, MonotonicTime now) const {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) return std::nullopt;
  return std::max(lease->second.deadline - now, absl::ZeroDuration());
}

}  // namespace raftkv
