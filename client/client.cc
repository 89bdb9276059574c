#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/convert.h"
#include "client/endpoint.h"
#include "client/failure.h"
#include "client/raftkv.h"

namespace raftkv::client {
namespace {

constexpr char kEverything[] = {'\0'};
std::string Everything() { return std::string(kEverything, 1); }

// The library's struct, if there is an answer to make it of.
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

  // Sends `request` by `rpc`, which error texts call `name`, under the retry rules. Each endpoint
  // gets one try, the first of them a second one at the end: its first may have met a connection
  // that was just lost.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Kind kind, const char* name,
                                std::unique_ptr<Stub> Connection::*stub,
                                grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&,
                                                          Response*),
                                const Request& request) {
    Response response;
    const absl::Status status =
        Run(kind, name, [&](Connection& connection, grpc::ClientContext* context) {
          return ((*(connection.*stub)).*rpc)(context, request, &response);
        });
    if (!status.ok()) return status;
    return response;
  }

 private:
  using Try = absl::FunctionRef<grpc::Status(Connection&, grpc::ClientContext*)>;

  absl::Status Run(Kind kind, const char* name, Try attempt) {
    const absl::Time begin = absl::Now();
    const absl::Time deadline = begin + request_timeout_;
    const size_t count = endpoints_.size();
    const size_t start = preferred_.load(std::memory_order_relaxed);
    absl::Status said;  // by the last endpoint that said anything
    std::vector<std::string> unreachable;
    std::vector<std::string> silent;
    size_t last_try = start;  // for the time that is left
    for (size_t i = 0; i <= count && absl::Now() < deadline; ++i) {
      const size_t index = i < count ? (start + i) % count : last_try;
      Endpoint& endpoint = *endpoints_[index];
      if (i == count && !unreachable.empty() && unreachable.front() == endpoint.address()) break;
      const absl::Time until = kind == Kind::kWrite ? deadline : DeadlineOfRead(i, deadline);
      const auto connection = endpoint.Connect(std::min(until, absl::Now() + dial_timeout_));
      if (connection == nullptr) {
        unreachable.push_back(endpoint.address());
        continue;
      }
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(until));
      const grpc::Status status = attempt(*connection, &context);
      if (status.ok()) {
        preferred_.store(index, std::memory_order_relaxed);
        return absl::OkStatus();
      }
      const bool is_silent = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
      if (!is_silent) said = ToError(status, endpoint.address(), name);
      if (is_silent && silent.empty()) last_try = index;
      const bool again = !silent.empty() && silent.front() == endpoint.address();
      if (is_silent && !again) silent.push_back(endpoint.address());
      const Verdict verdict = NeverProposed(context) ? Verdict::kTryNext : Judge(kind, status);
      if (verdict == Verdict::kDefinite) return said;
      // This endpoint is in trouble: the next call, at least, begins elsewhere.
      preferred_.store((index + 1) % count, std::memory_order_relaxed);
      if (verdict == Verdict::kUnknown) return UnknownOutcome(is_silent ? NoAnswer(silent) : said);
      // The next may well take as long to refuse a write; cut off, nobody would know its fate.
      const absl::Time now = absl::Now();
      if (kind == Kind::kWrite && deadline - now < now - begin) return said;
    }
    if (!said.ok()) return said;
    return silent.empty() ? Unreachable(absl::StrJoin(unreachable, ", ")) : NoAnswer(silent);
  }

  // A quarter of the time is for the endpoints before the last, in equal parts. The last has nearly
  // all that is left: a server without a leader says so only when its own timeout is over (7 s of
  // the 10 s that the command line waits). What remains is for a second try: with the first
  // that took the call and did not answer in its part, else with the first.
  absl::Time DeadlineOfRead(size_t i, absl::Time deadline) const {
    const size_t last = endpoints_.size() - 1;
    const absl::Time now = absl::Now();
    if (i < last) return now + request_timeout_ / 4 / static_cast<int64_t>(last);
    if (i > last || last == 0) return deadline;
    return now + (deadline - now) * 0.95;
  }

  absl::Status NoAnswer(const std::vector<std::string>& addresses) const {
    return absl::DeadlineExceededError(absl::StrCat("no answer from ",
                                                    absl::StrJoin(addresses, ", "), " within ",
                                                    absl::FormatDuration(request_timeout_)));
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
  return Result(impl_->Call(Kind::kWrite, "KV.Put", &Connection::kv, &etcdserverpb::KV::Stub::Put,
                            ToProto(key, value, options)));
}

absl::StatusOr<std::optional<KeyValue>> Client::Get(std::string_view key,
                                                    const ReadOptions& options) {
  absl::StatusOr<RangeResult> result = Range(std::string(key), options);
  if (!result.ok()) return result.status();
  if (result->kvs.empty()) return std::nullopt;
  return std::move(result->kvs.front());
}

absl::StatusOr<RangeResult> Client::Range(const Keys& keys, const ReadOptions& options) {
  return Result(impl_->Call(Kind::kRead, "KV.Range", &Connection::kv,
                            &etcdserverpb::KV::Stub::Range, ToProto(keys, options)));
}

absl::StatusOr<DeleteResult> Client::Delete(const Keys& keys, const DeleteOptions& options) {
  return Result(impl_->Call(Kind::kWrite, "KV.DeleteRange", &Connection::kv,
                            &etcdserverpb::KV::Stub::DeleteRange, ToProto(keys, options)));
}

absl::StatusOr<TxnResult> Client::Txn(const Transaction& transaction) {
  const etcdserverpb::TxnRequest request = ToProto(transaction);
  return Result(impl_->Call(OnlyReads(request) ? Kind::kRead : Kind::kWrite, "KV.Txn",
                            &Connection::kv, &etcdserverpb::KV::Stub::Txn, request));
}

absl::StatusOr<CompactResult> Client::Compact(int64_t revision, bool physical) {
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision);
  request.set_physical(physical);
  const auto response = impl_->Call(Kind::kWrite, "KV.Compact", &Connection::kv,
                                    &etcdserverpb::KV::Stub::Compact, request);
  if (!response.ok()) return response.status();
  return CompactResult{.header = FromProto(response->header())};
}

absl::StatusOr<MemberListResult> Client::MemberList() {
  etcdserverpb::MemberListRequest request;
  request.set_linearizable(true);
  return Result(impl_->Call(Kind::kRead, "Cluster.MemberList", &Connection::cluster,
                            &etcdserverpb::Cluster::Stub::MemberList, request));
}

absl::StatusOr<StatusResult> Client::Status() {
  return Result(impl_->Call(Kind::kRead, "Maintenance.Status", &Connection::maintenance,
                            &etcdserverpb::Maintenance::Stub::Status,
                            etcdserverpb::StatusRequest()));
}

absl::StatusOr<HashKvResult> Client::HashKv(int64_t revision) {
  etcdserverpb::HashKVRequest request;
  request.set_revision(revision);
  return Result(impl_->Call(Kind::kRead, "Maintenance.HashKV", &Connection::maintenance,
                            &etcdserverpb::Maintenance::Stub::HashKV, request));
}

// Changes nothing that a client can see, so it is repeated as freely as a read.
absl::Status Client::Defragment() {
  return impl_
      ->Call(Kind::kRead, "Maintenance.Defragment", &Connection::maintenance,
             &etcdserverpb::Maintenance::Stub::Defragment, etcdserverpb::DefragmentRequest())
      .status();
}

}  // namespace raftkv::client
