// etcdserverpb.KV. A linearizable read first asks the leader for a read index. A serializable read
// reads this member's state as it is. A write becomes an entry of the log.

#include <algorithm>
#include <memory>
#include <utility>

#include "server/api/edge.h"
#include "server/api/member_calls.h"
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

constexpr int64_t kCompactionWaitersMax = 256;

template <typename Request>
absl::Status Check(const Edge*, const Request& request) {
  return mvcc::Check(request);
}
absl::Status CheckTxn(const Edge* edge, const TxnRequest& request) {
  return mvcc::Check(request, edge->config->limits.max_txn_ops);
}

void Range(const Edge* edge, Unary<RangeRequest, RangeResponse> call) {
  Read(edge, call.request().serializable(), call);
}

void Put(const Edge* edge, Unary<PutRequest, PutResponse> call) {
  proto::Command command;
  command.mutable_put()->Swap(call.mutable_request());
  Write(edge, call, &command, &proto::CommandResponse::mutable_put);
}

void DeleteRange(const Edge* edge, Unary<DeleteRangeRequest, DeleteRangeResponse> call) {
  proto::Command command;
  command.mutable_delete_range()->Swap(call.mutable_request());
  Write(edge, call, &command, &proto::CommandResponse::mutable_delete_range);
}

// Whether this member's own state is enough for a transaction that only reads: all its ranges are
// serializable. Comparisons have no such flag, so a transaction without ranges is linearizable.
bool IsSerializable(const TxnRequest& request) {
  const auto serializable = [](const RequestOp& op) { return op.request_range().serializable(); };
  return request.success_size() + request.failure_size() > 0 &&
         std::all_of(request.success().begin(), request.success().end(), serializable) &&
         std::all_of(request.failure().begin(), request.failure().end(), serializable);
}

void Txn(const Edge* edge, Unary<TxnRequest, TxnResponse> call) {
  const TxnRequest& request = call.request();
  if (mvcc::IsReadOnly(request)) return Read(edge, IsSerializable(request), call);
  proto::Command command;
  command.mutable_txn()->Swap(call.mutable_request());
  Write(edge, call, &command, &proto::CommandResponse::mutable_txn);
}

// The entry in the log moves the compacted revision. A `physical` compaction is answered when this
// member has also removed what became obsolete, or at the client's deadline.
void Compact(const Edge* edge, Unary<CompactionRequest, CompactionResponse> call) {
  std::shared_ptr<const int> waiter;
  if (call.request().physical()) {
    // Check this before proposing: an error after the proposal would hide from the client that the
    // compaction happened.
    waiter = edge->compaction_waiters;
    if (waiter.use_count() > kCompactionWaitersMax + 1) return call.Finish(TooManyRequests());
  }
  proto::Command command;
  command.mutable_compaction()->Swap(call.mutable_request());
  Write(edge, call, &command, &proto::CommandResponse::mutable_compaction, std::move(waiter));
}

}  // namespace

void AddKv(const Edge* edge, Methods* methods) {
  // As in etcd, a learner serves a serializable Range, but no transaction.
  Add<RangeRequest, RangeResponse>(edge, methods,
                                   {.name = "/etcdserverpb.KV/Range",
                                    .permission = Permission::kRead,
                                    .needs =
                                        [](const RangeRequest& request) {
                                          return request.serializable() ? Permission::kReadSelf
                                                                        : Permission::kRead;
                                        },
                                    .check = Check,
                                    .handler = Range});
  Add<PutRequest, PutResponse>(edge, methods,
                               {.name = "/etcdserverpb.KV/Put",
                                .permission = Permission::kWrite,
                                .check = Check,
                                .handler = Put});
  Add<DeleteRangeRequest, DeleteRangeResponse>(edge, methods,
                                               {.name = "/etcdserverpb.KV/DeleteRange",
                                                .permission = Permission::kWrite,
                                                .check = Check,
                                                .handler = DeleteRange});
  Add<TxnRequest, TxnResponse>(edge, methods,
                               {.name = "/etcdserverpb.KV/Txn",
                                .permission = Permission::kWrite,
                                .check = CheckTxn,
                                .handler = Txn});
  Add<CompactionRequest, CompactionResponse>(
      edge, methods,
      {.name = "/etcdserverpb.KV/Compact", .permission = Permission::kWrite, .handler = Compact});
}

}  // namespace raftkv::api
