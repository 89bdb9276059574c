// The methods of Replica that compare the states of the members (audit.h).

#include <optional>
#include <utility>

#include "server/member/replica.h"

namespace raftkv {

void Replica::ReportDigests() {
  const raft::MemberId leader = raft_.leader();
  if (leader == raft::kNobody || !contacts_.MayForwardTo(leader) || fault_) return;
  std::optional<DigestReport> report = audit_.TakeReport();
  if (!report) return;
  if (leader == options_.raft.id) {
    HandleFrom(leader, *report);
  } else {
    outbox_->Send(leader, *std::move(report));
  }
}

void Replica::HandleFrom(raft::MemberId from, const DigestReport& report) {
  if (!leads() || !IsMember(from)) return;
  audit_.Add(from, report.digests, raft_.commit_index());
  CompareDigests();
}

// Tells the other members first: a leader whose own state is wrong then halts.
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
  if (from != raft_.leader() || !audit_.Concerns(diverged)) return;
  OnDiverged(from, {.index = diverged.index, .majority = diverged.majority});
}

void Replica::OnDiverged(raft::MemberId leader, const Divergence& found) {
  Halt({found.majority ? Fault::Kind::kDiverged : Fault::Kind::kAllDiverged,
        leader,
        {0, found.index}});
}

}  // namespace raftkv
