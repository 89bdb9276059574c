// The requests of raftkv/request.h.
#include "client/request.h"

#include <type_traits>
#include <utility>

#include "client/convert.h"

namespace raftkv::client {
namespace {

template <typename Response, typename Result>
Request<Result> Make(Kind kind, const char* name, Result (*result)(google::protobuf::Message&&),
                     std::unique_ptr<const google::protobuf::Message> message,
                     bool of_keys = false) {
  using Rep = typename Request<Result>::Rep;
  return Request<Result>(std::make_shared<const Rep>(
      Rep{{kind, name, std::move(message), &Response::default_instance(), of_keys}, result}));
}

// The result is what FromProto makes of the response.
template <typename Response, typename Message>
auto Make(Kind kind, const char* name, Message message, bool of_keys = false) {
  using Result = decltype(FromProto(std::declval<Response>()));
  return Make<Response, Result>(
      kind, name,
      [](google::protobuf::Message&& response) {
        return FromProto(static_cast<Response&&>(response));
      },
      std::make_unique<Message>(std::move(message)), of_keys);
}

}  // namespace

Request<PutResult> PutRequest(std::string_view key, std::string_view value,
                              const PutOptions& options) {
  return Make<etcdserverpb::PutResponse>(Kind::kWrite, "KV.Put", ToProto(key, value, options),
                                         /*of_keys=*/true);
}

Request<std::optional<KeyValue>> GetRequest(std::string_view key, const ReadOptions& options) {
  using Response = etcdserverpb::RangeResponse;
  return Make<Response, std::optional<KeyValue>>(
      Kind::kRead, "KV.Range",
      [](google::protobuf::Message&& response) -> std::optional<KeyValue> {
        RangeResult range = FromProto(static_cast<Response&&>(response));
        if (range.kvs.empty()) return std::nullopt;
        return std::move(range.kvs.front());
      },
      std::make_unique<etcdserverpb::RangeRequest>(ToProto(Keys(std::string(key)), options)));
}

Request<RangeResult> RangeRequest(const Keys& keys, const ReadOptions& options) {
  return Make<etcdserverpb::RangeResponse>(Kind::kRead, "KV.Range", ToProto(keys, options));
}

Request<DeleteResult> DeleteRequest(const Keys& keys, const DeleteOptions& options) {
  return Make<etcdserverpb::DeleteRangeResponse>(Kind::kWrite, "KV.DeleteRange",
                                                 ToProto(keys, options), /*of_keys=*/true);
}

Request<TxnResult> TxnRequest(const Transaction& transaction) {
  etcdserverpb::TxnRequest request = ToProto(transaction);
  const Kind kind = OnlyReads(request) ? Kind::kRead : Kind::kWrite;
  return Make<etcdserverpb::TxnResponse>(kind, "KV.Txn", std::move(request),
                                         /*of_keys=*/kind == Kind::kWrite);
}

Request<CompactResult> CompactRequest(int64_t revision, bool physical) {
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision);
  request.set_physical(physical);
  return Make<etcdserverpb::CompactionResponse>(Kind::kWrite, "KV.Compact", std::move(request));
}

Request<LeaseGrantResult> LeaseGrantRequest(int64_t ttl, int64_t id) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl);
  request.set_id(id);
  return Make<etcdserverpb::LeaseGrantResponse>(Kind::kWrite, "Lease.LeaseGrant",
                                                std::move(request));
}

Request<LeaseGrantResult> AnyLeaseGrantRequest(int64_t ttl) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl);
  return Make<etcdserverpb::LeaseGrantResponse>(Kind::kRead, "Lease.LeaseGrant",
                                                std::move(request));
}

Request<LeaseRevokeResult> LeaseRevokeRequest(int64_t id) {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(id);
  return Make<etcdserverpb::LeaseRevokeResponse>(Kind::kWrite, "Lease.LeaseRevoke",
                                                 std::move(request));
}

// On the wire, a stream with one request and one response is like a unary call. The request may be
// repeated like a read.
Request<LeaseKeepAliveResult> LeaseKeepAliveRequest(int64_t id) {
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(id);
  return Make<etcdserverpb::LeaseKeepAliveResponse>(Kind::kRead, "Lease.LeaseKeepAlive",
                                                    std::move(request));
}

