#include "tests/compat/kv_exchange.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::KV;
using etcdserverpb::RequestOp;

auto MethodOf(const etcdserverpb::RangeRequest&) { return &KV::Stub::AsyncRange; }
auto MethodOf(const etcdserverpb::PutRequest&) { return &KV::Stub::AsyncPut; }
auto MethodOf(const etcdserverpb::DeleteRangeRequest&) { return &KV::Stub::AsyncDeleteRange; }
auto MethodOf(const etcdserverpb::TxnRequest&) { return &KV::Stub::AsyncTxn; }
auto MethodOf(const etcdserverpb::CompactionRequest&) { return &KV::Stub::AsyncCompact; }

template <typename T, typename Request>
std::unique_ptr<grpc::ClientAsyncResponseReader<T>> Begin(
    Connection& connection,
    std::unique_ptr<grpc::ClientAsyncResponseReader<T>> (KV::Stub::*method)(grpc::ClientContext*,
                                                                            const Request&,
                                                                            grpc::CompletionQueue*),
    grpc::ClientContext* context, const Request& request, grpc::CompletionQueue* queue) {
  return (connection.kv.get()->*method)(context, request, queue);
}

// Deduces the response type from the return type of a request's method.
template <typename T, typename Request>
T ResponseTo(std::unique_ptr<grpc::ClientAsyncResponseReader<T>> (KV::Stub::*)(
    grpc::ClientContext*, const Request&, grpc::CompletionQueue*));

template <typename Request>
std::pair<Answer, Answer> AskBothTyped(Connection& first, Connection& second,
                                       const Request& request) {
  using Typed = decltype(ResponseTo(MethodOf(request)));
  struct PendingCall {
    std::unique_ptr<grpc::ClientContext> context = MakeContext();
    std::unique_ptr<grpc::ClientAsyncResponseReader<Typed>> reader;
    grpc::Status status;
    Typed response;
  };
  grpc::CompletionQueue queue;
  PendingCall calls[2];
  Connection* const connections[2] = {&first, &second};
  for (int i = 0; i < 2; ++i) {
    PendingCall& call = calls[i];
    call.context->set_wait_for_ready(true);
    call.reader = Begin(*connections[i], MethodOf(request), call.context.get(), request, &queue);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  void* tag = nullptr;
  bool ok = false;
  for (int i = 0; i < 2; ++i) queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) continue;
  return {Answer{calls[0].status, std::move(calls[0].response)},
          Answer{calls[1].status, std::move(calls[1].response)}};
}

}  // namespace

const etcdserverpb::ResponseHeader& Answer::header() const {
  return std::visit(
      [](const auto& typed) -> const etcdserverpb::ResponseHeader& { return typed.header(); },
      response);
}

std::pair<Answer, Answer> AskBoth(Connection& first, Connection& second, const Request& request) {
  return std::visit([&](const auto& typed) { return AskBothTyped(first, second, typed); }, request);
}

std::string Describe(const Request& request) {
  constexpr size_t kLengthMax = 4000;
  return std::visit(
      [](const auto& typed) {
        std::string text = absl::StrCat(typed.GetDescriptor()->name(), " ");
        // Very large values would only fill the screen.
        if (typed.ByteSizeLong() > 64 << 10) {
          return absl::StrCat(text, "of ", typed.ByteSizeLong(), " bytes");
        }
        absl::StrAppend(&text, typed.ShortDebugString());
        if (text.size() > kLengthMax) text = text.substr(0, kLengthMax) + " ...";
        return text;
      },
      request);
}

std::string Describe(Answer answer) {
  if (!answer.ok()) {
    return absl::StrCat("code ", answer.status.error_code(), ": ", answer.status.error_message());
  }
  return std::visit(
      [](auto& typed) {
        typed.mutable_header()->clear_cluster_id();
        typed.mutable_header()->clear_member_id();
        typed.mutable_header()->clear_raft_term();
        return typed.ShortDebugString();
      },
      answer.response);
}

bool IsSerializable(const Request& request) {
  if (const auto* range = std::get_if<etcdserverpb::RangeRequest>(&request)) {
    return range->serializable();
  }
  const auto* txn = std::get_if<etcdserverpb::TxnRequest>(&request);
  if (txn == nullptr) return false;
  const auto serializable = [](const RequestOp& op) {
    return op.has_request_range() && op.request_range().serializable();
  };
  return std::all_of(txn->success().begin(), txn->success().end(), serializable) &&
         std::all_of(txn->failure().begin(), txn->failure().end(), serializable);
}

bool Covers(const std::string& begin, const std::string& range_end, const std::string& key) {
  if (range_end.empty()) return key == begin;
  return key >= begin && (range_end == std::string(1, '\0') || key < range_end);
}

bool Knowledge::HoldsAny(const std::string& key, const std::string& range_end) const {
  return std::any_of(keys_.begin(), keys_.end(),
                     [&](const auto& entry) { return Covers(key, range_end, entry.first); });
}

void Knowledge::Learn(const Request& request, const Answer& answer) {
  if (!answer.ok()) return;
  revision_ = answer.header().revision();
  if (const auto* put = std::get_if<etcdserverpb::PutRequest>(&request)) {
    Learn(*put);
  } else if (const auto* removal = std::get_if<etcdserverpb::DeleteRangeRequest>(&request)) {
    Learn(*removal);
  } else if (const auto* txn = std::get_if<etcdserverpb::TxnRequest>(&request)) {
    Learn(*txn, std::get<etcdserverpb::TxnResponse>(answer.response));
  } else if (const auto* compaction = std::get_if<etcdserverpb::CompactionRequest>(&request)) {
    compacted_ = compaction->revision();
  }
}

void Knowledge::Learn(const etcdserverpb::PutRequest& put) {
  mvccpb::KeyValue& kv = keys_[put.key()];
  kv.set_key(put.key());
  if (!put.ignore_value()) kv.set_value(put.value());
  if (kv.version() == 0) kv.set_create_revision(revision_);
  kv.set_mod_revision(revision_);
  kv.set_version(kv.version() + 1);
}

void Knowledge::Learn(const etcdserverpb::DeleteRangeRequest& removal) {
  for (auto it = keys_.begin(); it != keys_.end();) {
    it = Covers(removal.key(), removal.range_end(), it->first) ? keys_.erase(it) : std::next(it);
  }
}

void Knowledge::Learn(const etcdserverpb::TxnRequest& txn,
                      const etcdserverpb::TxnResponse& response) {
  const auto& ops = response.succeeded() ? txn.success() : txn.failure();
  for (int i = 0; i < ops.size(); ++i) {
    if (ops[i].has_request_put()) Learn(ops[i].request_put());
    if (ops[i].has_request_delete_range()) Learn(ops[i].request_delete_range());
    if (ops[i].has_request_txn()) Learn(ops[i].request_txn(), response.responses(i).response_txn());
  }
}

}  // namespace raftkv::e2e
