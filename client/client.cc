#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/functional/any_invocable.h"
#include "absl/strings/str_cat.h"
#include "client/async_calls.h"
#include "client/convert.h"
#include "client/endpoint.h"
#include "client/failover_call.h"
#include "client/failure.h"
#include "client/impl.h"
#include "client/raftkv.h"
#include "client/request.h"
#include "client/snapshot_call.h"
#include "client/watch_stream.h"

namespace raftkv::client {
namespace {

constexpr char kEverything[] = {'\0'};
std::string Everything() { return std::string(kEverything, 1); }

}  // namespace

Keys Keys::Range(std::string begin, std::string end) {
  Keys keys(std::move(begin));
  keys.range_end_ = std::move(end);
  return keys;
}

Keys Keys::Prefix(std::string prefix) {
  if (prefix.empty()) return All();
  std::string end = prefix;
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (end.empty()) return From(std::move(prefix));
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return Range(std::move(prefix), std::move(end));
}

Keys Keys::From(std::string key) {
  return Range(key.empty() ? Everything() : std::move(key), Everything());
}

namespace {

// The members of a cluster over the network, with gRPC.
class ClusterImpl final : public Client::Impl {
 public:
  // `options` has addresses as ParseEndpoint returns them.
  explicit ClusterImpl(const Options& options, int answer_bytes_max = INT_MAX) : options_(options) {
    for (const std::string& address : options_.endpoints) {
      endpoints_.push_back(std::make_unique<Endpoint>(address, answer_bytes_max));
    }
  }

  std::unique_ptr<Impl> Limited(size_t answer_bytes) const override {
    return std::make_unique<ClusterImpl>(options_,
                                         static_cast<int>(std::min<size_t>(answer_bytes, INT_MAX)));
  }

  absl::StatusOr<MessagePtr> Call(const AnyRequest& request, const CallOptions& options) override {
    FailoverOptions prepared = Prepare(request, options);
    const absl::StatusOr<grpc::ByteBuffer> bytes = Encode(request, prepared.timeout);
    grpc::CompletionQueue queue;
    FailoverCall call(std::move(prepared), endpoints_, preferred_.load(std::memory_order_relaxed),
                      bytes.ok() ? *bytes : grpc::ByteBuffer(), &queue);
    if (!bytes.ok()) call.Decide(bytes.status());
    call.Run();
    return TakeResult(request, call);
  }

  void Start(std::shared_ptr<const AnyRequest> request, const CallOptions& options,
             MessageCallback done) override {
    absl::call_once(async_once_, [this] { async_ = std::make_unique<AsyncCalls>(); });
    FailoverOptions prepared = Prepare(*request, options);
    absl::StatusOr<grpc::ByteBuffer> bytes = Encode(*request, prepared.timeout);
    async_->Start(std::move(prepared), endpoints_, preferred_.load(std::memory_order_relaxed),
                  std::move(bytes),
                  [this, request = std::move(request), done = std::move(done)](
                      FailoverCall& call) mutable { done(TakeResult(*request, call)); });
  }

  absl::StatusOr<std::unique_ptr<Watcher>> Watch(
      etcdserverpb::WatchCreateRequest request) override {
    auto impl = std::make_unique<Watcher::Impl>(&options_, &endpoints_, preferred_.load(),
                                                std::move(request));
    if (absl::Status status = impl->Start(Now() + options_.request_timeout); !status.ok()) {
      return status;
    }
    return std::make_unique<Watcher>(std::move(impl));
  }

  absl::Status Snapshot(const SnapshotSink& sink) override {
    const MonotonicTime begin = Now();
    std::string endpoint;
    absl::Status status = ReadSnapshot(endpoints_, preferred_.load(), options_.dial_timeout,
                                       options_.request_timeout, sink, &endpoint);
    if (options_.on_call_end != nullptr) {
      options_.on_call_end({.method = "Maintenance.Snapshot",
                            .status = status,
                            .took = Now() - begin,
                            .attempts = endpoint.empty() ? 0 : 1,
                            .endpoint = endpoint});
    }
    return status;
  }

 private:
  FailoverOptions Prepare(const AnyRequest& request, const CallOptions& options) const {
    const absl::Duration timeout = options.deadline == absl::InfiniteFuture()
                                       ? options_.request_timeout
                                       : options.deadline - absl::Now();
    return {.kind = request.kind,
            .name = request.name,
            .dial_timeout = options_.dial_timeout,
            .timeout = timeout,
            .patience = std::min(timeout, options_.request_timeout),
            .cancel = options.cancel};
  }

