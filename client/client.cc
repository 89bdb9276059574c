#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/endpoint.h"
#include "client/failure.h"
#include "client/raftkv.h"

namespace raftkv::client {
namespace {

Header FromProto(const etcdserverpb::ResponseHeader& header) {
  return {.cluster_id = header.cluster_id(),
          .member_id = header.member_id(),
          .revision = header.revision(),
          .raft_term = header.raft_term()};
}

KeyValue FromProto(mvccpb::KeyValue&& kv) {
  return {.key = std::move(*kv.mutable_key()),
          .value = std::move(*kv.mutable_value()),
          .create_revision = kv.create_revision(),
          .mod_revision = kv.mod_revision(),
          .version = kv.version(),
          .lease = kv.lease()};
}

std::vector<KeyValue> FromProto(google::protobuf::RepeatedPtrField<mvccpb::KeyValue>* kvs) {
  std::vector<KeyValue> result;
  result.reserve(kvs->size());
  for (auto& kv : *kvs) result.push_back(FromProto(std::move(kv)));
  return result;
}

std::vector<std::string> FromProto(const google::protobuf::RepeatedPtrField<std::string>& list) {
  return {list.begin(), list.end()};
}

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

class Client::Impl {
 public:
  Impl(const Options& options, const std::vector<std::string>& addresses)
      : dial_timeout_(options.dial_timeout), request_timeout_(options.request_timeout) {
    for (const std::string& address : addresses) {
      endpoints_.push_back(std::make_unique<Endpoint>(address));
    }
  }

  // Runs `call(connection, context)` under the retry rules. Each endpoint gets one try, the first
  // of them a second one at the end: its first may have met a connection that was just lost.
  template <typename Call>
  absl::Status Run(Kind kind, Call call) {
    const absl::Time deadline = absl::Now() + request_timeout_;
    const size_t count = endpoints_.size();
    const size_t start = preferred_.load(std::memory_order_relaxed);
    absl::Status error;
    std::vector<std::string> unreachable;
    for (size_t i = 0; i <= count && absl::Now() < deadline; ++i) {
      const size_t index = (start + i) % count;
      Endpoint& endpoint = *endpoints_[index];
      if (i == count && !unreachable.empty() && unreachable.front() == endpoint.address()) break;
      const auto connection = endpoint.Connect(std::min(deadline, absl::Now() + dial_timeout_));
      if (connection == nullptr) {
        unreachable.push_back(endpoint.address());
        continue;
      }
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(deadline));
      const grpc::Status status = call(*connection, &context);
      if (status.ok()) {
        preferred_.store(index, std::memory_order_relaxed);
        return absl::OkStatus();
      }
      error = Describe(status, endpoint.address());
      const Verdict verdict = Judge(kind, status);
      if (verdict == Verdict::kDefinite && !absl::IsDeadlineExceeded(error)) return error;
      // This endpoint is in trouble: the next call, at least, begins elsewhere.
      preferred_.store((index + 1) % count, std::memory_order_relaxed);
      if (verdict == Verdict::kUnknown) return UnknownOutcome(error);
      if (verdict == Verdict::kDefinite) return error;
    }
    return error.ok() ? Unreachable(absl::StrJoin(unreachable, ", ")) : error;
  }

 private:
  absl::Status Describe(const grpc::Status& status, const std::string& address) const {
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return absl::DeadlineExceededError(absl::StrCat("no answer from ", address, " within ",
                                                      absl::FormatDuration(request_timeout_)));
    }
    return ToError(status, address);
  }

  const absl::Duration dial_timeout_;
  const absl::Duration request_timeout_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::atomic<size_t> preferred_{0};  // the endpoint to begin with
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
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>(options, addresses)));
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

