#include <string>
#include <utility>

#include "client/cluster_impl.h"
#include "client/convert.h"
#include "client/endpoint.h"
#include "client/impl.h"
#include "client/raftkv.h"
#include "client/request.h"

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
  auto impl = std::make_unique<ClusterImpl>(options);
  ClusterImpl& cluster = *impl;
  auto client = std::make_unique<Client>(std::move(impl));
  if (options.exactly_once) cluster.StartSession(client.get());
  return client;
}

std::unique_ptr<Client::Impl> ConnectToMember(const std::string& client_url, Options options) {
  options.endpoints = {ParseEndpoint(client_url).value()};
  options.exactly_once = false;
  return std::make_unique<ClusterImpl>(options);
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() { impl_->End(); }
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
                                                       const WatchOptions& options,
                                                       const CallOptions& call) {
  return impl_->Watch(ToProto(keys, options), call);
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