  static absl::StatusOr<grpc::ByteBuffer> Encode(const AnyRequest& request,
                                                 absl::Duration timeout) {
    if (timeout <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("the deadline had passed before ", request.name, " was sent"));
    }
    grpc::ByteBuffer bytes;
    bool own = false;
    const grpc::Status encoded = grpc::SerializationTraits<google::protobuf::Message>::Serialize(
        *request.message, &bytes, &own);
    if (!encoded.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(request.name, ": ", encoded.error_message()));
    }
    return bytes;
  }

  // Of a call that is decided.
  absl::StatusOr<MessagePtr> TakeResult(const AnyRequest& request, FailoverCall& call) {
    preferred_.store(call.next_first(), std::memory_order_relaxed);
    absl::StatusOr<MessagePtr> result = Decode(request, &call.result());
    if (options_.on_call_end != nullptr) {
      options_.on_call_end({.method = request.name,
                            .status = result.status(),
                            .took = Now() - call.begin(),
                            .attempts = call.attempts(),
                            .endpoint = call.answered()});
    }
    return result;
  }

  static absl::StatusOr<MessagePtr> Decode(const AnyRequest& request,
                                           absl::StatusOr<grpc::ByteBuffer>* bytes) {
    if (!bytes->ok()) return bytes->status();
    MessagePtr response(request.response->New());
    if (!grpc::SerializationTraits<google::protobuf::Message>::Deserialize(&**bytes, response.get())
             .ok()) {
      return absl::InternalError(absl::StrCat("cannot decode the response to ", request.name));
    }
    return response;
  }

