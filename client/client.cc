#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/convert.h"
#include "client/endpoint.h"
#include "client/exactly_once.h"
#include "client/failover_call.h"
#include "client/failure.h"
#include "client/raftkv.h"
#include "client/snapshot_call.h"
#include "client/watch_stream.h"
#include "proto/etcd/metadata.h"

namespace raftkv::client {
namespace {

constexpr char kEverything[] = {'\0'};
// The pause before a write of a session is sent to all endpoints again. It doubles.
constexpr absl::Duration kFirstPause = absl::Milliseconds(20);
constexpr absl::Duration kLongestPause = absl::Seconds(1);

std::string Everything() { return std::string(kEverything, 1); }

// Converts a response to the library's struct; passes an error on.
template <typename Response>
auto Result(absl::StatusOr<Response> response)
    -> absl::StatusOr<decltype(FromProto(std::declval<Response>()))> {
  if (!response.ok()) return response.status();
  return FromProto(*std::move(response));
}

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

class Client::Impl {
 public:
  Impl(const Options& options, const std::vector<std::string>& addresses)
      : dial_timeout_(options.dial_timeout), request_timeout_(options.request_timeout) {
    for (const std::string& address : addresses) {
      endpoints_.push_back(std::make_unique<Endpoint>(address));
    }
  }

  // Sends `request` to the method `name`, for example "KV.Range".
  template <typename Response>
  absl::StatusOr<Response> Call(Kind kind, const char* name,
                                const grpc::protobuf::MessageLite& request,
                                absl::Duration limit = absl::InfiniteDuration()) {
    const absl::StatusOr<grpc::ByteBuffer> bytes = Encode(name, request);
    if (!bytes.ok()) return bytes.status();
    FailoverCall call({kind, name, dial_timeout_, std::min(limit, request_timeout_)}, endpoints_,
                      preferred_.load(std::memory_order_relaxed), *bytes);
    absl::StatusOr<grpc::ByteBuffer> answer = call.Run();
    preferred_.store(call.next_first(), std::memory_order_relaxed);
    return Decode<Response>(name, std::move(answer));
  }

  // Sends a write of keys.
  template <typename Response>
  absl::StatusOr<Response> Write(const char* name, const grpc::protobuf::MessageLite& request) {
    if (exactly_once_ == nullptr) return Call<Response>(Kind::kWrite, name, request);
    const absl::StatusOr<grpc::ByteBuffer> bytes = Encode(name, request);
    if (!bytes.ok()) return bytes.status();
    const MonotonicTime deadline = Now() + request_timeout_;
    for (;;) {
      const absl::StatusOr<ExactlyOnce::Write> write = exactly_once_->Begin(deadline);
      if (!write.ok()) return write.status();
      absl::StatusOr<grpc::ByteBuffer> answer = CallInSession(name, *bytes, *write, deadline);
      exactly_once_->End(*write);
      const bool expired = IsSessionExpired(answer.status());
      if (expired) exactly_once_->OnExpired(*write);
      // If the session had ended before the write was sent first, another session can be used.
      if (!expired || OutcomeUnknown(answer.status()) || Now() >= deadline) {
        return Decode<Response>(name, std::move(answer));
      }
    }
  }

  // Makes the writes of `client` exactly once.
  void StartSession(Client* client) { exactly_once_ = std::make_unique<ExactlyOnce>(client); }
  // The session uses the client, so it must end first.
  void EndSession() { exactly_once_ = nullptr; }

  absl::StatusOr<std::unique_ptr<Watcher>> Watch(etcdserverpb::WatchCreateRequest request) {
    auto impl = std::make_unique<Watcher::Impl>(&endpoints_, preferred_.load(), dial_timeout_,
                                                std::move(request));
    if (absl::Status status = impl->Start(Now() + request_timeout_); !status.ok()) {
      return status;
    }
    return std::unique_ptr<Watcher>(new Watcher(std::move(impl)));
  }

  absl::Status Snapshot(const SnapshotSink& sink) {
    return ReadSnapshot(endpoints_, preferred_.load(), dial_timeout_, request_timeout_, sink);
  }

