// The methods of Replica about the members of the cluster. A leader checks a change against the
// members of the committed entries, and then proposes it together with the resulting configuration.
// It proposes one change at a time (raft::Raft::MayChangeConfiguration), so the members that it
// knows are those right before the change.

#include <algorithm>
#include <utility>

#include "proto/parse_command.h"
#include "server/member/replica.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

// Changes that wait at a leader.
constexpr size_t kChangesMax = 16;
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

std::optional<ForwardedProposalReply> Replica::QueueChange(raft::MemberId from,
                                                           const ForwardedProposal& proposal) {
  if (changes_.size() >= kChangesMax) return ForwardedProposalReply{.too_many_requests = true};
  changes_.push_back({from, proposal});
  return std::nullopt;
}

// One change in a turn: the next one waits until it is committed.
void Replica::MaybeChangeMembers() {
  if (!leads()) {
    for (const WaitingChange& change : std::exchange(changes_, {})) {
      Decline(change.from, change.proposal, {});
    }
    return;
  }
  if (!raft_.MayChangeConfiguration() || raft_.transferee() != raft::kNobody) return;
  if (versions_.in_force() < kMembersVersion) return;
  // members_ must have the previous change.
  const bool known = raft_.membership().index() <= handed_over_;
  if (!known && !RAFTKV_MUTANT("two-changes-at-once")) return;
  if (!members_.known()) {
    if (options_.first_members.empty()) return;
    proto::Command command;
    auto& members = *command.mutable_change_members()->mutable_begin()->mutable_members();
    members.Assign(options_.first_members.begin(), options_.first_members.end());
    ProposeChange(&command);
    return;
  }
  while (!changes_.empty()) {
    const WaitingChange change = std::move(changes_.front());
    changes_.pop_front();
    proto::Command command;
    CHECK(ParseCommand(change.proposal.payload.view(), &command));
    const absl::Status status = CheckChange(command.change_members());
    if (!status.ok()) {
      Decline(change.from, change.proposal, {.rejected = status});
    } else if (LeavesFirst(command.change_members())) {
      return Decline(change.from, change.proposal, {.try_again = true});
    } else if (ProposeChange(&command)) {
      return;
    } else {
      Decline(change.from, change.proposal, {.too_many_requests = true});
    }
  }
  const raft::Status status = raft_.status();
  for (const auto& [id, member] : members_.all()) {
    if (!member.joining() || !MayCount(status, id)) continue;
    proto::Command command;
    command.mutable_change_members()->set_count(id);
    if (members_.Check(command.change_members()).ok()) ProposeChange(&command);
    return;
  }
}

// A leader that is to be removed transfers its leadership, and the next leader removes it. So
// writes go on, and whoever asked for the removal gets an answer. False: the change does not remove
// this leader, or no other member took over when this leader tried a transfer in this term. In the
// second case it carries out its own removal.
bool Replica::LeavesFirst(const proto::ChangeMembers& change) {
  if (!change.has_remove() || change.remove() != options_.raft.id) return false;
  if (std::exchange(leaving_term_, raft_.term()) == raft_.term()) return false;
  return raft_.TransferLeadership(raft_.BestTransferee()) == raft::TransferResult::kStarted;
}

bool Replica::ProposeChange(proto::Command* command) {
  members_.Complete(command->mutable_change_members());
  std::string payload = command->SerializeAsString();
  if (!raft_.membership().IsSingleChange(MustParseConfiguration(payload))) return false;
  return raft_.ProposeConfiguration(raft::Payload(std::move(payload))) ==
         raft::ProposeResult::kAccepted;
}

// A member may become a voter once it has caught up, its directory is recorded and it has told its
// name. Then it cannot start again with an empty directory, because server/join.h rejects that; and
// peers reject its messages if it starts with another directory.
bool Replica::MayCount(const raft::Status& status, raft::MemberId id) const {
  const Members::Member* member = members_.Find(id);
  return member != nullptr && member->started && store_ids_.Knows(id) && InSync(status, id);
}

