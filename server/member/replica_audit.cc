// The methods of Replica that compare the states of the members (audit.h).

#include "server/member/replica.h"

namespace raftkv {

// A follower reports all digests that it keeps, when there is a new one and to each new leader.
void Replica::MaybeReportDigests() {
  const raft::MemberId leader = raft_.leader();
  if (digests_.empty() || digests_reported_ || leader == raft::kNobody || fault_) return;
  if (leader == options_.raft.id) {
    audit_.Add(leader, digests_, raft_.commit_index());
    digests_reported_ = true;
    CompareDigests();
  } else if (reachable(leader)) {
    outbox_->Send(leader, DigestReport{digests_});
    digests_reported_ = true;
  }
}

void Replica::OnDigests(const std::deque<StateDigest>& digests) {
  if (digests == digests_) return;
  digests_ = digests;
  digests_reported_ = false;
}

void Replica::HandleFrom(raft::MemberId from, const DigestReport& report) {
  const std::vector<raft::MemberId>& everyone = raft_.membership().everyone();
  if (!leads() || !std::binary_search(everyone.begin(), everyone.end(), from)) {
    return;
  }
  audit_.Add(from, report.digests, raft_.commit_index());
  CompareDigests();
}

// The others are told first: a leader that is wrong itself then halts.
void Replica::CompareDigests() {
  const std::optional<Divergence> found = audit_.Find(raft_.membership().voters());
  if (!found) return;
  outbox_->Report(*found);
  for (const auto& [member, digest] : found->digests) {
    if (member == options_.raft.id || !found->Wrong(member)) continue;
    outbox_->Send(member, Diverged{found->index, found->majority});
  }
  if (found->Wrong(options_.raft.id)) OnDiverged(options_.raft.id, *found);
}

void Replica::HandleFrom(raft::MemberId from, const Diverged& diverged) {
  if (from != raft_.leader()) return;
  for (const StateDigest& own : digests_) {
    if (own.index != diverged.index || own.digest == diverged.majority) continue;
    OnDiverged(from, {.index = diverged.index, .majority = diverged.majority});
  }
}

void Replica::OnDiverged(raft::MemberId leader, const Divergence& found) {
  StopWith({found.majority ? Fault::Kind::kDiverged : Fault::Kind::kAllDiverged,
            leader,
            {0, found.index}});
}

}  // namespace raftkv
