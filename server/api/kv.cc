// etcdserverpb.KV. Reads go through ReadIndex (or straight into the apply queue when serializable),
// writes through the log. Txn and Compact are not served yet.

#include <memory>
#include <utility>

#include "server/api/edge.h"
#include "storage/mvcc/check.h"

namespace raftkv::api {

namespace {

using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::DeleteRangeResponse;
using etcdserverpb::PutRequest;
using etcdserverpb::PutResponse;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

// What a read may cost inside the loop; larger ones go on in a worker.
constexpr ReadBudget kInlineBudget{.visited_keys_max = 128, .bytes_max = 64 << 10};
// Calls of one method that are taken without another turn of the queue.
constexpr int kWaitingCalls = 512;

using RangeCall = Unary<RangeRequest, RangeResponse>;

void AnswerRange(const Edge* edge, const StateSnapshot& snapshot, const ReadBudget& budget,
                 RangeCall* call, absl::Status* status) {
  *status = snapshot.Range(call->request(), budget, call->response());
  if (status->ok()) edge->FillHeader(snapshot.revision(), call->response()->mutable_header());
}

// In the apply queue: the state machine holds everything this read must see.
void Read(const Edge* edge, RangeCall* call) {
  std::shared_ptr<const StateSnapshot> snapshot = edge->state_machine->Snapshot();
  absl::Status status;
  AnswerRange(edge, *snapshot, kInlineBudget, call, &status);
  if (status.code() != absl::StatusCode::kResourceExhausted) {
    call->Finish(ToGrpc(status));
    return;
  }
  const bool accepted = edge->loop->Offload([edge, call, snapshot = std::move(snapshot)] {
    absl::Status status;
    call->response()->Clear();
    AnswerRange(edge, *snapshot, {}, call, &status);
    call->Finish(ToGrpc(status));
  });
  if (!accepted) call->Finish(TooManyRequests());
}

void Range(const Edge* edge, RangeCall* call) {
  if (edge->RefusedWithoutLeader(call)) return;
  if (absl::Status invalid = mvcc::Check(call->request()); !invalid.ok()) {
    call->Finish(ToGrpc(invalid));
    return;
  }
  auto read = [edge, call](Fate fate) {
    if (fate != Fate::kApplied) {
      call->Finish(ToGrpc(fate));
    } else {
      Read(edge, call);
    }
  };
  if (call->request().serializable()) {
    edge->loop->PostRead(std::move(read));
  } else {
    edge->loop->Post(ReadRequest{std::move(read)});
  }
}

// A request that changes the store: `set` moves it into the command, `get` takes its part of the
// answer.
template <typename Request, typename Response, typename Set, typename Get>
void Write(const Edge* edge, Unary<Request, Response>* call, Set set, Get get) {
  if (edge->RefusedWithoutLeader(call)) return;
  if (absl::Status invalid = mvcc::Check(call->request()); !invalid.ok()) {
    call->Finish(ToGrpc(invalid));
    return;
  }
  proto::Command command;
  set(&command, call->mutable_request());
  std::string bytes = command.SerializeAsString();
  if (bytes.size() > static_cast<size_t>(edge->config->limits.max_request_bytes)) {
    call->Finish(RequestTooLarge());
    return;
  }
  edge->loop->Post(
      ProposeRequest{std::move(bytes), [edge, call, get](Fate fate, ApplyResult result) {
                       if (fate != Fate::kApplied) {
                         call->Finish(ToGrpc(fate));
                         return;
                       }
                       if (result.status.ok()) {
                         call->response()->Swap(get(&result.response));
                         edge->FillHeader(result.revision, call->response()->mutable_header());
                       }
                       call->Finish(ToGrpc(result.status));
                     }});
}

}  // namespace

void RegisterKv(const Edge* edge, MethodTable* methods) {
  methods->Serve<RangeRequest, RangeResponse>("/etcdserverpb.KV/Range", kWaitingCalls,
                                              [edge](auto* call) { Range(edge, call); });
  methods->Serve<PutRequest, PutResponse>(
      "/etcdserverpb.KV/Put", kWaitingCalls, [edge](auto* call) {
        Write(
            edge, call,
            [](proto::Command* c, PutRequest* request) { c->mutable_put()->Swap(request); },
            [](proto::CommandResponse* r) { return r->mutable_put(); });
      });
  methods->Serve<DeleteRangeRequest, DeleteRangeResponse>(
      "/etcdserverpb.KV/DeleteRange", kWaitingCalls, [edge](auto* call) {
        Write(
            edge, call,
            [](proto::Command* c, DeleteRangeRequest* request) {
              c->mutable_delete_range()->Swap(request);
            },
            [](proto::CommandResponse* r) { return r->mutable_delete_range(); });
      });
}

}  // namespace raftkv::api
