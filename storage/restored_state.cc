#include "storage/restored_state.h"

#include <set>

#include "proto/command.pb.h"
#include "storage/rules/alarms.h"
#include "storage/rules/version.h"

namespace raftkv {

namespace {

proto::Command ChangeOf(const Alarms::Id& alarm, etcdserverpb::AlarmRequest::AlarmAction action) {
  proto::Command command;
  etcdserverpb::AlarmRequest& request = *command.mutable_change_alarm()->mutable_request();
  request.set_action(action);
  request.set_alarm(alarm.type);
  request.set_memberid(alarm.member);
  return command;
}

}  // namespace

std::vector<raft::Entry> EntriesAfter(const StateMachine& saved,
                                      const std::vector<etcdserverpb::Member>& members,
                                      int64_t bump_revision) {
  std::vector<raft::Entry> entries;
  const auto add = [&](const proto::Command& command) {
    const raft::EntryId id = {.term = saved.applied().term + 1,
                              .index = saved.applied().index + 1 + entries.size()};
    const auto type =
        command.has_change_members() ? raft::EntryType::kConfiguration : raft::EntryType::kCommand;
    entries.push_back({id, type, raft::Payload(command.SerializeAsString())});
  };
  if (saved.cluster_version() < kMembersVersion) {
    proto::Command raise;
    raise.mutable_set_cluster_version()->set_version(kMembersVersion);
    add(raise);
  }
  // Its configuration names the new members only, so the old ones are removed.
  proto::Command begin;
  proto::ChangeMembers& change = *begin.mutable_change_members();
  change.mutable_begin()->mutable_members()->Assign(members.begin(), members.end());
  std::set<raft::MemberId> voters;
  for (const etcdserverpb::Member& member : members) voters.insert(member.id());
  change.mutable_voters()->Assign(voters.begin(), voters.end());
  add(begin);
  // The alarms are about disks of the old members, so they end. CORRUPT must stay until an operator
  // has examined the data. It is raised again at the end, because it would prevent the compaction.
  for (const auto& [id, alarm] : saved.alarms().all()) {
    add(ChangeOf(id, etcdserverpb::AlarmRequest::DEACTIVATE));
  }
  if (bump_revision > 0) {
    proto::Command bump, compact;
    bump.mutable_bump_revision()->set_by(bump_revision);
    compact.mutable_compaction()->set_revision(saved.revision() + bump_revision);
    add(bump);
    add(compact);
  }
  for (const auto& [id, alarm] : saved.alarms().all()) {
    if (id.type == etcdserverpb::CORRUPT) add(ChangeOf(id, etcdserverpb::AlarmRequest::ACTIVATE));
  }
  return entries;
}

}  // namespace raftkv
