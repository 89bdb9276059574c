// etcdserverpb.Maintenance: Status. The rest is not served yet.

#include "server/api/edge.h"

namespace raftkv::api {

void RegisterMaintenance(const Edge* edge, MethodTable* methods) {
  methods->Serve<etcdserverpb::StatusRequest, etcdserverpb::StatusResponse>(
      "/etcdserverpb.Maintenance/Status", 4, [edge](auto* call) {
        const raft::Status raft = edge->replica->status();
        etcdserverpb::StatusResponse* response = call->response();
        response->set_version(kEtcdVersion);
        response->set_storageversion("3.6.0");
        response->set_leader(raft.leader);
        response->set_raftindex(raft.last_index);
        response->set_raftterm(raft.term);
        if (raft.leader == raft::kNobody) response->add_errors("etcdserver: no leader");
        // Sizes and the applied index are the state machine's.
        edge->loop->PostRead([edge, call](Fate fate) {
          if (fate != Fate::kApplied) {
            call->Finish(ToGrpc(fate));
            return;
          }
          etcdserverpb::StatusResponse* response = call->response();
          const int64_t bytes = static_cast<int64_t>(edge->state_machine->DiskBytes());
          response->set_dbsize(bytes);
          response->set_dbsizeinuse(bytes);
          response->set_raftappliedindex(edge->state_machine->applied().index);
          edge->FillHeader(edge->state_machine->revision(), response->mutable_header());
          call->Finish(grpc::Status::OK);
        });
      });
}

}  // namespace raftkv::api