 private:
  static absl::StatusOr<grpc::ByteBuffer> Encode(const char* name,
                                                 const grpc::protobuf::MessageLite& request) {
    grpc::ByteBuffer bytes;
    bool own = false;
    const grpc::Status encoded =
        grpc::SerializationTraits<grpc::protobuf::MessageLite>::Serialize(request, &bytes, &own);
    if (encoded.ok()) return bytes;
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", encoded.error_message()));
  }

  template <typename Response>
  static absl::StatusOr<Response> Decode(const char* name,
                                         absl::StatusOr<grpc::ByteBuffer> answer) {
    if (!answer.ok()) return answer.status();
    Response response;
    if (!grpc::SerializationTraits<Response>::Deserialize(&*answer, &response).ok()) {
      return absl::InternalError(absl::StrCat("cannot decode the response to ", name));
    }
    return response;
  }

  // Sends the write to all endpoints, again and again, until its outcome is known or the deadline
  // has passed.
  absl::StatusOr<grpc::ByteBuffer> CallInSession(const char* name, const grpc::ByteBuffer& bytes,
                                                 const ExactlyOnce::Write& write,
                                                 MonotonicTime deadline) {
    CallOptions options = {Kind::kSessionWrite, name, dial_timeout_, deadline - Now()};
    options.metadata = {{std::string(kSessionKey), absl::StrCat(write.lease)},
                        {std::string(kSeqKey), absl::StrCat(write.seq)},
                        {std::string(kAckedKey), absl::StrCat(write.acked)}};
    for (absl::Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
      FailoverCall call(options, endpoints_, preferred_.load(std::memory_order_relaxed), bytes);
      absl::StatusOr<grpc::ByteBuffer> answer = call.Run();
      preferred_.store(call.next_first(), std::memory_order_relaxed);
      options.maybe_applied = OutcomeUnknown(answer.status());
      const bool may_pass = options.maybe_applied || absl::IsUnavailable(answer.status());
      if (!may_pass || NeverSent(answer.status()) || IsSessionExpired(answer.status())) {
        return answer;
      }
      if (Now() + pause >= deadline) return answer;
      absl::SleepFor(pause);
      options.request_timeout = deadline - Now();
    }
  }

  const absl::Duration dial_timeout_;
  const absl::Duration request_timeout_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::unique_ptr<ExactlyOnce> exactly_once_;  // null: writes are sent without a session
  std::atomic<size_t> preferred_{0};           // the endpoint that the next call tries first
};

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(Options options) {
  if (options.endpoints.empty()) return absl::InvalidArgumentError("no endpoints given");
  if (options.dial_timeout <= absl::ZeroDuration() ||
      options.request_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("timeouts must be positive");
  }
  std::vector<std::string> addresses;
  for (const std::string& endpoint : options.endpoints) {
    absl::StatusOr<std::string> address = ParseEndpoint(endpoint);
    if (!address.ok()) return address.status();
    addresses.push_back(*std::move(address));
  }
  std::unique_ptr<Client> client(new Client(std::make_unique<Impl>(options, addresses)));
  if (options.exactly_once) client->impl_->StartSession(client.get());
  return client;
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() { impl_->EndSession(); }

absl::StatusOr<PutResult> Client::Put(std::string_view key, std::string_view value,
                                      const PutOptions& options) {
  return Result(impl_->Write<etcdserverpb::PutResponse>("KV.Put", ToProto(key, value, options)));
}

absl::StatusOr<std::optional<KeyValue>> Client::Get(std::string_view key,
                                                    const ReadOptions& options) {
  absl::StatusOr<RangeResult> result = Range(std::string(key), options);
  if (!result.ok()) return result.status();
  if (result->kvs.empty()) return std::nullopt;
  return std::move(result->kvs.front());
}

absl::StatusOr<RangeResult> Client::Range(const Keys& keys, const ReadOptions& options) {
  return Result(
      impl_->Call<etcdserverpb::RangeResponse>(Kind::kRead, "KV.Range", ToProto(keys, options)));
}

absl::StatusOr<DeleteResult> Client::Delete(const Keys& keys, const DeleteOptions& options) {
  return Result(
      impl_->Write<etcdserverpb::DeleteRangeResponse>("KV.DeleteRange", ToProto(keys, options)));
}

absl::StatusOr<TxnResult> Client::Txn(const Transaction& transaction) {
  const etcdserverpb::TxnRequest request = ToProto(transaction);
  return Result(OnlyReads(request)
                    ? impl_->Call<etcdserverpb::TxnResponse>(Kind::kRead, "KV.Txn", request)
                    : impl_->Write<etcdserverpb::TxnResponse>("KV.Txn", request));
}

absl::StatusOr<CompactResult> Client::Compact(int64_t revision, bool physical) {
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision);
  request.set_physical(physical);
  const auto response =
      impl_->Call<etcdserverpb::CompactionResponse>(Kind::kWrite, "KV.Compact", request);
  if (!response.ok()) return response.status();
  return CompactResult{.header = FromProto(response->header())};
}

absl::StatusOr<LeaseGrantResult> Client::LeaseGrant(int64_t ttl, int64_t id) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl);
  request.set_id(id);
  return Result(
      impl_->Call<etcdserverpb::LeaseGrantResponse>(Kind::kWrite, "Lease.LeaseGrant", request));
}

