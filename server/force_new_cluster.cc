#include "server/force_new_cluster.h"

#include <grpcpp/grpcpp.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "glog/logging.h"
#include "proto/command.pb.h"
#include "proto/etcd/rpc.grpc.pb.h"
#include "server/member_channel.h"
#include "storage/data_dir/removal.h"
#include "storage/rules/members.h"

namespace raftkv {

namespace {

constexpr absl::Duration kStatusWaitMax = absl::Seconds(1);

// Whether a member of the cluster that listens there knows a leader other than `self`.
bool HasLeader(const std::string& client_url, const Identity& self) {
  const auto stub = etcdserverpb::Maintenance::NewStub(ChannelToMember(client_url));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kStatusWaitMax));
  etcdserverpb::StatusResponse status;
  return stub->Status(&context, {}, &status).ok() &&
         status.header().cluster_id() == self.cluster_id && status.leader() != raft::kNobody &&
         status.leader() != self.member_id;
}

}  // namespace

absl::Status MayForceNewCluster(const Config& config, const MemberConfig& self) {
  const auto identity = ReadIdentity(self.data_dir);
  if (!identity.ok()) return identity.status();
  if (!identity->has_value()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--force-new-cluster: ", self.data_dir,
        " has no data of a member: check that its disk is mounted, and that the working directory "
        "and data_dir are right; or use the directory of another member"));
  }
  std::set<std::string> urls;
  for (const MemberConfig& member : config.members) urls.insert(member.client_url);
  const Members members = ReadMembers(self.data_dir);
  for (const auto& [id, member] : members.all()) {
    urls.insert(member.info.clienturls().begin(), member.info.clienturls().end());
  }
  urls.erase(self.client_url);
  for (const std::string& url : urls) {
    if (!HasLeader(url, **identity)) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "--force-new-cluster: the cluster serves without this member: ", url,
        " has a leader. There would be two clusters with the same id. Start this member without "
        "the flag; or, to give up the other members' data, stop them first"));
  }
  return absl::OkStatus();
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
