#include "server/member/proposals.h"

#include <algorithm>
#include <utility>

#include "server/member/origin.h"
#include "storage/base/mutant.h"

namespace raftkv {

void Proposals::Add(ProposeRequest request, absl::Time deadline) {
  const uint64_t number = next_number_++;
  Proposal& proposal = all_[number];
  proposal.payload = raft::Payload(WithOrigin(member_, boot_id_, number, request.command));
  proposal.done = std::move(request.done);
  proposal.deadline = deadline;
  bytes_ += proposal.payload.size();
  waiting_.push_back(number);
}

std::optional<Proposals::Outgoing> Proposals::TakeWaiting(raft::MemberId leader, raft::Term term) {
  while (!waiting_.empty()) {
    const uint64_t number = waiting_.front();
    waiting_.pop_front();
    auto it = all_.find(number);
    if (it == all_.end()) continue;  // timed out while it waited
    it->second.leader = leader;
    it->second.term = term;
    return Outgoing{number, it->second.payload};
  }
  return std::nullopt;
}

raft::Term Proposals::OnRefused(uint64_t number, raft::MemberId leader) {
  auto it = all_.find(number);
  if (it == all_.end() || it->second.leader != leader) return 0;
  it->second.leader = raft::kNobody;
  waiting_.insert(std::lower_bound(waiting_.begin(), waiting_.end(), number), number);
  return it->second.term;
}

void Proposals::Fail(uint64_t number, Fate fate) {
  auto it = all_.find(number);
  if (it != all_.end()) Finish(it, fate);
}

std::optional<Proposals::Committed> Proposals::TakeCommitted(std::string_view payload) {
  if (all_.empty()) return std::nullopt;
  const proto::Origin origin = OriginOf(payload);
  if (origin.member_id() != member_ || origin.boot_id() != boot_id_) return std::nullopt;
  auto it = all_.find(origin.number());
  if (it == all_.end()) return std::nullopt;
  Committed committed{std::move(it->second.done), it->second.deadline};
  Erase(it);
  return committed;
}

Proposals::Map::iterator Proposals::Erase(Map::iterator it) {
  bytes_ -= it->second.payload.size();
  return all_.erase(it);
}

Proposals::Map::iterator Proposals::Finish(Map::iterator it, Fate fate) {
  ProposalDone done = std::move(it->second.done);
  it = Erase(it);
  done(fate, {});
  return it;
}

template <typename Predicate>
void Proposals::FailInFlightIf(Fate fate, Predicate predicate) {
  for (auto it = all_.begin(); it != all_.end();) {
    const bool lost = it->second.leader != raft::kNobody && predicate(it->second);
    if (lost && RAFTKV_MUTANT("propose-twice-after-unknown")) {
      const uint64_t number = it->first;
      ++it;
      OnRefused(number, all_[number].leader);
      continue;
    }
    it = lost ? Finish(it, fate) : std::next(it);
  }
}

void Proposals::OnLeaderIs(raft::MemberId leader, raft::Term term) {
  FailInFlightIf(Fate::kUnknownLeaderLost,
                 [&](const Proposal& p) { return p.leader != leader || p.term != term; });
}

void Proposals::OnForwardLost(raft::MemberId peer) {
  FailInFlightIf(Fate::kUnknownConnection, [&](const Proposal& p) { return p.leader == peer; });
}

void Proposals::Expire(absl::Time now) {
  for (auto it = all_.begin(); it != all_.end() && it->second.deadline <= now;) {
    const bool proposed = it->second.leader != raft::kNobody;
    it = Finish(it, proposed ? Fate::kUnknownTimedOut : Fate::kTimedOut);
  }
  // Without a leader nobody takes what waits, and their numbers would gather.
  while (!waiting_.empty() && !all_.contains(waiting_.front())) waiting_.pop_front();
}

void Proposals::Stop() {
  for (auto it = all_.begin(); it != all_.end();) {
    const bool proposed = it->second.leader != raft::kNobody;
    it = Finish(it, proposed ? Fate::kStopped : Fate::kStoppedUnproposed);
  }
  waiting_.clear();
}

}  // namespace raftkv
