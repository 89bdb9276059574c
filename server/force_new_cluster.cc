#include "server/force_new_cluster.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "proto/parse_command.h"
#include "storage/base/check.h"
#include "storage/rules/members.h"

namespace raftkv {

namespace {

constexpr size_t kReadBytes = 1 << 20;

// The members after all configuration entries of the log, committed or not.
Members MembersInLog(const DataDir& data_dir) {
  Members members = data_dir.state->members();
  const LogStore& log = *data_dir.log;
  for (raft::Index next = data_dir.state->applied().index + 1; next <= log.last_index();) {
    for (const raft::Entry& entry : log.Entries(next, log.last_index(), kReadBytes)) {
      next = entry.id.index + 1;
      if (entry.type != raft::EntryType::kConfiguration) continue;
      proto::Command command;
      CHECK(ParseCommand(entry.payload.view(), &command)) << "checked when it was appended";
      members.Apply(command.change_members());
    }
  }
  return members;
}

}  // namespace

absl::Status MayForceNewCluster(const std::string& dir) {
  const auto identity = ReadIdentity(dir);
  if (!identity.ok()) return identity.status();
  if (identity->has_value()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "--force-new-cluster: ", dir,
      " has no data of a member: check that its disk is mounted, and that the working directory "
      "and data_dir are right; or use the directory of another member"));
}

absl::Status ForceNewCluster(DataDir* data_dir) {
  const Identity& self = data_dir->identity;
  LogStore& log = *data_dir->log;
  const Members members = MembersInLog(*data_dir);
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
  if (members.Find(self.member_id) == nullptr) {
    return cannot("was removed from the cluster: use the directory of another member");
  }
  if (members.all().size() == 1 && log.may_vote()) {
    LOG(INFO) << "--force-new-cluster: this is the only member already; leave the flag out";
    return absl::OkStatus();
  }
  proto::Command command;
  command.mutable_change_members()->add_voters(self.member_id);
  raft::HardState state = log.hard_state();
  state.current_term += 1;
  state.voted_for = raft::kNobody;
  log.Save(state, {{.id = {state.current_term, log.last_index() + 1},
                    .type = raft::EntryType::kConfiguration,
                    .payload = raft::Payload(command.SerializeAsString())}});
  log.AllowVoting();
  LOG(WARNING) << "--force-new-cluster: member " << self.member_name << " is the only member now; "
               << members.all().size() - 1
               << " others were removed, and writes that only they had are lost. Never start them "
                  "again: wipe their data directories, and add new members";
  return absl::OkStatus();
}

}  // namespace raftkv
