#include "storage/rules/members.h"

#include <algorithm>

#include "proto/parse_command.h"
#include "storage/base/check.h"

namespace raftkv {
namespace {

using proto::ChangeMembers;

absl::Status NotFound() { return absl::NotFoundError("member not found"); }
absl::Status TooFewStarted() {
  return absl::FailedPreconditionError("re-configuration failed due to not enough started members");
}

bool HasMajority(int started, int all) { return started >= all / 2 + 1; }

bool SortedAndNoZero(const google::protobuf::RepeatedField<uint64_t>& ids) {
  uint64_t last = 0;
  for (const uint64_t id : ids) {
    if (id <= last) return false;
    last = id;
  }
  return true;
}

}  // namespace

const Members::Member* Members::Find(raft::MemberId id) const {
  const auto it = members_.find(id);
  return it == members_.end() ? nullptr : &it->second;
}

raft::Configuration Members::configuration() const {
  raft::Configuration configuration;
  for (const auto& [id, member] : members_) {
    (member.votes ? configuration.voters : configuration.learners).push_back(id);
  }
  return configuration;
}

// --- what is possible

absl::Status Members::Check(const ChangeMembers& change) const {
  if (change.has_begin()) {
    return known() ? absl::FailedPreconditionError("the members are known already")
                   : absl::OkStatus();
  }
  if (!known()) return absl::UnavailableError("unhealthy cluster");
  switch (change.change_case()) {
    case ChangeMembers::kAdd:
      return CheckAdd(change.add());
    case ChangeMembers::kUpdate:
      if (Find(change.update().id()) == nullptr) return NotFound();
      return CheckUrls(change.update());
    case ChangeMembers::kRemove:
      return CheckRemove(change.remove());
    case ChangeMembers::kPromote:
      return CheckPromote(change.promote());
    case ChangeMembers::kCount: {
      const Member* member = Find(change.count());
      if (member == nullptr || !member->joining()) return NotFound();
      return CheckStarted(/*without=*/change.count(), /*added=*/1);
    }
    case ChangeMembers::kPublish:
      return Find(change.publish().id()) == nullptr ? NotFound() : absl::OkStatus();
    case ChangeMembers::kBegin:
    case ChangeMembers::CHANGE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("not a change of the members");
}

absl::Status Members::CheckUrls(const etcdserverpb::Member& changed) const {
  for (const auto& [id, member] : members_) {
    if (id == changed.id()) continue;
    for (const std::string& url : changed.peerurls()) {
      const auto& urls = member.info.peerurls();
      if (std::find(urls.begin(), urls.end(), url) != urls.end()) {
        return absl::FailedPreconditionError("Peer URLs already exists");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Members::CheckAdd(const etcdserverpb::Member& added) const {
  if (added.id() == 0 || removed(added.id()) || Find(added.id()) != nullptr) {
    return absl::FailedPreconditionError("member ID already exist");
  }
  if (absl::Status status = CheckUrls(added); !status.ok()) return status;
  int voters = 0, started = 0, learners = 0;
  for (const auto& [id, member] : members_) {
    if (member.info.islearner()) {
      ++learners;
      continue;
    }
    ++voters;
    started += member.started;
  }
  if (added.islearner()) {
    if (learners < kLearnersMax) return absl::OkStatus();
    return absl::FailedPreconditionError("too many learner members in cluster");
  }
  // Otherwise a cluster of one could not grow.
  if (started == 1 && voters == 1) return absl::OkStatus();
  return HasMajority(started, voters + 1) ? absl::OkStatus() : TooFewStarted();
}

absl::Status Members::CheckRemove(raft::MemberId id) const {
  const Member* removed = Find(id);
  if (removed == nullptr) return NotFound();
  if (removed->info.islearner()) return absl::OkStatus();
  return CheckStarted(/*without=*/id, /*added=*/0);
}

absl::Status Members::CheckPromote(raft::MemberId id) const {
  const Member* promoted = Find(id);
  if (promoted == nullptr) return NotFound();
  if (!promoted->info.islearner()) {
    return absl::FailedPreconditionError("can only promote a learner member");
  }
  return CheckStarted(/*without=*/id, /*added=*/1);
}

// As in etcd, a majority of the members that clients see as voters must have started. The same must
// hold for the voters of Raft, so that they can elect a leader. `added` members count as started.
absl::Status Members::CheckStarted(raft::MemberId without, int added) const {
  int voters = added, started = added, counting = added, ready = added;
  for (const auto& [id, member] : members_) {
    if (id == without || member.info.islearner()) continue;
    ++voters;
    started += member.started;
    counting += member.votes;
    ready += member.votes && member.started;
  }
  const bool enough = HasMajority(started, voters) && HasMajority(ready, counting);
  return counting > 0 && enough ? absl::OkStatus() : TooFewStarted();
}

// --- changes

void Members::Complete(ChangeMembers* change) const {
  std::set<raft::MemberId> voters, learners;
  for (const auto& [id, member] : members_) (member.votes ? voters : learners).insert(id);
  switch (change->change_case()) {
    case ChangeMembers::kBegin:
      for (const etcdserverpb::Member& member : change->begin().members()) {
        voters.insert(member.id());
      }
      break;
    case ChangeMembers::kAdd:
      learners.insert(change->add().id());
      break;
    case ChangeMembers::kRemove:
      voters.erase(change->remove());
      learners.erase(change->remove());
      break;
    case ChangeMembers::kPromote:
    case ChangeMembers::kCount: {
      const raft::MemberId id = change->has_count() ? change->count() : change->promote();
      learners.erase(id);
      voters.insert(id);
      break;
    }
    case ChangeMembers::kUpdate:
    case ChangeMembers::kPublish:
    case ChangeMembers::CHANGE_NOT_SET:
      break;
  }
  change->mutable_voters()->Assign(voters.begin(), voters.end());
  change->mutable_learners()->Assign(learners.begin(), learners.end());
}

std::set<raft::MemberId> Members::Apply(const ChangeMembers& change) {
  std::set<raft::MemberId> changed;
  const auto edit = [&](raft::MemberId id) -> etcdserverpb::Member* {
    const auto it = members_.find(id);
    if (it == members_.end()) return nullptr;
    changed.insert(id);
    return &it->second.info;
  };
  const auto put = [&](const etcdserverpb::Member& info) {
    members_[info.id()] = {.info = info};  // `votes` is set below
    changed.insert(info.id());
  };
  switch (change.change_case()) {
    case ChangeMembers::kBegin:
      for (const etcdserverpb::Member& info : change.begin().members()) put(info);
      break;
    case ChangeMembers::kAdd:
      put(change.add());
      break;
    case ChangeMembers::kUpdate:
      if (auto* info = edit(change.update().id())) {
        *info->mutable_peerurls() = change.update().peerurls();
      }
      break;
    case ChangeMembers::kPublish:
      if (auto* info = edit(change.publish().id())) {
        members_[change.publish().id()].started = true;
        info->set_name(change.publish().name());
        *info->mutable_clienturls() = change.publish().clienturls();
      }
      break;
    case ChangeMembers::kPromote:
      if (auto* info = edit(change.promote())) info->set_islearner(false);
      break;
    case ChangeMembers::kRemove:
    case ChangeMembers::kCount:
    case ChangeMembers::CHANGE_NOT_SET:
      break;
  }
  std::map<raft::MemberId, bool> votes;
  for (const raft::MemberId id : change.voters()) votes[id] = true;
  for (const raft::MemberId id : change.learners()) votes[id] = false;
  for (auto it = members_.begin(); it != members_.end();) {
    if (votes.contains(it->first)) {
      ++it;
      continue;
    }
    changed.insert(it->first);
    removed_.insert(it->first);
    it = members_.erase(it);
  }
  for (const auto& [id, counts] : votes) {
    removed_.erase(id);
    const auto [it, added] = members_.try_emplace(id);
    if (added || it->second.votes != counts) changed.insert(id);
    it->second.info.set_id(id);
    it->second.votes = counts;
    if (counts) it->second.info.set_islearner(false);
  }
  return changed;
}

// --- the configuration in a payload

bool ParseConfiguration(std::string_view payload, raft::Configuration* configuration) {
  proto::Command command;
  if (!ParseCommand(payload, &command) || !command.has_change_members()) return false;
  const ChangeMembers& change = command.change_members();
  const auto& voters = change.voters();
  const auto& learners = change.learners();
  if (voters.empty() || !SortedAndNoZero(voters) || !SortedAndNoZero(learners)) return false;
  for (const uint64_t id : learners) {
    if (std::binary_search(voters.begin(), voters.end(), id)) return false;
  }
  *configuration = {{voters.begin(), voters.end()}, {learners.begin(), learners.end()}};
  return true;
}

raft::Configuration MustParseConfiguration(std::string_view payload) {
  raft::Configuration configuration;
  CHECK(ParseConfiguration(payload, &configuration)) << "such an entry is rejected on its arrival";
  return configuration;
}

}  // namespace raftkv
