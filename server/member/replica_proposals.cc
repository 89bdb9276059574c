// The methods of Replica that propose commands. A command comes from
//
//   a client of this member    it waits in Proposals until ProposeWaiting gives it to Accept, or
//                              forwards it to the leader
//   a client of another member which has forwarded it: Accept
//   this member itself         ProposeOwn
//
// TryPropose has all rules by which a leader takes a command into its log.

#include <algorithm>
#include <utility>

#include "server/member/origin.h"
#include "server/member/replica.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

// If more entries than this are committed but not applied, new writes are rejected (as in etcd).
// While a member applies what its log had when it started, they wait instead. That ends soon.
constexpr raft::Index kUnappliedMax = 5000;

}  // namespace

bool Replica::ApplierIsBehind() const {
  return applied_ >= last_at_start_ && raft_.commit_index() > applied_ + kUnappliedMax;
}

// --- clients' commands

void Replica::Handle(ProposeRequest request) {
  if (QueueIsFull() || ApplierIsBehind() || !HasRoomFor(request.command.size())) {
    request.done(Fate::kTooManyRequests, {});
    return;
  }
  const MonotonicTime deadline = Deadline(request.caller.deadline);
  const auto compaction_deadline =
      request.wait_for_compaction ? std::optional(request.caller.deadline) : std::nullopt;
  PendingRequestPtr pending = pending_.Add(std::move(request.done), deadline, compaction_deadline);
  proposals_.Add(request, std::move(pending), std::move(request.caller));
}

bool Replica::HasRoomFor(size_t bytes) const {
  const size_t max = options_.pending_bytes_max;
  const size_t limit = bytes < options_.large_bytes ? max : max - max / 4;
  return proposals_.size() == 0 || proposals_.bytes() + bytes <= limit;
}

void Replica::ProposeWaiting() {
  if (removed_) return proposals_.FailWaiting(Fate::kStoppedUnproposed);
  const raft::MemberId leader = raft_.leader();
  if (leader == raft::kNobody || !contacts_.MayForwardTo(leader)) return;
  const bool bound =
      leader == options_.raft.id || versions_.KnownBy(leader) >= kProposalTermVersion;
  while (auto next = proposals_.TakeWaiting(leader, raft_.term(), bound, now_)) {
    if (leader == options_.raft.id) {
      Accept(leader, *next);
    } else if (next->needs > versions_.KnownBy(leader)) {
      // A leader of an older release may not know what the command needs, and would propose it.
      proposals_.Fail(next->number, leader, Fate::kNotSupported);
    } else {
      outbox_->Send(leader, *std::move(next));
    }
  }
}

void Replica::Accept(raft::MemberId from, const ForwardedProposal& proposal) {
  if (auto reply = TryPropose(from, proposal)) Decline(from, proposal, *std::move(reply));
}

void Replica::Decline(raft::MemberId from, const ForwardedProposal& proposal,
                      ForwardedProposalReply reply) {
  reply.number = proposal.number;
  reply.boot_id = OriginOf(proposal.payload.view()).boot_id();
  reply.term = proposal.term;
  if (from == options_.raft.id) {
    HandleFrom(from, reply);
  } else if (from != raft::kNobody) {
    outbox_->Send(from, std::move(reply));
  }
}

void Replica::HandleFrom(raft::MemberId from, const ForwardedProposalReply& reply) {
  if (reply.boot_id != 0 && reply.boot_id != options_.boot_id) return;
  if (reply.term != 0 && !proposals_.InFlight(reply.number, from, reply.term)) return;
  if (reply.not_understood) {
    proposals_.Fail(reply.number, from, Fate::kNotSupported);
  } else if (reply.too_many_requests) {
    proposals_.Fail(reply.number, from, Fate::kTooManyRequests);
  } else if (!reply.rejected.ok()) {
    ApplyResult result;
    result.status = reply.rejected;
    proposals_.Fail(reply.number, from, Fate::kRejected, std::move(result));
  } else if (reply.try_again) {
    proposals_.OnTryAgain(reply.number, from, now_ + HeartbeatInterval());
  } else {
    proposals_.OnDeclined(reply.number, from);
  }
}

// --- the rules