absl::StatusOr<PutResult> Client::Put(std::string_view key, std::string_view value,
                                      const PutOptions& options) {
  etcdserverpb::PutRequest request;
  request.set_key(key.data(), key.size());
  request.set_value(value.data(), value.size());
  request.set_prev_kv(options.prev_kv);
  etcdserverpb::PutResponse response;
  const absl::Status status =
      impl_->Run(Kind::kWrite, [&](Connection& connection, grpc::ClientContext* context) {
        return connection.kv->Put(context, request, &response);
      });
  if (!status.ok()) return status;
  PutResult result{.header = FromProto(response.header()), .prev_kv = std::nullopt};
  if (response.has_prev_kv()) result.prev_kv = FromProto(std::move(*response.mutable_prev_kv()));
  return result;
}

absl::StatusOr<std::optional<KeyValue>> Client::Get(std::string_view key,
                                                    const ReadOptions& options) {
  absl::StatusOr<RangeResult> result = Range(std::string(key), options);
  if (!result.ok()) return result.status();
  if (result->kvs.empty()) return std::nullopt;
  return std::move(result->kvs.front());
}

absl::StatusOr<RangeResult> Client::Range(const Keys& keys, const ReadOptions& options) {
  etcdserverpb::RangeRequest request;
  request.set_key(keys.key());
  request.set_range_end(keys.range_end());
  request.set_limit(options.limit);
  request.set_revision(options.revision);
  request.set_keys_only(options.keys_only);
  request.set_count_only(options.count_only);
  request.set_serializable(options.serializable);
  etcdserverpb::RangeResponse response;
  const absl::Status status =
      impl_->Run(Kind::kRead, [&](Connection& connection, grpc::ClientContext* context) {
        return connection.kv->Range(context, request, &response);
      });
  if (!status.ok()) return status;
  return RangeResult{.header = FromProto(response.header()),
                     .kvs = FromProto(response.mutable_kvs()),
                     .more = response.more(),
                     .count = response.count()};
}

absl::StatusOr<DeleteResult> Client::Delete(const Keys& keys, const DeleteOptions& options) {
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(keys.key());
  request.set_range_end(keys.range_end());
  request.set_prev_kv(options.prev_kv);
  etcdserverpb::DeleteRangeResponse response;
  const absl::Status status =
      impl_->Run(Kind::kWrite, [&](Connection& connection, grpc::ClientContext* context) {
        return connection.kv->DeleteRange(context, request, &response);
      });
  if (!status.ok()) return status;
  return DeleteResult{.header = FromProto(response.header()),
                      .deleted = response.deleted(),
                      .prev_kvs = FromProto(response.mutable_prev_kvs())};
}

absl::StatusOr<StatusResult> Client::Status() {
  etcdserverpb::StatusResponse response;
  const absl::Status status =
      impl_->Run(Kind::kRead, [&](Connection& connection, grpc::ClientContext* context) {
        return connection.maintenance->Status(context, {}, &response);
      });
  if (!status.ok()) return status;
  return StatusResult{.header = FromProto(response.header()),
                      .version = response.version(),
                      .db_size = response.dbsize(),
                      .db_size_in_use = response.dbsizeinuse(),
                      .leader = response.leader(),
                      .raft_term = response.raftterm(),
                      .raft_index = response.raftindex(),
                      .raft_applied_index = response.raftappliedindex(),
                      .is_learner = response.islearner(),
                      .errors = FromProto(response.errors()),
                      .storage_version = response.storageversion(),
                      .db_size_quota = response.dbsizequota()};
}

absl::StatusOr<MemberListResult> Client::MemberList() {
  etcdserverpb::MemberListRequest request;
  request.set_linearizable(true);
  etcdserverpb::MemberListResponse response;
  const absl::Status status =
      impl_->Run(Kind::kRead, [&](Connection& connection, grpc::ClientContext* context) {
        return connection.cluster->MemberList(context, request, &response);
      });
  if (!status.ok()) return status;
  MemberListResult result{.header = FromProto(response.header()), .members = {}};
  for (const auto& member : response.members()) {
    result.members.push_back({.id = member.id(),
                              .name = member.name(),
                              .peer_urls = FromProto(member.peerurls()),
                              .client_urls = FromProto(member.clienturls()),
                              .is_learner = member.islearner()});
  }
  return result;
}

}  // namespace raftkv::client