  const Options options_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::atomic<size_t> preferred_{0};  // the endpoint that the next call tries first
  absl::once_flag async_once_;
  std::unique_ptr<AsyncCalls> async_;  // last: it uses the other members
};

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(Options options) {
  if (options.endpoints.empty()) return absl::InvalidArgumentError("no endpoints given");
  if (options.dial_timeout <= absl::ZeroDuration() ||
      options.request_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("timeouts must be positive");
  }
  for (std::string& endpoint : options.endpoints) {
    absl::StatusOr<std::string> address = ParseEndpoint(endpoint);
    if (!address.ok()) return address.status();
    endpoint = *std::move(address);
  }
  return std::make_unique<Client>(std::make_unique<ClusterImpl>(options));
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;
std::unique_ptr<Client> Client::Limited(size_t answer_bytes) const {
  return std::make_unique<Client>(impl_->Limited(answer_bytes));
}

template <typename Result>
absl::StatusOr<Result> Client::Call(const Request<Result>& request, const CallOptions& options) {
  auto response = impl_->Call(request.rep()->any, options);
  if (!response.ok()) return response.status();
  return request.rep()->result(std::move(**response));
}

template <typename Result>
void Client::Start(const Request<Result>& request, std::type_identity_t<Callback<Result>> done,
                   const CallOptions& options) {
  impl_->Start({request.rep(), &request.rep()->any}, options,
               [result = request.rep()->result,
                done = std::move(done)](absl::StatusOr<MessagePtr> response) mutable {
                 if (!response.ok()) return done(response.status());
                 done(result(std::move(**response)));
               });
}

absl::StatusOr<PutResult> Client::Put(std::string_view key, std::string_view value,
                                      const PutOptions& options) {
  return Call(PutRequest(key, value, options));
}
absl::StatusOr<std::optional<KeyValue>> Client::Get(std::string_view key,
                                                    const ReadOptions& options) {
  return Call(GetRequest(key, options));
}
absl::StatusOr<RangeResult> Client::Range(const Keys& keys, const ReadOptions& options) {
  return Call(RangeRequest(keys, options));
}
absl::StatusOr<DeleteResult> Client::Delete(const Keys& keys, const DeleteOptions& options) {
  return Call(DeleteRequest(keys, options));
}
absl::StatusOr<TxnResult> Client::Txn(const Transaction& transaction) {
  return Call(TxnRequest(transaction));
}
absl::StatusOr<CompactResult> Client::Compact(int64_t revision, bool physical) {
  return Call(CompactRequest(revision, physical));
}
absl::StatusOr<LeaseGrantResult> Client::LeaseGrant(int64_t ttl, int64_t id) {
  return Call(LeaseGrantRequest(ttl, id));
}
absl::StatusOr<LeaseRevokeResult> Client::LeaseRevoke(int64_t id) {
  return Call(LeaseRevokeRequest(id));
}
absl::StatusOr<LeaseKeepAliveResult> Client::LeaseKeepAlive(int64_t id) {
  return Call(LeaseKeepAliveRequest(id));
}
absl::StatusOr<LeaseTimeToLiveResult> Client::LeaseTimeToLive(int64_t id, bool keys) {
  return Call(LeaseTimeToLiveRequest(id, keys));
}
absl::StatusOr<LeaseListResult> Client::LeaseList() { return Call(LeaseListRequest()); }
absl::StatusOr<MemberListResult> Client::MemberList() { return Call(MemberListRequest()); }
absl::StatusOr<MemberAddResult> Client::MemberAdd(const std::vector<std::string>& peer_urls,
                                                  bool learner) {
  return Call(MemberAddRequest(peer_urls, learner));
}
absl::StatusOr<MemberListResult> Client::MemberRemove(uint64_t id) {
  return Call(MemberRemoveRequest(id));
}
absl::StatusOr<MemberListResult> Client::MemberUpdate(uint64_t id,
                                                      const std::vector<std::string>& peer_urls) {
  return Call(MemberUpdateRequest(id, peer_urls));
}
absl::StatusOr<MemberListResult> Client::MemberPromote(uint64_t id) {
  return Call(MemberPromoteRequest(id));
}
absl::StatusOr<AlarmResult> Client::AlarmList() { return Call(AlarmListRequest()); }

// As in etcd's client library, there is one request for each alarm.
absl::StatusOr<AlarmResult> Client::AlarmDisarm() {
  const auto list = AlarmList();
  if (!list.ok()) return list.status();
  AlarmResult disarmed{.header = list->header, .alarms = {}};
  for (const Alarm& alarm : list->alarms) {
    auto answer = Call(AlarmDisarmRequest(alarm));
    if (!answer.ok()) return answer.status();
    for (Alarm& one : answer->alarms) disarmed.alarms.push_back(std::move(one));
  }
  return disarmed;
}

absl::StatusOr<StatusResult> Client::Status() { return Call(StatusRequest()); }
absl::StatusOr<HashKvResult> Client::HashKv(int64_t revision) {
  return Call(HashKvRequest(revision));
}
absl::Status Client::MoveLeader(uint64_t target) {
  return Call(MoveLeaderRequest(target)).status();
}
absl::Status Client::Defragment() { return Call(DefragmentRequest()).status(); }

absl::StatusOr<std::unique_ptr<Watcher>> Client::Watch(const Keys& keys,
                                                       const WatchOptions& options) {
  return impl_->Watch(ToProto(keys, options));
}
absl::Status Client::Snapshot(const SnapshotSink& sink) { return impl_->Snapshot(sink); }

// The results of all requests.
#define RAFTKV_INSTANTIATE(Result)                                                          \
  template absl::StatusOr<Result> Client::Call(const Request<Result>&, const CallOptions&); \
  template void Client::Start(const Request<Result>&, Callback<Result>, const CallOptions&);
RAFTKV_INSTANTIATE(PutResult)
RAFTKV_INSTANTIATE(std::optional<KeyValue>)
RAFTKV_INSTANTIATE(RangeResult)
RAFTKV_INSTANTIATE(DeleteResult)
RAFTKV_INSTANTIATE(TxnResult)
RAFTKV_INSTANTIATE(CompactResult)
RAFTKV_INSTANTIATE(LeaseGrantResult)
RAFTKV_INSTANTIATE(LeaseRevokeResult)
RAFTKV_INSTANTIATE(LeaseKeepAliveResult)
RAFTKV_INSTANTIATE(LeaseTimeToLiveResult)
RAFTKV_INSTANTIATE(LeaseListResult)
RAFTKV_INSTANTIATE(MemberListResult)
RAFTKV_INSTANTIATE(MemberAddResult)
RAFTKV_INSTANTIATE(AlarmResult)
RAFTKV_INSTANTIATE(StatusResult)
RAFTKV_INSTANTIATE(HashKvResult)
RAFTKV_INSTANTIATE(MoveLeaderResult)
RAFTKV_INSTANTIATE(DefragmentResult)
#undef RAFTKV_INSTANTIATE

}  // namespace raftkv::client