// Nobody waits for the answer of the member's own commands: their `from` is kNobody. There are few
// of them, so the rules that limit what clients write are not for them. A full leader must even
// propose the alarm about its own disk.
std::optional<ForwardedProposalReply> Replica::TryPropose(raft::MemberId from,
                                                          const ForwardedProposal& proposal) {
  using Reply = ForwardedProposalReply;
  if (!leads()) return Reply{};
  // It was meant for the leader of another term. Its origin may propose it again.
  if (!proposal.IsFor(raft_.term()) && !RAFTKV_MUTANT("proposal-of-another-term")) return Reply{};
  if (proposal.needs > versions_.in_force()) {
    if (versions_.proposed() < proposal.needs) return Reply{.not_understood = true};
    return Reply{.try_again = true};  // it is in force soon
  }
  if (from != raft::kNobody && from != options_.raft.id) {
    // During a stop, decline: the proposal then waits at its origin for the next leader. If it were
    // proposed, this member might stop before it is committed, and its fate would be unknown.
    if (phase_->AtLeast(Phase::kDeclining)) return Reply{};
    // A removed member is not sent what follows its removal, so it would not learn the outcome.
    if (!IsMember(from)) return Reply{};
  }
  if (from != raft::kNobody) {
    // A full leader hands its leadership over, or has space again soon.
    if (disk_full()) return Reply{.try_again = true};
    // While it waits for its log, it would send no heartbeats. (A follower forwards proposals even
    // if its log would stall: a majority can commit them without this follower's disk.)
    if (ApplierIsBehind() || log_would_stall_) return Reply{.too_many_requests = true};
  }
  if (proposal.changes_members) {
    return changes_.Add(from, proposal) ? std::nullopt
                                        : std::optional(Reply{.too_many_requests = true});
  }
  switch (raft_.Propose(proposal.payload)) {
    case raft::ProposeResult::kAccepted:
      return std::nullopt;
    case raft::ProposeResult::kNotLeader:
    case raft::ProposeResult::kChangePending:  // of changes of the members only
      return Reply{};
    case raft::ProposeResult::kTransferring:
      return Reply{.try_again = true};
    case raft::ProposeResult::kTooManyRequests:
      break;
  }
  return Reply{.too_many_requests = true};
}

// --- the member's own commands

bool Replica::ProposeOwn(const proto::Command& command) {
  ForwardedProposal proposal{.payload = raft::Payload(command.SerializeAsString()),
                             .needs = Needs(command),
                             .changes_members = command.has_change_members()};
  if (leads()) return !TryPropose(raft::kNobody, proposal);
  Handle(ProposeRequest{.command = std::string(proposal.payload.view()),
                        .done = [](Fate, const ApplyResult&) {},
                        .needs = proposal.needs,
                        .changes_members = proposal.changes_members});
  return true;
}

void Replica::ProposeDue() {
  if (leads()) {
    MaybeRaiseVersion();
    MaybeExpireLeases();
  }
  if (raft_.leader() != raft::kNobody && log_->may_vote()) {
    const auto command = publisher_.CommandToPublish(members_, now_);
    if (command && ProposeOwn(*command)) publisher_.OnProposed(now_);
  }
  const auto alarm =
      space_alarms_.CommandToChange(space_.level(), alarms_, members_, leads(), now_);
  if (alarm && ProposeOwn(*alarm)) space_alarms_.OnProposed(now_);
  const auto compaction = auto_compaction_.CommandToCompact(now_, revision_, leads());
  if (compaction && ProposeOwn(*compaction)) {
    auto_compaction_.OnProposed(now_, compaction->compaction());
    outbox_->Report(CompactionProposed{compaction->compaction().revision()});
  }
}

void Replica::RecordStoreId(raft::MemberId member, const std::string& store_id) {
  // Record only members: another sender may not have joined yet, or may have been removed.
  if (!IsMember(member)) return;
  const auto command = store_ids_.CommandToRecord(member, store_id);
  if (command && ProposeOwn(*command)) store_ids_.OnProposed(command->record_store_id());
}

void Replica::MaybeRaiseVersion() {
  const auto command = versions_.CommandToRaise(raft_.membership().everyone());
  if (command && ProposeOwn(*command)) versions_.OnProposed(command->set_cluster_version());
}

void Replica::MaybeExpireLeases() {
  if (applied_ < leads_from_) return;
  const auto command = lessor_.CommandToExpire(now_, applied_);
  if (command && ProposeOwn(*command)) lessor_.OnProposed(raft_.last_index(), now_);
}

}  // namespace raftkv
