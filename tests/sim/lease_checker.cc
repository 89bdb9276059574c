#include "tests/sim/lease_checker.h"

#include "absl/strings/str_format.h"

namespace raftkv::sim {

void LeaseChecker::OnEntry(const raft::EntryId& id, const proto::Command& command,
                           const std::map<int64_t, Model::Lease>& before, const Model& model,
                           Micros now) {
  for (const auto& [lease, state] : model.leases()) {
    if (state.renewed != id.index) continue;
    marks_->Hit(before.contains(lease) ? Mark::kLeaseRenewed : Mark::kLeaseGranted);
    renewed_[lease] = {.at = now, .term = id.term};
  }
  for (const proto::ExpireLeases::Lease& asked : command.expire_leases().leases()) {
    const auto known = before.find(asked.id());
    if (known != before.end() && known->second.renewed != asked.renewed()) {
      marks_->Hit(Mark::kLeaseSaved);
    }
  }
  size_t expired = 0;
  for (const auto& [lease, state] : before) {
    if (model.leases().contains(lease)) continue;
    const Renewal renewed = renewed_.extract(lease).mapped();
    if (!command.has_expire_leases()) continue;
    ++expired;
    marks_->Hit(renewed.term == id.term ? Mark::kLeaseExpired : Mark::kLeaseExpiredLater);
    const Micros lived = now - renewed.at;
    if (lived < OnFastestClock(state.ttl * kSecond)) {
      verdict_->Fail("I11", absl::StrFormat("lease %d with a TTL of %d s expires %d us after its "
                                            "last renewal, in entry %d",
                                            lease, state.ttl, lived, id.index));
    }
    const Micros leads = now - leads_since_[id.term];
    if (leads < OnFastestClock(election_timeout_)) {
      verdict_->Fail("I11", absl::StrFormat("entry %d expires lease %d, but its leader leads only "
                                            "since %d us",
                                            id.index, lease, leads));
    }
  }
  if (expired > 0 && static_cast<int>(expired) < command.expire_leases().leases_size()) {
    marks_->Hit(Mark::kLeasesLeft);
  }
}

}  // namespace raftkv::sim
