// etcdserverpb.Maintenance: Status, Hash, HashKV, Defragment, MoveLeader, Alarm. The first four
// concern the state of this member only, and wait neither for a leader nor for the applier.
// Snapshot is in backup.cc. Downgrade is not supported yet.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "config/config.h"
#include "config/version.h"
#include "server/api/edge.h"
#include "server/api/member_calls.h"

namespace raftkv::api {

namespace {

using etcdserverpb::AlarmRequest;
using etcdserverpb::AlarmResponse;
using etcdserverpb::DefragmentRequest;
using etcdserverpb::DefragmentResponse;
using etcdserverpb::HashKVRequest;
using etcdserverpb::HashKVResponse;
using etcdserverpb::HashRequest;
using etcdserverpb::HashResponse;
using etcdserverpb::MoveLeaderRequest;
using etcdserverpb::MoveLeaderResponse;
using etcdserverpb::StatusRequest;
using etcdserverpb::StatusResponse;

// Runs `hash(snapshot, give_up)`, which fills in the response, on the walk worker. Reading ten
// million versions takes seconds, so there is no request timeout, as in etcd.
template <typename Request, typename Response, typename Hash>
void WithSnapshot(const Edge* edge, Unary<Request, Response> call, Hash hash) {
  edge->OnWorker(edge->walker, call, call->deadline(),
                 [edge, call, hash, snapshot = edge->member->Snapshot()](const auto& give_up) {
                   const absl::Status status = hash(*snapshot, give_up);
                   edge->FillHeader(snapshot->revision(), call.response()->mutable_header());
                   return status;
                 });
}

std::string NameOf(const Edge& edge, raft::MemberId id) {
  const Members::Member* member = edge.member->members().Find(id);
  if (member != nullptr && !member->info.name().empty()) return member->info.name();
  for (const MemberConfig& known : edge.config->members) {
    if (known.id == id) return known.name;
  }
  return absl::StrFormat("member %x", id);
}

std::vector<std::string> NamesOf(const Edge& edge, const std::vector<raft::MemberId>& ids) {
  std::vector<std::string> names;
  for (const raft::MemberId id : ids) names.push_back(NameOf(edge, id));
  SortAsListed(NamesIn(*edge.config), &names);
  return names;
}

// Why this member knows no leader, for operators.
std::string WhyNoLeader(const Edge& edge, const MemberStatus& status) {
  const WaitingForPeers& waiting = status.waiting_for;
  if (!waiting.missing.empty()) {
    return absl::StrCat("first start: ", Describe(waiting, NamesOf(edge, waiting.missing)));
  }
  if (status.voters == 0) return "no leader has sent this new member anything yet";
  const size_t silent = status.silent.size(), needed = status.voters / 2 + 1;
  if (silent == 0) return "all voting members answer: an election is due";
  const size_t answer = status.voters - silent;
  return absl::StrCat(answer, " of ", status.voters, " voting members answer, and a leader needs ",
                      needed, " (no answer from ",
                      absl::StrJoin(NamesOf(edge, status.silent), ", "), ")");
}

// As etcd prints an AlarmMember. It leaves out a member of 0.
void AddAlarms(const StateSnapshot& snapshot, StatusResponse* response) {
  const absl::StatusOr<Alarms> alarms = snapshot.ReadAlarms();
  if (!alarms.ok()) return;
  for (const auto& [id, alarm] : alarms->all()) {
    response->add_errors(
        absl::StrCat(id.member == raft::kNobody ? "" : absl::StrCat("memberID:", id.member, " "),
                     "alarm:", etcdserverpb::AlarmType_Name(id.type), " "));
  }
}

void Status(const Edge* edge, Unary<StatusRequest, StatusResponse> call) {
  const MemberStatus status = edge->member->Status();
  const raft::Status& raft = status.raft;
  StatusResponse* response = call.response();
  response->set_version(kEtcdVersion);
  response->set_storageversion(kEtcdClusterVersion);
  response->set_serverversion(kVersion);
  response->set_clusterversion(edge->member->cluster_version());
  response->set_newestclusterversion(edge->member->newest_version());
  response->set_leader(raft.leader);
  response->set_raftindex(raft.commit_index);  // as in etcd
  response->set_raftterm(raft.term);
  response->set_islearner(edge->member->is_learner());
  if (raft.leader == raft::kNobody) response->add_errors(std::string(NoLeader().message()));
  if (status.fault) {
    response->add_errors(
        Describe(status.fault, [edge](raft::MemberId id) { return NameOf(*edge, id); }));
  } else if (edge->member->rejected_by_peers()) {
    response->add_errors(std::string(RejectedByPeers().message()));
  } else if (raft.leader == raft::kNobody) {
    response->add_errors(WhyNoLeader(*edge, status));
  }
  if (status.lost) {
    response->add_errors(
        absl::StrCat("the log lost entries ", status.lost->first, " to ", status.lost->last.index,
                     ": this member does not vote until a leader has sent them again"));
  }
  const std::shared_ptr<const StateSnapshot> snapshot = edge->member->Snapshot();
  AddAlarms(*snapshot, response);
  if (edge->member->out_of_space()) response->add_errors(std::string(OutOfSpace().message()));
  response->set_dbsizequota(edge->config->storage.quota_backend_bytes);
  // dbSize: the state and the log; dbSizeInUse: the state alone. Both as they are on disk.
  const auto state_bytes = static_cast<int64_t>(edge->member->DiskBytes());
  response->set_dbsize(state_bytes + static_cast<int64_t>(status.log_bytes));
  response->set_dbsizeinuse(state_bytes);
  response->set_raftappliedindex(snapshot->applied().index);
  edge->FillHeader(snapshot->revision(), response->mutable_header());
  call.Finish(absl::OkStatus());
}

void Hash(const Edge* edge, Unary<HashRequest, HashResponse> call) {
  WithSnapshot(edge, call, [call](const StateSnapshot& snapshot, const auto& give_up) {
    const absl::StatusOr<uint32_t> hash = snapshot.Hash(give_up);
    if (!hash.ok()) return hash.status();
    call.response()->set_hash(*hash);
    return absl::OkStatus();
  });
}

void HashKv(const Edge* edge, Unary<HashKVRequest, HashKVResponse> call) {
  WithSnapshot(edge, call, [call](const StateSnapshot& snapshot, const auto& give_up) {
    const absl::StatusOr<StateSnapshot::KvHash> hash =
        snapshot.HashKv(call.request().revision(), give_up);
    if (!hash.ok()) return hash.status();
    call.response()->set_hash(hash->hash);
    call.response()->set_compact_revision(hash->compact_revision);
    call.response()->set_hash_revision(hash->hash_revision);
    return absl::OkStatus();
  });
}

// The space is freed in the background; the answer does not wait for it.
void Defragment(const Edge* edge, Unary<DefragmentRequest, DefragmentResponse> call) {
  edge->member->StartDefragment();
  call.Finish(absl::OkStatus());
}

// As in etcd, the response has no header.
void MoveLeader(const Edge* edge, Unary<MoveLeaderRequest, MoveLeaderResponse> call) {
  const auto done = [call](Fate fate) {
    call.Finish(fate.kind == Fate::Kind::kTimedOut ? TransferTimedOut() : ReadToWire(fate));
  };
  edge->member->Post(TransferRequest{call.request().targetid(), done, Edge::CallerOf(call)});
}

// As in etcd, the list is a linearizable read, so it fails without a leader. `etcdctl endpoint
// health` reads the list.
void ListAlarms(const Edge* edge, Unary<AlarmRequest, AlarmResponse> call) {
  WhenUpToDate(edge, call, [edge, call] {
    const std::shared_ptr<const StateSnapshot> snapshot = edge->member->Snapshot();
    const absl::StatusOr<Alarms> alarms = snapshot->ReadAlarms();
    if (!alarms.ok()) return call.Finish(ToWire(alarms.status()));
    const etcdserverpb::AlarmType wanted = call.request().alarm();
    for (const auto& [id, alarm] : alarms->all()) {
      if (wanted != etcdserverpb::NONE && id.type != wanted) continue;
      etcdserverpb::AlarmMember* listed = call.response()->add_alarms();
      listed->set_alarm(id.type);
      listed->set_memberid(id.member);
    }
    edge->FillHeader(snapshot->revision(), call.response()->mutable_header());
    call.Finish(absl::OkStatus());
  });
}

// A client may raise an alarm for any member id, also an unknown one. If a client ends an alarm
// that a member raised because of its disk, the member raises it again unless there is more space.
void Alarm(const Edge* edge, Unary<AlarmRequest, AlarmResponse> call) {
  if (call.request().action() == AlarmRequest::GET) return ListAlarms(edge, call);
  proto::Command command;
  *command.mutable_change_alarm()->mutable_request() = call.request();
  Write(edge, call, &command, &proto::CommandResponse::mutable_change_alarm);
}

}  // namespace

void AddMaintenance(const Edge* edge, Methods* methods) {
  Add<StatusRequest, StatusResponse>(edge, methods,
                                     {.name = "/etcdserverpb.Maintenance/Status",
                                      .permission = Permission::kNone,
                                      .handler = Status});
  Add<HashRequest, HashResponse>(edge, methods,
                                 {.name = "/etcdserverpb.Maintenance/Hash",
                                  .permission = Permission::kMaintain,
                                  .handler = Hash});
  Add<HashKVRequest, HashKVResponse>(edge, methods,
                                     {.name = "/etcdserverpb.Maintenance/HashKV",
                                      .permission = Permission::kMaintain,
                                      .handler = HashKv});
  Add<DefragmentRequest, DefragmentResponse>(edge, methods,
                                             {.name = "/etcdserverpb.Maintenance/Defragment",
                                              .permission = Permission::kMaintainSelf,
                                              .handler = Defragment});
  Add<MoveLeaderRequest, MoveLeaderResponse>(edge, methods,
                                             {.name = "/etcdserverpb.Maintenance/MoveLeader",
                                              .permission = Permission::kMaintain,
                                              .handler = MoveLeader});
  Add<AlarmRequest, AlarmResponse>(edge, methods,
                                   {.name = "/etcdserverpb.Maintenance/Alarm",
                                    .permission = Permission::kMaintain,
                                    .handler = Alarm});
}

}  // namespace raftkv::api