Request<LeaseTimeToLiveResult> LeaseTimeToLiveRequest(int64_t id, bool keys) {
  etcdserverpb::LeaseTimeToLiveRequest request;
  request.set_id(id);
  request.set_keys(keys);
  return Make<etcdserverpb::LeaseTimeToLiveResponse>(Kind::kRead, "Lease.LeaseTimeToLive",
                                                     std::move(request));
}

Request<LeaseListResult> LeaseListRequest() {
  return Make<etcdserverpb::LeaseLeasesResponse>(Kind::kRead, "Lease.LeaseLeases",
                                                 etcdserverpb::LeaseLeasesRequest());
}

Request<MemberListResult> MemberListRequest() {
  etcdserverpb::MemberListRequest request;
  request.set_linearizable(true);
  return Make<etcdserverpb::MemberListResponse>(Kind::kRead, "Cluster.MemberList",
                                                std::move(request));
}

Request<MemberAddResult> MemberAddRequest(const std::vector<std::string>& peer_urls, bool learner) {
  etcdserverpb::MemberAddRequest request;
  for (const std::string& url : peer_urls) request.add_peerurls(url);
  request.set_islearner(learner);
  return Make<etcdserverpb::MemberAddResponse>(Kind::kWrite, "Cluster.MemberAdd",
                                               std::move(request));
}

Request<MemberListResult> MemberRemoveRequest(uint64_t id) {
  etcdserverpb::MemberRemoveRequest request;
  request.set_id(id);
  return Make<etcdserverpb::MemberRemoveResponse>(Kind::kWrite, "Cluster.MemberRemove",
                                                  std::move(request));
}

Request<MemberListResult> MemberUpdateRequest(uint64_t id,
                                              const std::vector<std::string>& peer_urls) {
  etcdserverpb::MemberUpdateRequest request;
  request.set_id(id);
  for (const std::string& url : peer_urls) request.add_peerurls(url);
  return Make<etcdserverpb::MemberUpdateResponse>(Kind::kWrite, "Cluster.MemberUpdate",
                                                  std::move(request));
}

Request<MemberListResult> MemberPromoteRequest(uint64_t id) {
  etcdserverpb::MemberPromoteRequest request;
  request.set_id(id);
  return Make<etcdserverpb::MemberPromoteResponse>(Kind::kWrite, "Cluster.MemberPromote",
                                                   std::move(request));
}

Request<AlarmResult> AlarmListRequest() {
  return Make<etcdserverpb::AlarmResponse>(Kind::kRead, "Maintenance.Alarm",
                                           etcdserverpb::AlarmRequest());
}

// To disarm an alarm twice does no harm, so the request may be repeated like a read.
Request<AlarmResult> AlarmDisarmRequest(const Alarm& alarm) {
  etcdserverpb::AlarmRequest request;
  request.set_action(etcdserverpb::AlarmRequest::DEACTIVATE);
  request.set_memberid(alarm.member);
  etcdserverpb::AlarmType type = etcdserverpb::NONE;  // an alarm of another type is not disarmed
  etcdserverpb::AlarmType_Parse(alarm.type, &type);
  request.set_alarm(type);
  return Make<etcdserverpb::AlarmResponse>(Kind::kRead, "Maintenance.Alarm", std::move(request));
}

Request<StatusResult> StatusRequest() {
  return Make<etcdserverpb::StatusResponse>(Kind::kRead, "Maintenance.Status",
                                            etcdserverpb::StatusRequest());
}

Request<HashKvResult> HashKvRequest(int64_t revision) {
  etcdserverpb::HashKVRequest request;
  request.set_revision(revision);
  return Make<etcdserverpb::HashKVResponse>(Kind::kRead, "Maintenance.HashKV", std::move(request));
}

// Like a write, it is not repeated if its outcome is unknown.
Request<MoveLeaderResult> MoveLeaderRequest(uint64_t target) {
  etcdserverpb::MoveLeaderRequest request;
  request.set_targetid(target);
  return Make<etcdserverpb::MoveLeaderResponse>(Kind::kWrite, "Maintenance.MoveLeader",
                                                std::move(request));
}

// Repeated like a read: it changes nothing that a client can see.
Request<DefragmentResult> DefragmentRequest() {
  return Make<etcdserverpb::DefragmentResponse>(Kind::kRead, "Maintenance.Defragment",
                                                etcdserverpb::DefragmentRequest());
}

}  // namespace raftkv::client
