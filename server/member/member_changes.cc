#include "server/member/member_changes.h"

#include <algorithm>
#include <utility>

#include "proto/parse_command.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

// A learner is in sync if it has nine tenths of the leader's log, as in etcd, and lacks no more
// entries than this.
constexpr raft::Index kBehindMax = 5000;

bool InSync(const raft::Status& leader, raft::MemberId id) {
  const auto found = leader.peers.find(id);
  if (found == leader.peers.end()) return false;
  const raft::PeerStatus& peer = found->second;
  return peer.recently_active && peer.match_index * 10 >= leader.last_index * 9 &&
         peer.match_index + kBehindMax >= leader.last_index;
}

int Active(const raft::Status& leader, const std::vector<raft::MemberId>& voters) {
  return static_cast<int>(std::count_if(voters.begin(), voters.end(), [&](raft::MemberId id) {
    const auto peer = leader.peers.find(id);
    return id == leader.id || (peer != leader.peers.end() && peer->second.recently_active);
  }));
}

}  // namespace

bool MemberChanges::Add(raft::MemberId from, const ForwardedProposal& proposal) {
  if (waiting_.size() >= kWaitingMax) return false;
  waiting_.push_back({from, proposal});
  return true;
}

std::vector<MemberChanges::Change> MemberChanges::Turn(ClusterVersion in_force,
                                                       raft::Index committed) {
  std::vector<Change> declined;
  if (raft_->role() != raft::Role::kLeader) {
    if (waiting_.empty()) return declined;
    const std::deque<Change> all = std::exchange(waiting_, {});
    declined.assign(all.begin(), all.end());
  } else if (MayPropose(committed)) {
    if (members_->known()) {
      ProposeWaiting(&declined);
    } else if (in_force >= kMembersVersion) {
      ProposeFirstMembers();
    }
  }
  return declined;
}

bool MemberChanges::MayPropose(raft::Index committed) const {
  if (!raft_->MayChangeConfiguration() || raft_->transferee() != raft::kNobody) return false;
  return raft_->membership().index() <= committed || RAFTKV_MUTANT("two-changes-at-once");
}

void MemberChanges::ProposeFirstMembers() {
  if (first_members_.empty()) return;
  proto::Command command;
  auto& members = *command.mutable_change_members()->mutable_begin()->mutable_members();
  members.Assign(first_members_.begin(), first_members_.end());
  Propose(&command);
}

void MemberChanges::ProposeWaiting(std::vector<Change>* declined) {
  while (!waiting_.empty()) {
    Change change = std::move(waiting_.front());
    waiting_.pop_front();
    if (!change.proposal.IsFor(raft_->term())) {
      declined->push_back(std::move(change));
      continue;
    }
    proto::Command command;
    CHECK(ParseCommand(change.proposal.payload.view(), &command));
    const absl::Status status = Check(command.change_members());
    const bool leaves = status.ok() && LeavesFirst(command.change_members());
    if (status.ok() && !leaves && Propose(&command)) return;
    change.declined = {
        .too_many_requests = status.ok() && !leaves, .try_again = leaves, .rejected = status};
    declined->push_back(std::move(change));
    if (leaves) return;
  }
  ProposeCount();
}

// A joining voter that has caught up becomes a voter.
void MemberChanges::ProposeCount() {
  for (const auto& [id, member] : members_->all()) {
    if (!member.joining() || !MayCount(raft_->status(), id)) continue;
    proto::Command command;
    command.mutable_change_members()->set_count(id);
    if (members_->Check(command.change_members()).ok()) Propose(&command);
    return;
  }
}

// A leader that is to be removed transfers its leadership, and the next leader removes it. So
// writes go on, and whoever asked for the removal gets an answer. False: the change does not remove
// this leader, or no other member took over when this leader tried a transfer in this term. In the
// second case it carries out its own removal.
bool MemberChanges::LeavesFirst(const proto::ChangeMembers& change) {
  if (!change.has_remove() || change.remove() != self_) return false;
  if (std::exchange(leaving_term_, raft_->term()) == raft_->term()) return false;
  return raft_->TransferLeadership(raft_->BestTransferee()) == raft::TransferResult::kStarted;
}

bool MemberChanges::Propose(proto::Command* command) {
  members_->Complete(command->mutable_change_members());
  std::string payload = command->SerializeAsString();
  if (!raft_->membership().IsSingleChange(MustParseConfiguration(payload))) return false;
  return raft_->ProposeConfiguration(raft::Payload(std::move(payload))) ==
         raft::ProposeResult::kAccepted;
}

// A member may become a voter once it has caught up, its directory is recorded and it has told its
// name. Then it cannot start again with an empty directory, because server/join.h rejects that; and
// peers reject its messages if it starts with another directory.
bool MemberChanges::MayCount(const raft::Status& status, raft::MemberId id) const {
  const Members::Member* member = members_->Find(id);
  return member != nullptr && member->started && store_ids_->Knows(id) && InSync(status, id);
}

// Checks the change against the members, and then whether enough voters answer the leader, as in
// etcd.
absl::Status MemberChanges::Check(const proto::ChangeMembers& change) const {
  if (absl::Status status = members_->Check(change); !status.ok()) return status;
  const raft::Status status = raft_->status();
  const std::vector<raft::MemberId>& voters = raft_->membership().voters();
  const int active = Active(status, voters), all = static_cast<int>(voters.size());
  const absl::Status unhealthy = absl::UnavailableError("unhealthy cluster");
  // A learner changes no majority. A member whose disk is lost is replaced by adding a learner.
  if (change.has_add() && !change.add().islearner() && active < all) return unhealthy;
  if (change.has_remove() && raft_->membership().IsVoter(change.remove())) {
    // The removal of a voter that does not answer does not reduce the number of working voters.
    const bool answers = Active(status, {change.remove()}) > 0;
    if (answers && active - 1 < 1 + (all - 1) / 2) return unhealthy;
  }
  if (change.has_promote() && !MayCount(status, change.promote())) {
    return absl::FailedPreconditionError(
        "can only promote a learner member which is in sync with leader");
  }
  return absl::OkStatus();
}

}  // namespace raftkv
