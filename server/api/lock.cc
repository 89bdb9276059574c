// v3lockpb.Lock: locks that the server takes for its clients (candidate.h). Texts are etcd's.

#include <utility>

#include "proto/etcd/v3lock.pb.h"
#include "server/api/candidate.h"
#include "server/api/edge.h"
#include "server/api/member_calls.h"

namespace raftkv::api {

namespace {

using v3lockpb::LockRequest;
using v3lockpb::LockResponse;
using v3lockpb::UnlockRequest;
using v3lockpb::UnlockResponse;

void Lock(const std::shared_ptr<WatchService>& service, const Edge* edge,
          Unary<LockRequest, LockResponse> call) {
  Candidate::Options options;
  options.name = call.request().name();
  options.lease = call.request().lease();
  options.lost = absl::UnknownError("mutex: session is expired");
  Candidate::Start(service, call.get(), std::move(options),
                   [edge, call](const absl::Status& status, const Won& won) {
                     call.response()->set_key(won.key);
                     edge->FillHeader(edge->member->Snapshot()->revision(),
                                      call.response()->mutable_header());
                     call.Finish(status);
                   });
}

// As in etcd: succeeds also if there is no such key.
void Unlock(const Edge* edge, Unary<UnlockRequest, UnlockResponse> call) {
  proto::Command command;
  command.mutable_delete_range()->set_key(call.request().key());
  Propose(edge, &command, Edge::CallerOf(call),
          [edge, call](const absl::Status& status, bool proposed, const ApplyResult& result) {
            if (!proposed) SayNotProposed(call.get());
            edge->FillHeader(result.revision, call.response()->mutable_header());
            call.Finish(status);
          });
}

}  // namespace

void AddLock(const std::shared_ptr<WatchService>& service, Methods* methods) {
  const Edge* edge = &service->edge();
  Add<LockRequest, LockResponse>(
      edge, methods,
      {.name = "/v3lockpb.Lock/Lock",
       .permission = Permission::kWrite,
       .handler = [service](const Edge* edge, auto call) { Lock(service, edge, call); }});
  Add<UnlockRequest, UnlockResponse>(
      edge, methods,
      {.name = "/v3lockpb.Lock/Unlock", .permission = Permission::kWrite, .handler = Unlock});
}

}  // namespace raftkv::api
