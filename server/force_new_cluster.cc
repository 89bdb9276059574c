#include "server/force_new_cluster.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "proto/command.pb.h"
#include "storage/data_dir/removal.h"
#include "storage/rules/members.h"

namespace raftkv {

absl::Status MayForceNewCluster(const std::string& dir) {
  const auto identity = ReadIdentity(dir);
  if (!identity.ok()) return identity.status();
  if (identity->has_value()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "--force-new-cluster: ", dir,
      " has no data of a member: check that its disk is mounted, and that the working directory "
      "and data_dir are right; or use the directory of another member"));
}

absl::Status ForceNewCluster(const std::string& dir, const std::string& peer_url,
                             DataDir* data_dir) {
  const Identity& self = data_dir->identity;
  LogStore& log = *data_dir->log;
  const Members members = MembersInLog(*data_dir->state, log);
  const bool was_removed =
      IsNotedRemoved(dir) || (members.known() && members.Find(self.member_id) == nullptr);
  const auto cannot = [&](absl::string_view why) {
    return absl::FailedPreconditionError(
        absl::StrCat("--force-new-cluster: member \"", self.member_name, "\" ", why));
  };
  if (!log.may_vote() && !log.lost() && log.last_index() < log.first_index()) {
    return cannot("has a new data directory: use that of another member");
  }
  if (!members.known()) {
    return cannot(
        "has no list of the members in its log, because some members never ran this release; "
        "restore the directories of a majority");
  }
  const bool is_only = members.all().size() == 1 && members.Find(self.member_id) != nullptr;
  if (is_only && log.may_vote()) {
    LOG(INFO) << "--force-new-cluster: this is the only member already; leave the flag out";
    return ForgetRemoval(dir);
  }
  proto::Command command;
  proto::ChangeMembers& change = *command.mutable_change_members();
  if (members.Find(self.member_id) == nullptr) {
    change.mutable_add()->set_id(self.member_id);
    change.mutable_add()->add_peerurls(peer_url);
  }
  change.add_voters(self.member_id);
  raft::HardState state = log.hard_state();
  state.current_term += 1;
  state.voted_for = raft::kNobody;
  log.Save(state, {{.id = {state.current_term, log.last_index() + 1},
                    .type = raft::EntryType::kConfiguration,
                    .payload = raft::Payload(command.SerializeAsString())}});
  log.AllowVoting();
  if (was_removed) {
    LOG(WARNING) << "--force-new-cluster: member " << self.member_name
                 << " had been removed from the cluster, so the writes that the cluster "
                    "acknowledged since then are lost; if another directory of the cluster is "
                    "left, stop this member and use that one";
  }
  LOG(WARNING) << "--force-new-cluster: member " << self.member_name << " is the only member now; "
               << members.all().size() - (members.Find(self.member_id) != nullptr ? 1 : 0)
               << " others were removed, and writes that only they had are lost. Never start them "
                  "again: wipe their data directories, and add new members";
  return ForgetRemoval(dir);
}

}  // namespace raftkv
