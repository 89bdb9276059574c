#include "client/endpoint.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace raftkv::client {
namespace {

// An idle channel is polled by nobody, so it may be broken and not know: without a look, a write
// would be sent into it and its fate be unknown. The look costs kLook, paid after a rest only.
constexpr absl::Duration kTrustedFor = absl::Milliseconds(100);
constexpr absl::Duration kLook = absl::Milliseconds(1);
// A watch cannot be called off, and the call that has been answered waits for its end.
constexpr absl::Duration kWatch = absl::Milliseconds(5);

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(INT_MAX);
  args.SetMaxSendMessageSize(INT_MAX);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // no backoff left by a dropped channel
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

}  // namespace

Connection::Connection(std::string host_and_port)
    : address(std::move(host_and_port)),
      channel(MakeChannel(address)),
      kv(etcdserverpb::KV::NewStub(channel)) {}

Dial::Dial(Endpoint* endpoint, absl::Time deadline)
    : endpoint_(endpoint), deadline_(deadline), connection_(endpoint->Current()) {
  const absl::Duration idle = endpoint->Touch();
  state_ = connection_->channel->GetState(/*try_to_connect=*/true);
  in_doubt_ = state_ == GRPC_CHANNEL_READY && idle >= kTrustedFor;
}

Dial::~Dial() {
  if (state_ != GRPC_CHANNEL_READY) endpoint_->Drop(connection_);
}

Dial::Progress Dial::Look() {
  state_ = connection_->channel->GetState(/*try_to_connect=*/true);
  if (in_doubt_ && state_ != GRPC_CHANNEL_READY) {  // it was broken: another takes its place
    in_doubt_ = false;
    endpoint_->Drop(connection_);
    connection_ = endpoint_->Current();
    state_ = connection_->channel->GetState(/*try_to_connect=*/true);
  }
  switch (state_) {
    case GRPC_CHANNEL_READY:
      return !in_doubt_ || watched_ ? Progress::kUp : Progress::kWaiting;
    case GRPC_CHANNEL_IDLE:
    case GRPC_CHANNEL_CONNECTING:
      return absl::Now() < deadline_ ? Progress::kWaiting : Progress::kFailed;
    default:
      return Progress::kFailed;
  }
}

void Dial::Watch(grpc::CompletionQueue* queue, void* tag) {
  watched_ = true;
  const absl::Time until = absl::Now() + (in_doubt_ ? kLook : kWatch);
  connection_->channel->NotifyOnStateChange(state_, absl::ToChronoTime(std::min(until, deadline_)),
                                            queue, tag);
}

absl::Duration Endpoint::Touch() {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = absl::Now();
  return now - std::exchange(last_used_, now);
}

std::shared_ptr<Connection> Endpoint::Current() {
  absl::MutexLock lock(&mutex_);
  if (connection_ == nullptr) connection_ = std::make_shared<Connection>(address_);
  return connection_;
}

void Endpoint::Drop(const std::shared_ptr<Connection>& connection) {
  absl::MutexLock lock(&mutex_);
  if (connection_ == connection) connection_ = nullptr;
}

absl::StatusOr<std::string> ParseEndpoint(absl::string_view text) {
  absl::string_view address = text;
  if (absl::StartsWith(address, "https://")) {
    return absl::InvalidArgumentError(
        absl::StrCat("endpoint \"", text, "\": TLS is not supported, use http://"));
  }
  absl::ConsumePrefix(&address, "http://");
  absl::ConsumeSuffix(&address, "/");
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535 ||
      address.find('/') != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("endpoint \"", text, "\" is not of the form host:port"));
  }
  return std::string(address);
}

}  // namespace raftkv::client
