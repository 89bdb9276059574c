// The methods of World about changes of the members: machines join as learners or voters, learners
// are promoted, members leave, and their machines join again as other members.

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

std::string PeerUrl(raft::MemberId id, uint64_t number) {
  return absl::StrCat("http://n", id, ":", number + 1);
}

bool World::TakesPart(int member) const {
  if (gone_[member]) return false;
  const auto& members = ledger_.model().members();
  if (members.empty()) return member < profile_.members;
  return members.contains(members_[member]->id());
}

// Chooses a random change of the members. False: no change is possible now.
bool World::DrawChange(proto::ChangeMembers* change, int* joiner) {
  const auto& members = ledger_.model().members();
  if (members.empty()) return false;
  auto some = members.begin();
  std::advance(some, static_cast<int64_t>(rng_.Below(members.size())));
  const raft::MemberId id = some->first;
  const uint64_t draw = rng_.Below(20);
  if (draw < 8) {
    for (int i = 0; i < size(); ++i) {
      if (members_[i]->retired() && !members_[i]->up()) *joiner = i;
    }
    if (*joiner < 0) return false;
    etcdserverpb::Member& added = *change->mutable_add();
    added.set_id(members_[*joiner]->id() + static_cast<raft::MemberId>(size()));
    added.add_peerurls(PeerUrl(added.id(), 0));
    added.set_islearner(rng_.Chance(60 * kPercent));
  } else if (draw < 12) {
    change->set_promote(id);
    for (const auto& [other, member] : members) {
      if (member.info.islearner()) change->set_promote(other);
    }
  } else if (draw < 18) {
    change->set_remove(members_[LeaderOr(MachineOf(id))]->id());
  } else {
    change->mutable_update()->set_id(id);
    change->mutable_update()->add_peerurls(PeerUrl(id, rng_.Below(3)));
  }
  return true;
}

void World::OnChangeDue() {
  const int some = SomeMember(/*up=*/true);
  if (some < 0) return;
  const int asked = LeaderOr(some);
  proto::Command command;
  int joiner = -1;
  if (members_[asked]->dead() || !DrawChange(command.mutable_change_members(), &joiner)) return;
  last_change_ = now_;
  uint64_t life = 0;
  if (joiner >= 0) {
    if (members_[joiner]->life() > 0) marks().Hit(Mark::kRejoined);
    members_[joiner]->Rejoin(command.change_members().add().id());
    life = members_[joiner]->life() + 1;
    Push(now_ + 1 + rng_.Around(faults_.down_for), What::kStart, joiner);
  }
  const auto done = [this, asked, joiner, life](Fate fate, const ApplyResult& result) {
    if (!members_[asked]->MaySpeak()) return;
    Say(absl::StrFormat("        change: %s %s", FateName(fate), result.status.ToString()));
    if (fate == Fate::kRejected) {
      marks().Hit(absl::StrContains(result.status.message(), "in sync") ? Mark::kNotInSync
                                                                        : Mark::kChangeRejected);
    }
    // The joining machine certainly did not become a member, so its operator gives up. Its process
    // may not have started yet.
    if (joiner >= 0 && !fate.proposed) {
      Push(now_ + 10 * faults_.down_for + kSecond, What::kRetire, joiner, 1, life);
    }
  };
  members_[asked]->Post(ProposeRequest{.command = command.SerializeAsString(),
                                       .done = done,
                                       .needs = Needs(command),
                                       .changes_members = true});
}

void World::OnRetire(int member, bool removed) {
  const raft::MemberId id = members_[member]->id();
  const Model& model = ledger_.model();
  if (removed != model.removed_members().contains(id) || model.members().contains(id)) {
    verdict_.Fail("members", absl::StrFormat("n%d is told that it is no member", id));
    return;
  }
  if (removed && !members_[member]->KnowsItsRemoval()) marks().Hit(Mark::kRemovedTold);
  members_[member]->Retire();
}

// Called when the entry of this change is committed.
void World::NoteChange(const proto::ChangeMembers& change) {
  using Change = proto::ChangeMembers;
  switch (change.change_case()) {
    case Change::kAdd:
      return marks().Hit(change.add().islearner() ? Mark::kLearnerAdded : Mark::kVoterAdded);
    case Change::kUpdate:
      return marks().Hit(Mark::kMemberUpdated);
    case Change::kRemove:
      return marks().Hit(Mark::kMemberRemoved);
    case Change::kPromote:
      return marks().Hit(Mark::kPromoted);
    case Change::kCount:
      return marks().Hit(Mark::kVoterCounted);
    case Change::kPublish:
      return marks().Hit(Mark::kPublished);
    case Change::kBegin:
    case Change::CHANGE_NOT_SET:
      return;
  }
}

// Whether no change of the members is requested or uncommitted in a log, so that the voters stay
// the same.
bool World::ChangesSettled() const {
  if (profile_.change_every == 0) return true;
  if (now_ - last_change_ < 2 * profile_.request_timeout + 2 * kSecond) return false;
  for (const auto& member : members_) {
    if (!member->up()) continue;
    const raft::Membership& membership = member->raft().membership();
    if (membership.NumberAfter(ledger_.known()) > 0) return false;
  }
  for (const auto& [id, member] : ledger_.model().members()) {
    if (!member.votes) return false;
  }
  return true;
}

}  // namespace raftkv::sim