absl::StatusOr<LeaseGrantResult> Client::Grant(int64_t ttl, absl::Duration limit) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl);
  return Result(impl_->Call<etcdserverpb::LeaseGrantResponse>(Kind::kRead, "Lease.LeaseGrant",
                                                              request, limit));
}

absl::StatusOr<LeaseRevokeResult> Client::LeaseRevoke(int64_t id) {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(id);
  return Result(
      impl_->Call<etcdserverpb::LeaseRevokeResponse>(Kind::kWrite, "Lease.LeaseRevoke", request));
}

// On the wire, a stream with one request and one response is like a unary call. The request may be
// repeated like a read.
absl::StatusOr<LeaseKeepAliveResult> Client::Renew(int64_t id, absl::Duration limit) {
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(id);
  return Result(impl_->Call<etcdserverpb::LeaseKeepAliveResponse>(
      Kind::kRead, "Lease.LeaseKeepAlive", request, limit));
}

absl::StatusOr<LeaseKeepAliveResult> Client::LeaseKeepAlive(int64_t id) {
  return Renew(id, absl::InfiniteDuration());
}

absl::StatusOr<LeaseTimeToLiveResult> Client::LeaseTimeToLive(int64_t id, bool keys) {
  etcdserverpb::LeaseTimeToLiveRequest request;
  request.set_id(id);
  request.set_keys(keys);
  return Result(impl_->Call<etcdserverpb::LeaseTimeToLiveResponse>(
      Kind::kRead, "Lease.LeaseTimeToLive", request));
}

absl::StatusOr<LeaseListResult> Client::LeaseList() {
  return Result(impl_->Call<etcdserverpb::LeaseLeasesResponse>(Kind::kRead, "Lease.LeaseLeases",
                                                               etcdserverpb::LeaseLeasesRequest()));
}

absl::StatusOr<MemberListResult> Client::MemberList() {
  etcdserverpb::MemberListRequest request;
  request.set_linearizable(true);
  return Result(
      impl_->Call<etcdserverpb::MemberListResponse>(Kind::kRead, "Cluster.MemberList", request));
}

absl::StatusOr<MemberAddResult> Client::MemberAdd(const std::vector<std::string>& peer_urls,
                                                  bool learner) {
  etcdserverpb::MemberAddRequest request;
  for (const std::string& url : peer_urls) request.add_peerurls(url);
  request.set_islearner(learner);
  return Result(
      impl_->Call<etcdserverpb::MemberAddResponse>(Kind::kWrite, "Cluster.MemberAdd", request));
}

absl::StatusOr<MemberListResult> Client::MemberRemove(uint64_t id) {
  etcdserverpb::MemberRemoveRequest request;
  request.set_id(id);
  return Result(impl_->Call<etcdserverpb::MemberRemoveResponse>(Kind::kWrite,
                                                                "Cluster.MemberRemove", request));
}

