#include "tests/sim/lease_checker.h"

#include <algorithm>
#include <utility>

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

void LeaseChecker::OnTurn(int member, uint64_t life, raft::Index applied, const Model& model,
                          Micros now) {
  Learned& learned = learned_[member];
  // A process that starts knows nothing about the time that has passed.
  if (learned.life != life) learned = {.life = life, .applied = 0, .leases = {}};
  if (std::exchange(learned.applied, applied) == applied) return;
  std::map<int64_t, Timed> before = std::exchange(learned.leases, {});
  for (const auto& [lease, state] : model.leases()) {
    const auto known = before.find(lease);
    const bool same = known != before.end() && known->second.renewed == state.renewed;
    if (same) {
      learned.leases.insert(*known);
    } else if (state.renewed <= applied) {
      learned.leases[lease] = {.renewed = state.renewed, .time = now};
    }
  }
}

void LeaseChecker::StartLooking(const std::optional<Leader>& leader) {
  last_indexes_.clear();
  unable_since_.reset();
  late_.clear();
  if (leader) expires_from_ = leads_since_[leader->term] + OnSlowestClock(election_timeout_);
}

bool LeaseChecker::Serves(const Leader& leader, Micros now) {
  last_indexes_.push_back(leader.last_index);
  if (last_indexes_.size() <= kLooksToCommit) return false;
  const raft::Index last_index = last_indexes_.front();
  last_indexes_.pop_front();
  if (!leader.able) {
    if (!unable_since_) unable_since_ = now;
    return false;
  }
  // After a long pause, the only voter is like a new leader.
  if (unable_since_ && now - *unable_since_ >= election_timeout_ / 2) {
    expires_from_ = now + OnSlowestClock(election_timeout_);
  }
  unable_since_.reset();
  return leader.applied >= last_index;
}

void LeaseChecker::Look(const std::optional<Leader>& leader, const Model& model, Micros now) {
  const bool same = leader && leader_ && leader->IsSame(*leader_);
  leader_ = leader;
  if (!same) StartLooking(leader);
  if (!leader || !Serves(*leader, now)) return;
  const std::map<int64_t, Timed>& learned = learned_[leader->member].leases;
  std::map<int64_t, Timed> before = std::exchange(late_, {});
  for (const auto& [lease, state] : model.leases()) {
    const auto known = learned.find(lease);
    if (known == learned.end() || known->second.renewed != state.renewed) continue;
    const Micros due = known->second.time + OnSlowestClock(state.ttl * kSecond);
    Timed& late = late_[lease] = before[lease];
    if (late.renewed != state.renewed) late = {.renewed = state.renewed, .time = 0};
    if (now - kLookEvery < std::max(due, expires_from_)) continue;
    late.time += kLookEvery;
    if (late.time > kLateMax) {
      verdict_->Fail("I11",
                     absl::StrFormat("lease %d with a TTL of %d s still exists %d us after "
                                     "its time, of which its leader n%d served for %d us",
                                     lease, state.ttl, now - due, leader->member + 1, late.time));
    }
  }
}

}  // namespace raftkv::sim
