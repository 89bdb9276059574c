#include "client/endpoint.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

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
      kv(etcdserverpb::KV::NewStub(channel)),
      cluster(etcdserverpb::Cluster::NewStub(channel)),
      maintenance(etcdserverpb::Maintenance::NewStub(channel)) {}

std::shared_ptr<Connection> Endpoint::Connect(absl::Time deadline) {
  const absl::Duration idle = Touch();
  // The second round replaces a connection found broken.
  for (int round = 0; round < 2; ++round) {
    const std::shared_ptr<Connection> connection = Current();
    grpc::Channel& channel = *connection->channel;
    grpc_connectivity_state state = channel.GetState(/*try_to_connect=*/true);
    const bool was_up = state == GRPC_CHANNEL_READY;
    while (state == GRPC_CHANNEL_IDLE || state == GRPC_CHANNEL_CONNECTING) {
      if (!channel.WaitForStateChange(state, absl::ToChronoTime(deadline))) break;
      state = channel.GetState(true);
    }
    if (state == GRPC_CHANNEL_READY) {
      if (!was_up || idle < kTrustedFor) return connection;
      if (!channel.WaitForStateChange(state, absl::ToChronoTime(absl::Now() + kLook))) {
        return connection;
      }
    }
    Drop(connection);
    if (!was_up) return nullptr;
  }
  return nullptr;
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
