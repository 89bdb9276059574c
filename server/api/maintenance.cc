// etcdserverpb.Maintenance: Status, Hash, HashKV, Defragment. Each is about the member that is
// asked, as its state stands, and waits neither for a leader nor for the applier. The rest is not
// served yet.

#include <memory>
#include <utility>

#include "server/api/edge.h"

namespace raftkv::api {

namespace {

using StatusCall = Unary<etcdserverpb::StatusRequest, etcdserverpb::StatusResponse>;
using HashCall = Unary<etcdserverpb::HashRequest, etcdserverpb::HashResponse>;
using HashKvCall = Unary<etcdserverpb::HashKVRequest, etcdserverpb::HashKVResponse>;
using DefragmentCall = Unary<etcdserverpb::DefragmentRequest, etcdserverpb::DefragmentResponse>;

constexpr int kWaitingCalls = 4;

// `hash(snapshot, give_up)` fills in the response on the worker that walks the whole store, which
// takes seconds for ten million versions: no request timeout, as in etcd.
template <typename Call, typename Hash>
void WithSnapshot(const Edge* edge, Call* call, Hash hash) {
  if (edge->Refused(call)) return;
  edge->OnWorker(
      &edge->loop->walker(), call, edge->ClientDeadline(call),
      [edge, call, hash, snapshot = edge->state_machine->Snapshot()](const auto& give_up) {
        const absl::Status status = hash(*snapshot, give_up);
        edge->FillHeader(snapshot->revision(), call->response()->mutable_header());
        return ToGrpc(status);
      });
}

void Status(const Edge* edge, StatusCall* call) {
  const raft::Status raft = edge->replica->status();
  etcdserverpb::StatusResponse* response = call->response();
  response->set_version(kEtcdVersion);
  response->set_storageversion("3.6.0");
  response->set_leader(raft.leader);
  response->set_raftindex(raft.last_index);
  response->set_raftterm(raft.term);
  if (raft.leader == raft::kNobody) response->add_errors(NoLeader().error_message());
  if (edge->replica->refused_by_peers()) {
    response->add_errors(RefusedByPeers().error_message());
  }
  const std::shared_ptr<const StateSnapshot> snapshot = edge->state_machine->Snapshot();
  const int64_t bytes = static_cast<int64_t>(edge->state_machine->DiskBytes());
  response->set_dbsize(bytes);
  response->set_dbsizeinuse(bytes);
  response->set_raftappliedindex(snapshot->applied().index);
  edge->FillHeader(snapshot->revision(), response->mutable_header());
  call->Finish(grpc::Status::OK);
}

void Hash(const Edge* edge, HashCall* call) {
  WithSnapshot(edge, call, [call](const StateSnapshot& snapshot, const auto& give_up) {
    const absl::StatusOr<uint32_t> hash = snapshot.Hash(give_up);
    if (!hash.ok()) return hash.status();
    call->response()->set_hash(*hash);
    return absl::OkStatus();
  });
}

void HashKv(const Edge* edge, HashKvCall* call) {
  WithSnapshot(edge, call, [call](const StateSnapshot& snapshot, const auto& give_up) {
    const absl::StatusOr<StateSnapshot::KvHash> hash =
        snapshot.HashKv(call->request().revision(), give_up);
    if (!hash.ok()) return hash.status();
    call->response()->set_hash(hash->hash);
    call->response()->set_compact_revision(hash->compact_revision);
    call->response()->set_hash_revision(hash->hash_revision);
    return absl::OkStatus();
  });
}

// Space comes back in the background, and nobody waits for it.
void Defragment(const Edge* edge, DefragmentCall* call) {
  edge->state_machine->StartDefragment();
  call->Finish(grpc::Status::OK);
}

}  // namespace

void RegisterMaintenance(const Edge* edge, MethodTable* methods) {
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.Maintenance/Status", Status);
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.Maintenance/Hash", Hash);
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.Maintenance/HashKV", HashKv);
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.Maintenance/Defragment", Defragment);
}

}  // namespace raftkv::api