// Checks the change against the members, and then whether enough voters answer the leader, as in
// etcd.
absl::Status Replica::CheckChange(const proto::ChangeMembers& change) const {
  if (absl::Status status = members_.Check(change); !status.ok()) return status;
  const raft::Status status = raft_.status();
  const std::vector<raft::MemberId>& voters = raft_.membership().voters();
  const int active = Active(status, voters), all = static_cast<int>(voters.size());
  const absl::Status unhealthy = absl::UnavailableError("unhealthy cluster");
  // A learner changes no majority. A member whose disk is lost is replaced by adding a learner.
  if (change.has_add() && !change.add().islearner() && active < all) return unhealthy;
  if (change.has_remove() && raft_.membership().IsVoter(change.remove())) {
    // A voter that does not answer is not part of the majority that works now.
    const bool answers = Active(status, {change.remove()}) > 0;
    if (answers && active - 1 < 1 + (all - 1) / 2) return unhealthy;
  }
  if (change.has_promote() && !MayCount(status, change.promote())) {
    return absl::FailedPreconditionError(
        "can only promote a learner member which is in sync with leader");
  }
  return absl::OkStatus();
}

PendingRequestPtr Replica::NoteChange(const raft::Entry& entry) {
  proto::Command command;
  CHECK(ParseCommand(entry.payload.view(), &command)) << "entry " << entry.id.index;
  members_.Apply(command.change_members());
  OnMembers();
  return proposals_.TakeCommitted(entry.payload.view());
}

void Replica::OnMembers() {
  if (members_.known()) outbox_->Report(MembersChanged{&members_});
  if (members_.removed(options_.raft.id)) OnRemoved();
}

// A member tells its name and client URLs through the log, at its first start and when they have
// changed.
void Replica::MaybePublish() {
  const Members::Member* known = members_.Find(options_.raft.id);
  if (known == nullptr || options_.self.name().empty() || now_ < next_publish_) return;
  const auto& urls = options_.self.clienturls();
  if (known->started && known->info.name() == options_.self.name() &&
      std::equal(urls.begin(), urls.end(), known->info.clienturls().begin(),
                 known->info.clienturls().end())) {
    return;
  }
  if (raft_.leader() == raft::kNobody || !log_->may_vote()) return;
  proto::Command command;
  etcdserverpb::Member& self = *command.mutable_change_members()->mutable_publish();
  self = options_.self;
  self.set_id(options_.raft.id);
  if (ProposeOwn(command)) next_publish_ = now_ + options_.request_timeout;
}

// Handles a message of a removed member. Returns whether it was rejected.
bool Replica::RejectsRemoved(const PeerMessage& message) {
  // The leader may not have told it yet that its removal is committed (Raft::ForgetRemovedPeers).
  const auto* from_raft = std::get_if<raft::Message>(&message.body);
  if (from_raft != nullptr && from_raft->term == raft_.term() &&
      std::holds_alternative<raft::AppendEntriesReply>(from_raft->body)) {
    return false;
  }
  ++rejected_messages_;
  if (std::holds_alternative<Hello>(message.body)) {
    outbox_->Send(message.from, HelloReply{.removed = true});
  } else if (const auto* proposal = std::get_if<ForwardedProposal>(&message.body)) {
    Decline(message.from, *proposal, {});
  }
  return true;
}

// A removed member that was away hears from no leader any more. The others tell it.
void Replica::AskWhetherRemoved() {
  const absl::Duration election_timeout = options_.tick * options_.raft.election_timeout_ticks;
  if (raft_.leader() != raft::kNobody || leader_seen_ == MonotonicTime::InfinitePast()) {
    leader_seen_ = now_;
  }
  if (now_ - leader_seen_ < election_timeout) return;
  leader_seen_ = now_;
  for (const raft::MemberId member : raft_.membership().everyone()) {
    if (member != options_.raft.id) outbox_->Send(member, Hello{});
  }
}

std::vector<raft::MemberId> Replica::Silent() const {
  std::vector<raft::MemberId> silent;
  if (raft_.leader() != raft::kNobody) return silent;
  const absl::Duration asked_every = options_.tick * options_.raft.election_timeout_ticks;
  for (const raft::MemberId voter : raft_.membership().voters()) {
    const auto heard = heard_.find(voter);
    const bool answers =
        reachable(voter) && heard != heard_.end() && now_ - heard->second < 3 * asked_every;
    if (voter != options_.raft.id && !answers) silent.push_back(voter);
  }
  return silent;
}

void Replica::OnRemoved() {
  if (std::exchange(removed_, true)) return;
  outbox_->Report(RemovedFromCluster{});
}

}  // namespace raftkv
