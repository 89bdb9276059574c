#include "server/member/proposals.h"

#include <algorithm>
#include <utility>

#include "server/member/origin.h"
#include "storage/base/mutant.h"

namespace raftkv {

void Proposals::Add(const ProposeRequest& request, PendingRequestPtr pending, Caller caller) {
  const uint64_t number = next_number_++;
  Proposal& proposal = all_[number];
  proposal.payload = raft::Payload(WithOrigin(member_, boot_id_, number, request.command));
  proposal.needs = request.needs;
  proposal.changes_members = request.changes_members;
  proposal.request = std::move(pending);
  proposal.caller = std::move(caller);
  bytes_ += proposal.payload.size();
  std::set<uint64_t>& waiting = IsLarge(proposal) ? large_waiting_ : small_waiting_;
  waiting.insert(waiting.end(), number);
}

std::optional<ForwardedProposal> Proposals::TakeWaiting(raft::MemberId leader, raft::Term term,
                                                        bool bound, MonotonicTime now) {
  if (term == declining_term_ || (term == paused_term_ && now < paused_until_)) return std::nullopt;
  if (auto small = TakeFirst(&small_waiting_, leader, term, bound, now)) return small;
  if (large_in_flight_ == 0) pace_.OnNoneInFlight(now);
  const bool may_propose = pace_.MayPropose(now);
  large_waits_ = !may_propose && !large_waiting_.empty();
  if (!may_propose) return std::nullopt;
  auto large = TakeFirst(&large_waiting_, leader, term, bound, now);
  if (!large) return std::nullopt;
  ++large_in_flight_;
  pace_.OnProposed(large->payload.size(), now);
  return large;
}

std::optional<ForwardedProposal> Proposals::TakeFirst(std::set<uint64_t>* waiting,
                                                      raft::MemberId leader, raft::Term term,
                                                      bool bound, MonotonicTime now) {
  while (!waiting->empty()) {
    const uint64_t number = waiting->extract(waiting->begin()).value();
    auto it = all_.find(number);
    if (it == all_.end()) continue;  // answered while it waited
    Proposal& proposal = it->second;
    if (proposal.request->answered() || proposal.request->deadline() <= now ||
        (proposal.caller.gone && proposal.caller.gone())) {
      Finish(it, Fate::kTimedOut);
      continue;
    }
    proposal.leader = leader;
    proposal.term = term;
    proposal.bound = bound;
    proposal.lost_at = MonotonicTime::InfiniteFuture();
    proposal.request->set_proposed(true);
    return ForwardedProposal{number, proposal.payload, proposal.needs, proposal.changes_members,
                             term};
  }
  return std::nullopt;
}

bool Proposals::InFlight(uint64_t number, raft::MemberId leader, raft::Term term) const {
  const auto it = all_.find(number);
  return it != all_.end() && it->second.leader == leader && it->second.term == term;
}

void Proposals::OnDeclined(uint64_t number, raft::MemberId leader) {
  declining_term_ = std::max(declining_term_, WaitAgain(number, leader));
}

void Proposals::OnTryAgain(uint64_t number, raft::MemberId leader, MonotonicTime next) {
  const raft::Term term = WaitAgain(number, leader);
  if (term == 0 || term < paused_term_) return;
  paused_term_ = term;
  paused_until_ = next;
}

raft::Term Proposals::WaitAgain(uint64_t number, raft::MemberId leader) {
  auto it = all_.find(number);
  if (it == all_.end() || it->second.leader != leader) return 0;
  Wait(it);
  return it->second.term;
}

void Proposals::Wait(Map::iterator it) {
  NoteNotInFlight(it->second);
  it->second.leader = raft::kNobody;
  it->second.request->set_proposed(false);
  (IsLarge(it->second) ? large_waiting_ : small_waiting_).insert(it->first);
}

void Proposals::NoteNotInFlight(const Proposal& proposal) {
  if (proposal.leader != raft::kNobody && IsLarge(proposal)) --large_in_flight_;
}

void Proposals::FailWaiting(Fate fate) {
  for (std::set<uint64_t>* waiting : {&small_waiting_, &large_waiting_}) {
    for (const uint64_t number : std::exchange(*waiting, {})) {
      if (const auto it = all_.find(number); it != all_.end()) Finish(it, fate);
    }
  }
}

void Proposals::Fail(uint64_t number, raft::MemberId leader, Fate fate, ApplyResult result) {
  auto it = all_.find(number);
  if (it != all_.end() && it->second.leader == leader) Finish(it, fate, std::move(result));
}

PendingRequestPtr Proposals::TakeCommitted(std::string_view payload, MonotonicTime now) {
  if (!pace_.IsLarge(payload.size())) pace_.OnSmallCommitted(now);
  if (all_.empty()) return nullptr;
  const proto::Origin origin = OriginOf(payload);
  if (origin.member_id() != member_ || origin.boot_id() != boot_id_) return nullptr;
  auto it = all_.find(origin.number());
  if (it == all_.end()) return nullptr;
  PendingRequestPtr request = std::move(it->second.request);
  Erase(it);
  return request;
}

Proposals::Map::iterator Proposals::Erase(Map::iterator it) {
  NoteNotInFlight(it->second);
  bytes_ -= it->second.payload.size();
  return all_.erase(it);
}

Proposals::Map::iterator Proposals::Finish(Map::iterator it, Fate fate, ApplyResult result) {
  const PendingRequestPtr request = std::move(it->second.request);
  it = Erase(it);
  request->Answer(fate, std::move(result));
  return it;
}

template <typename Predicate>
void Proposals::FailInFlightIf(Fate fate, Predicate predicate) {
  for (auto it = all_.begin(); it != all_.end();) {
    const bool lost = it->second.leader != raft::kNobody && predicate(it->second);
    if (lost && RAFTKV_MUTANT("propose-twice-after-unknown")) {
      const uint64_t number = it->first;
      ++it;
      WaitAgain(number, all_[number].leader);
      continue;
    }
    const bool judged_by_term = lost && RAFTKV_MUTANT("lost-leader-means-not-proposed");
    it = lost ? Finish(it, judged_by_term ? Fate::kNotSupported : fate) : std::next(it);
  }
}

void Proposals::OnLeaderIs(raft::MemberId leader, raft::Term term) {
  FailInFlightIf(Fate::kUnknownLeaderLost, [&](const Proposal& p) {
    return p.term == term && p.leader != leader && !p.bound;
  });
}

void Proposals::OnTermSettled(raft::Term term) {
  for (auto it = all_.begin(); it != all_.end(); ++it) {
    const Proposal& p = it->second;
    if (p.leader != raft::kNobody && p.term < term && p.bound) Wait(it);
  }
  FailInFlightIf(Fate::kUnknownLeaderLost, [&](const Proposal& p) { return p.term < term; });
}

void Proposals::OnForwardLost(raft::MemberId peer, MonotonicTime now) {
  FailInFlightIf(Fate::kUnknownConnection,
                 [&](const Proposal& p) { return p.leader == peer && !p.bound; });
  for (auto& [number, proposal] : all_) {
    if (proposal.leader == peer) proposal.lost_at = std::min(proposal.lost_at, now);
  }
  first_lost_at_ = std::min(first_lost_at_, now);
}

void Proposals::OnLeaderLives(raft::MemberId leader, raft::Term term, MonotonicTime time) {
  if (time <= first_lost_at_) return;
  FailInFlightIf(Fate::kUnknownConnection, [&](const Proposal& p) {
    return p.leader == leader && p.term == term && p.lost_at < time;
  });
  first_lost_at_ = MonotonicTime::InfiniteFuture();
  for (const auto& [number, proposal] : all_) {
    if (proposal.leader != raft::kNobody) {
      first_lost_at_ = std::min(first_lost_at_, proposal.lost_at);
    }
  }
}

void Proposals::OnLeaderStopped(raft::MemberId peer) {
  for (auto& [number, proposal] : all_) {
    if (proposal.leader == peer) proposal.bound = true;
  }
}

void Proposals::OnInstalled(raft::Term term) {
  FailInFlightIf(Fate::kUnknownConnection, [&](const Proposal& p) { return p.term <= term; });
}

void Proposals::ForgetAnswered() {
  for (auto it = all_.begin(); it != all_.end();) {
    it = it->second.request->answered() ? Erase(it) : std::next(it);
  }
  // TakeWaiting is not called without a leader, so answered proposals would accumulate here.
  for (std::set<uint64_t>* waiting : {&small_waiting_, &large_waiting_}) {
    std::erase_if(*waiting, [this](uint64_t number) { return !all_.contains(number); });
  }
}

}  // namespace raftkv
