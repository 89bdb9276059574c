#include "client/endpoint.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace raftkv::client {
namespace {

// An idle channel is not polled, so it may be broken and not report it yet. A write that is sent on
// it would end with an unknown outcome. So a channel that has been idle for kVerifyAfterIdle is
// first polled for kVerifyTime.
constexpr absl::Duration kVerifyAfterIdle = absl::Milliseconds(100);
constexpr absl::Duration kVerifyTime = absl::Milliseconds(1);

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, int answer_bytes_max) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(answer_bytes_max);
  args.SetMaxSendMessageSize(INT_MAX);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
              1);  // no backoff inherited from a closed channel
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

bool AllOf(absl::string_view text, bool (*is)(unsigned char)) {
  return std::all_of(text.begin(), text.end(), is);
}

// With or without a zone: fe80::1%eth0.
bool IsIpv6(absl::string_view text) {
  const absl::string_view digits = text.substr(0, text.find('%'));
  return std::count(digits.begin(), digits.end(), ':') >= 2 && AllOf(digits, [](unsigned char c) {
           return absl::ascii_isxdigit(c) || c == ':' || c == '.';
         });
}

// A name, an IPv4 address, or an IPv6 address in brackets.
bool IsHost(absl::string_view text) {
  if (absl::ConsumePrefix(&text, "[")) return absl::ConsumeSuffix(&text, "]") && IsIpv6(text);
  return !text.empty() && AllOf(text, [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
}

}  // namespace

Connection::Connection(std::string host_and_port, int answer_bytes_max)
    : address(std::move(host_and_port)), channel(MakeChannel(address, answer_bytes_max)) {}

ConnectAttempt::ConnectAttempt(Endpoint* endpoint, MonotonicTime deadline)
    : endpoint_(endpoint), deadline_(deadline), connection_(endpoint->Current()) {
  const absl::Duration idle = endpoint->Touch();
  state_ = connection_->channel->GetState(/*try_to_connect=*/true);
  unverified_ = state_ == GRPC_CHANNEL_READY && idle >= kVerifyAfterIdle;
}

ConnectAttempt::~ConnectAttempt() {
  if (state_ != GRPC_CHANNEL_READY) endpoint_->Drop(connection_);
}

ConnectAttempt::State ConnectAttempt::Check() {
  state_ = connection_->channel->GetState(/*try_to_connect=*/true);
  if (unverified_ && state_ != GRPC_CHANNEL_READY) {  // it was broken: connect anew
    unverified_ = false;
    endpoint_->Drop(connection_);
    connection_ = endpoint_->Current();
    state_ = connection_->channel->GetState(/*try_to_connect=*/true);
  }
  switch (state_) {
    case GRPC_CHANNEL_READY:
      return !unverified_ || notified_ ? State::kReady : State::kConnecting;
    case GRPC_CHANNEL_IDLE:
    case GRPC_CHANNEL_CONNECTING:
      return Now() < deadline_ ? State::kConnecting : State::kFailed;
    default:
      return State::kFailed;
  }
}

void ConnectAttempt::NotifyOnChange(grpc::CompletionQueue* queue, void* tag,
                                    absl::Duration longest) {
  notified_ = true;
  const MonotonicTime until = Now() + (unverified_ ? kVerifyTime : longest);
  connection_->channel->NotifyOnStateChange(state_, ForGrpc(std::min(until, deadline_)), queue,
                                            tag);
}

absl::Duration Endpoint::Touch() {
  absl::MutexLock lock(&mutex_);
  const MonotonicTime now = Now();
  return now - std::exchange(last_used_, now);
}

std::shared_ptr<Connection> Endpoint::Current() {
  absl::MutexLock lock(&mutex_);
  if (connection_ == nullptr)
    connection_ = std::make_shared<Connection>(address_, answer_bytes_max_);
  return connection_;
}

void Endpoint::Drop(const std::shared_ptr<Connection>& connection) {
  absl::MutexLock lock(&mutex_);
  if (connection_ == connection) connection_ = nullptr;
}

absl::StatusOr<std::string> ParseEndpoint(absl::string_view text) {
  const auto wrong = [text](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("endpoint \"", text, "\"", why));
  };
  absl::string_view address = text;
  if (absl::StartsWithIgnoreCase(address, "https://")) {
    return wrong(": TLS is not supported, use http://");
  }
  if (absl::StartsWithIgnoreCase(address, "http://")) {
    address.remove_prefix(sizeof("http://") - 1);
  } else if (absl::StrContains(address, "://")) {
    return wrong(": use http:// or nothing before the host");
  }
  absl::ConsumeSuffix(&address, "/");
  if (absl::StrContains(address, "/")) return wrong(" has a path; leave it out");
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) {
    return wrong(" has no port; write host:port, as in 127.0.0.1:2379");
  }
  const absl::string_view host = address.substr(0, colon);
  const absl::string_view port = address.substr(colon + 1);
  if (IsIpv6(host)) return wrong(": write an IPv6 address in brackets, as in [::1]:2379");
  if (!IsHost(host)) {
    return wrong(
        absl::StrCat(": \"", host, "\" is not a host; separate several endpoints by commas"));
  }
  int number = 0;
  if (!AllOf(port, absl::ascii_isdigit) || !absl::SimpleAtoi(port, &number) || number < 1 ||
      number > 65535) {
    return wrong(absl::StrCat(": the port \"", port, "\" is not a number from 1 to 65535"));
  }
  return std::string(address);
}

}  // namespace raftkv::client
