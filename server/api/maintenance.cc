// etcdserverpb.Maintenance: Status, Hash, HashKV, Defragment, MoveLeader, Alarm. The first four
// concern the state of this member only, and wait neither for a leader nor for the applier. The
// other methods are not supported yet.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

// Runs `hash(snapshot, give_up)`, which fills in the response, on the walk worker. To walk ten
// million versions takes seconds, so there is no request timeout, as in etcd.
template <typename Request, typename Response, typename Hash>
void WithSnapshot(const Edge* edge, Unary<Request, Response> call, Hash hash) {
  edge->OnWorker(edge->walker, call, call->deadline(),
                 [edge, call, hash, snapshot = edge->member->Snapshot()](const auto& give_up) {
                   const absl::Status status = hash(*snapshot, give_up);
                   edge->FillHeader(snapshot->revision(), call.response()->mutable_header());
                   return ToWire(status);
                 });
}

// Why a member that has never voted knows no leader. Empty: it may vote.
std::string FirstStartWaits(const Edge& edge, const WaitingForPeers& waiting) {
  if (waiting.missing.empty()) return "";
  std::vector<std::string> names;
  for (const MemberConfig& member : edge.config->members) {
    if (std::count(waiting.missing.begin(), waiting.missing.end(), member.id) > 0) {
      names.push_back(member.name);
    }
  }
  return absl::StrCat("first start: waiting until ", waiting.needed, " more of ",
                      absl::StrJoin(names, ", "), " run with new data directories, too");
}

void Status(const Edge* edge, Unary<StatusRequest, StatusResponse> call) {
  const MemberStatus status = edge->member->Status();
  const raft::Status& raft = status.raft;
  StatusResponse* response = call.response();
  response->set_version(kEtcdVersion);
  response->set_storageversion("3.6.0");
  response->set_leader(raft.leader);
  response->set_raftindex(raft.last_index);
  response->set_raftterm(raft.term);
  response->set_islearner(edge->member->is_learner());
  if (raft.leader == raft::kNobody) response->add_errors(std::string(NoLeader().message()));
  if (edge->member->rejected_by_peers()) {
    response->add_errors(std::string(RejectedByPeers().message()));
  } else if (std::string why = FirstStartWaits(*edge, status.waiting_for); !why.empty()) {
    response->add_errors(std::move(why));
  }
  const std::shared_ptr<const StateSnapshot> snapshot = edge->member->Snapshot();
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

absl::Status CheckAlarm(const Edge*, const AlarmRequest& request) {
  if (request.action() != AlarmRequest::ACTIVATE) return absl::OkStatus();
  return absl::UnimplementedError("raftkv has no alarms yet");
}

// No alarm can be raised yet, so the list is empty, and nothing is there to disarm. As in etcd, the
// answer needs a leader: etcdctl endpoint health asks for it.
void Alarm(const Edge* edge, Unary<AlarmRequest, AlarmResponse> call) {
  WhenUpToDate(edge, call, [edge, call] {
    edge->FillHeader(edge->member->Snapshot()->revision(), call.response()->mutable_header());
    call.Finish(absl::OkStatus());
  });
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
                                    .check = CheckAlarm,
                                    .handler = Alarm});
}

}  // namespace raftkv::api
