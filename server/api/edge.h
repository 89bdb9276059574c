#ifndef RAFTKV_SERVER_API_EDGE_H_
#define RAFTKV_SERVER_API_EDGE_H_

// What every RPC of the etcd API needs: the way into the replica, response headers, and the checks
// that come before all others. An RPC is: validate, call the replica, map the error, fill the
// header.

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "config/config.h"
#include "proto/etcd/outcome.h"
#include "proto/etcd/rpc.pb.h"
#include "server/api/errors.h"
#include "server/loop.h"
#include "server/member/replica.h"
#include "server/rpc/rpc.h"
#include "storage/state_machine.h"

namespace raftkv::api {

// The call fails, and has certainly changed nothing: clients that know the key may repeat it.
inline void SayNotProposed(grpc::ServerContext* context) {
  context->AddTrailingMetadata(kOutcomeKey, kNotProposed);
}

struct Edge {
  const Config* config = nullptr;
  const MemberConfig* self = nullptr;
  Loop* loop = nullptr;
  Replica* replica = nullptr;             // loop's thread only
  StateMachine* state_machine = nullptr;  // what may be called from any thread
  // Each call that waits for a compaction holds a copy: they are counted by it.
  std::shared_ptr<const int> compaction_waiters = std::make_shared<int>();
  // New calls are refused, because this member stops.
  std::atomic<bool> refuses_calls{false};

  // From any thread.
  void FillHeader(Revision revision, etcdserverpb::ResponseHeader* header) const {
    header->set_cluster_id(config->cluster_id);
    header->set_member_id(self->id);
    header->set_revision(revision);
    header->set_raft_term(loop->term());
  }

  // True: the call was answered, because there is nothing here that could be trusted, or because
  // its client wants an error rather than to wait for a leader.
  template <typename Call>
  bool Refused(Call* call) const {
    if (replica->refused_by_peers()) {
      SayNotProposed(call->context());
      call->Finish(RefusedByPeers());
      return true;
    }
    if (replica->leader() != raft::kNobody) return false;
    const auto& metadata = call->context()->client_metadata();
    auto it = metadata.find("hasleader");
    if (it == metadata.end() || it->second != "true") return false;
    SayNotProposed(call->context());
    call->Finish(NoLeader());
    return true;
  }

  // When the client of a call stops waiting: for calls that may take as long as they take. (That it
  // has gone before would take gRPC one more event for every call to tell.)
  template <typename Call>
  static absl::Time ClientDeadline(Call* call) {
    return Loop::Now() + (absl::FromChrono(call->context()->deadline()) - absl::Now());
  }
  // When a call that arrives now must be answered, or its client stops waiting.
  template <typename Call>
  absl::Time Deadline(Call* call) const {
    return std::min(Loop::Now() + config->limits.request_timeout, ClientDeadline(call));
  }

  // Runs `work(give_up)` on one of `workers`, which returns what the call ends with. `give_up()`
  // becomes true when nobody will want the answer; work that sees it ends with CANCELLED at once.
  template <typename Call, typename Work>
  void OnWorker(Workers* workers, Call* call, absl::Time deadline, Work work) const {
    auto give_up = [loop = loop, deadline] { return loop->stopping() || Loop::Now() >= deadline; };
    const bool accepted = workers->Run([loop = loop, call, give_up, work = std::move(work)] {
      grpc::Status status = grpc::Status::CANCELLED;
      if (!give_up()) status = work(give_up);
      if (status.error_code() == grpc::StatusCode::CANCELLED) {
        status = ToGrpc(loop->stopping() ? Fate::kStopped : Fate::kTimedOut);
      }
      call->Finish(status);
    });
    if (!accepted) call->Finish(TooManyRequests());
  }
};

// Adds a row: `handler` gets each call of `method`, of which `waiting` are taken at a time.
template <typename Request, typename Response>
void Serve(const Edge* edge, MethodTable* methods, int waiting, const char* method,
           void (*handler)(const Edge*, Unary<Request, Response>*)) {
  methods->Serve<Request, Response>(method, waiting,
                                    [edge, handler](auto* call) { handler(edge, call); });
}

// One function a service: adds its rows to the table of the client port.
void RegisterKv(const Edge* edge, MethodTable* methods);
void RegisterMaintenance(const Edge* edge, MethodTable* methods);
void RegisterCluster(const Edge* edge, MethodTable* methods);
void RegisterHealth(const Edge* edge, MethodTable* methods);

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_EDGE_H_
