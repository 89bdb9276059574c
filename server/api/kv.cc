// etcdserverpb.KV. Reads go through ReadIndex (serializable ones see what is there),
// writes through the log.

#include <algorithm>
#include <memory>
#include <utility>

#include "server/api/edge.h"
#include "storage/mvcc/check.h"

namespace raftkv::api {

namespace {

using etcdserverpb::CompactionRequest;
using etcdserverpb::CompactionResponse;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::DeleteRangeResponse;
using etcdserverpb::PutRequest;
using etcdserverpb::PutResponse;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;

// What a read may cost inside the loop; larger ones go on in a worker.
const Limits kInlineLimits{.steps_max = 128, .answer_bytes_max = 64 << 10};
// Calls of one method that are taken without another turn of the queue.
constexpr int kWaitingCalls = 512;
constexpr int64_t kCompactionWaitersMax = 256;

absl::Status ReadFrom(const StateSnapshot& snapshot, const RangeRequest& request,
                      const Limits& limits, RangeResponse* response) {
  return snapshot.Range(request, limits, response);
}
absl::Status ReadFrom(const StateSnapshot& snapshot, const TxnRequest& request,
                      const Limits& limits, TxnResponse* response) {
  return snapshot.Txn(request, limits, response);
}

template <typename Request, typename Response>
absl::Status Fill(const Edge* edge, const StateSnapshot& snapshot, const Limits& limits,
                  Unary<Request, Response>* call) {
  const absl::Status status = ReadFrom(snapshot, call->request(), limits, call->response());
  if (status.ok()) edge->FillHeader(snapshot.revision(), call->response()->mutable_header());
  return status;
}

// Everything this read must see is in the state machine.
template <typename Request, typename Response>
void ReadNow(const Edge* edge, absl::Time deadline, Unary<Request, Response>* call) {
  std::shared_ptr<const StateSnapshot> snapshot = edge->state_machine->Snapshot();
  const absl::Status status = Fill(edge, *snapshot, kInlineLimits, call);
  if (!absl::IsResourceExhausted(status)) return call->Finish(ToGrpc(status));
  call->response()->Clear();
  edge->OnWorker(&edge->loop->readers(), call, deadline,
                 [edge, call, snapshot = std::move(snapshot)](auto give_up) {
                   const absl::Status status =
                       Fill(edge, *snapshot,
                            {.answer_bytes_max = edge->config->limits.max_response_bytes,
                             .give_up = std::move(give_up)},
                            call);
                   return absl::IsResourceExhausted(status) ? ResponseTooLarge() : ToGrpc(status);
                 });
}

template <typename Request, typename Response>
void Read(const Edge* edge, bool serializable, Unary<Request, Response>* call) {
  const absl::Time deadline = edge->Deadline(call);
  if (serializable) return ReadNow(edge, deadline, call);
  edge->loop->Post(ReadRequest{[edge, deadline, call](Fate fate) {
    if (fate != Fate::kApplied) {
      call->Finish(ToGrpc(fate));
    } else {
      ReadNow(edge, deadline, call);
    }
  }});
}

// True: the call was answered. `check` is what its shape deserves.
template <typename Call>
bool Refused(const Edge* edge, const absl::Status& check, Call* call) {
  if (edge->Refused(call)) return true;
  if (check.ok()) return false;
  call->Finish(ToGrpc(check));
  return true;
}

bool CertainlyNotProposed(Fate fate) {
  return fate == Fate::kTimedOut || fate == Fate::kNotUnderstood ||
         fate == Fate::kStoppedUnproposed;
}

// A request that goes through the log as `command`. `get` takes its part of the answer; `finish`
// sends it. Fields that we do not know mean nothing here and have no place in the log.
template <typename Call, typename Get, typename Finish>
void Write(const Edge* edge, Call* call, proto::Command* command, Get get, Finish finish) {
  command->DiscardUnknownFields();
  std::string bytes = command->SerializeAsString();
  if (bytes.size() > static_cast<size_t>(edge->config->limits.max_request_bytes)) {
    call->Finish(RequestTooLarge());
    return;
  }
  edge->loop->Post(
      ProposeRequest{std::move(bytes), [edge, call, get, finish](Fate fate, ApplyResult result) {
                       if (CertainlyNotProposed(fate)) SayNotProposed(call->context());
                       if (fate != Fate::kApplied) return call->Finish(ToGrpc(fate));
                       if (!result.status.ok()) return call->Finish(ToGrpc(result.status));
                       call->response()->Swap(get(&result.response));
                       edge->FillHeader(result.revision, call->response()->mutable_header());
                       finish(call);
                     }});
}

template <typename Call, typename Get>
void Write(const Edge* edge, Call* call, proto::Command* command, Get get) {
  Write(edge, call, command, get, [](Call* call) { call->Finish(grpc::Status::OK); });
}

void Range(const Edge* edge, Unary<RangeRequest, RangeResponse>* call) {
  if (Refused(edge, mvcc::Check(call->request()), call)) return;
  Read(edge, call->request().serializable(), call);
}

void Put(const Edge* edge, Unary<PutRequest, PutResponse>* call) {
  if (Refused(edge, mvcc::Check(call->request()), call)) return;
  proto::Command command;
  command.mutable_put()->Swap(call->mutable_request());
  Write(edge, call, &command, [](proto::CommandResponse* r) { return r->mutable_put(); });
}

void DeleteRange(const Edge* edge, Unary<DeleteRangeRequest, DeleteRangeResponse>* call) {
  if (Refused(edge, mvcc::Check(call->request()), call)) return;
  proto::Command command;
  command.mutable_delete_range()->Swap(call->mutable_request());
  Write(edge, call, &command, [](proto::CommandResponse* r) { return r->mutable_delete_range(); });
}

// Whether a transaction that only reads asks for nothing fresher than this member's own state. One
// that reads nothing but its comparisons never said so.
bool IsSerializable(const TxnRequest& request) {
  const auto serializable = [](const RequestOp& op) { return op.request_range().serializable(); };
  return request.success_size() + request.failure_size() > 0 &&
         std::all_of(request.success().begin(), request.success().end(), serializable) &&
         std::all_of(request.failure().begin(), request.failure().end(), serializable);
}

void Txn(const Edge* edge, Unary<TxnRequest, TxnResponse>* call) {
  const TxnRequest& request = call->request();
  if (Refused(edge, mvcc::Check(request, edge->config->limits.max_txn_ops), call)) return;
  if (mvcc::IsReadOnly(request)) return Read(edge, IsSerializable(request), call);
  proto::Command command;
  command.mutable_txn()->Swap(call->mutable_request());
  Write(edge, call, &command, [](proto::CommandResponse* r) { return r->mutable_txn(); });
}

// The logical compaction is in the log; `physical` waits until this member has removed what became
// obsolete, as long as its client does.
void Compact(const Edge* edge, Unary<CompactionRequest, CompactionResponse>* call) {
  if (edge->Refused(call)) return;
  const Revision revision = call->request().revision();
  std::shared_ptr<const int> waiter;
  if (call->request().physical()) {
    // Refused before it is proposed: afterwards the client would not know that it happened.
    waiter = edge->compaction_waiters;
    if (waiter.use_count() > kCompactionWaitersMax + 1) return call->Finish(TooManyRequests());
  }
  const absl::Time deadline = edge->ClientDeadline(call);
  proto::Command command;
  command.mutable_compaction()->Swap(call->mutable_request());
  Write(
      edge, call, &command, [](proto::CommandResponse* r) { return r->mutable_compaction(); },
      [edge, revision, deadline, waiter](auto* call) {
        if (waiter == nullptr) return call->Finish(grpc::Status::OK);
        edge->loop->WhenCompacted(revision, deadline,
                                  [call, waiter](Fate fate) { call->Finish(ToGrpc(fate)); });
      });
}

}  // namespace

void RegisterKv(const Edge* edge, MethodTable* methods) {
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.KV/Range", Range);
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.KV/Put", Put);
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.KV/DeleteRange", DeleteRange);
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.KV/Txn", Txn);
  Serve(edge, methods, kWaitingCalls, "/etcdserverpb.KV/Compact", Compact);
}

}  // namespace raftkv::api
