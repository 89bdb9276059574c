#ifndef RAFTKV_SERVER_API_WRITE_H_
#define RAFTKV_SERVER_API_WRITE_H_

// Every method that writes proposes its command with Write. Next stop of the command: Member::Post.

#include <memory>
#include <string>
#include <utility>

#include "proto/command.pb.h"
#include "server/api/edge.h"
#include "server/api/errors.h"
#include "server/member/requests.h"
#include "storage/version.h"

namespace raftkv::api {

// Proposes `command` and answers the call once it is applied. `get` returns the part of the
// command's response that answers the call. Fields that this program does not know are dropped
// here, before the log. A command is not proposed if it is too large, or if it needs a cluster
// version above the one in force. `compaction_waiter`: the call is answered after the physical
// compaction; it holds the waiter until then (Edge::compaction_waiters).
template <typename Request, typename Response, typename Get>
void Write(const Edge* edge, Unary<Request, Response> call, proto::Command* command, Get get,
           std::shared_ptr<const int> compaction_waiter = nullptr) {
  command->DiscardUnknownFields();
  std::string bytes = command->SerializeAsString();
  if (bytes.size() > static_cast<size_t>(edge->config->limits.max_request_bytes)) {
    call.Finish(RequestTooLarge());
    return;
  }
  const ClusterVersion needs = Needs(*command), in_force = edge->member->cluster_version();
  if (needs > in_force) {
    SayNotProposed(call.get());
    call.Finish(NeedsVersion(in_force, needs));
    return;
  }
  const bool wait_for_compaction = compaction_waiter != nullptr;
  auto done = [edge, call, get, waiter = std::move(compaction_waiter)](Fate fate,
                                                                       ApplyResult result) {
    if (!fate.proposed) SayNotProposed(call.get());
    if (fate != Fate::kApplied) return call.Finish(ToWire(fate));
    if (!result.status.ok()) return call.Finish(ToWire(result.status));
    call.response()->Swap(get(&result.response));
    edge->FillHeader(result.revision, call.response()->mutable_header());
    call.Finish(absl::OkStatus());
  };
  edge->member->Post(ProposeRequest{.command = std::move(bytes),
                                    .done = std::move(done),
                                    .caller = Edge::CallerOf(call),
                                    .wait_for_compaction = wait_for_compaction,
                                    .needs = needs});
}

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_WRITE_H_