absl::StatusOr<MemberListResult> Client::MemberUpdate(uint64_t id,
                                                      const std::vector<std::string>& peer_urls) {
  etcdserverpb::MemberUpdateRequest request;
  request.set_id(id);
  for (const std::string& url : peer_urls) request.add_peerurls(url);
  return Result(impl_->Call<etcdserverpb::MemberUpdateResponse>(Kind::kWrite,
                                                                "Cluster.MemberUpdate", request));
}

absl::StatusOr<MemberListResult> Client::MemberPromote(uint64_t id) {
  etcdserverpb::MemberPromoteRequest request;
  request.set_id(id);
  return Result(impl_->Call<etcdserverpb::MemberPromoteResponse>(Kind::kWrite,
                                                                 "Cluster.MemberPromote", request));
}

absl::StatusOr<AlarmResult> Client::AlarmList() {
  return Result(impl_->Call<etcdserverpb::AlarmResponse>(Kind::kRead, "Maintenance.Alarm",
                                                         etcdserverpb::AlarmRequest()));
}

// As in etcd's client library, there is one request for each alarm. To disarm an alarm twice does
// no harm, so the requests may be repeated like reads.
absl::StatusOr<AlarmResult> Client::AlarmDisarm() {
  etcdserverpb::AlarmRequest request;
  absl::StatusOr<etcdserverpb::AlarmResponse> list =
      impl_->Call<etcdserverpb::AlarmResponse>(Kind::kRead, "Maintenance.Alarm", request);
  if (!list.ok()) return list.status();
  etcdserverpb::AlarmResponse disarmed;
  *disarmed.mutable_header() = list->header();
  for (const etcdserverpb::AlarmMember& alarm : list->alarms()) {
    request.set_action(etcdserverpb::AlarmRequest::DEACTIVATE);
    request.set_memberid(alarm.memberid());
    request.set_alarm(alarm.alarm());
    const auto answer =
        impl_->Call<etcdserverpb::AlarmResponse>(Kind::kRead, "Maintenance.Alarm", request);
    if (!answer.ok()) return answer.status();
    disarmed.mutable_alarms()->MergeFrom(answer->alarms());
  }
  return FromProto(std::move(disarmed));
}

absl::StatusOr<StatusResult> Client::Status() {
  return Result(impl_->Call<etcdserverpb::StatusResponse>(Kind::kRead, "Maintenance.Status",
                                                          etcdserverpb::StatusRequest()));
}

absl::StatusOr<uint64_t> Client::ClusterVersion(absl::Duration limit) {
  const auto status = Result(impl_->Call<etcdserverpb::StatusResponse>(
      Kind::kRead, "Maintenance.Status", etcdserverpb::StatusRequest(), limit));
  if (!status.ok()) return status.status();
  return status->cluster_version;
}

absl::StatusOr<HashKvResult> Client::HashKv(int64_t revision) {
  etcdserverpb::HashKVRequest request;
  request.set_revision(revision);
  return Result(
      impl_->Call<etcdserverpb::HashKVResponse>(Kind::kRead, "Maintenance.HashKV", request));
}

absl::StatusOr<std::unique_ptr<Watcher>> Client::Watch(const Keys& keys,
                                                       const WatchOptions& options) {
  return impl_->Watch(ToProto(keys, options));
}

// Like a write, it is not repeated if its outcome is unknown.
absl::Status Client::MoveLeader(uint64_t target) {
  etcdserverpb::MoveLeaderRequest request;
  request.set_targetid(target);
  return impl_
      ->Call<etcdserverpb::MoveLeaderResponse>(Kind::kWrite, "Maintenance.MoveLeader", request)
      .status();
}

absl::Status Client::Snapshot(const SnapshotSink& sink) { return impl_->Snapshot(sink); }

// Repeated like a read: it changes nothing that a client can see.
absl::Status Client::Defragment() {
  return impl_
      ->Call<etcdserverpb::DefragmentResponse>(Kind::kRead, "Maintenance.Defragment",
                                               etcdserverpb::DefragmentRequest())
      .status();
}

}  // namespace raftkv::client
