// The methods of Peers about the connections that we make.

#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "server/peer/cause.h"
#include "server/peer/peers.h"
#include "server/peer/raft_codec.h"

namespace raftkv {

namespace {

// The peer ended the stream because it stops.
bool StopsInOrder(const StreamEnd& end) {
  return end.status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         end.status.error_message() == Peers::kStopping;
}

// Channels with different arguments do not share a connection.
grpc::ChannelArguments ChannelArgs(int keepalive_timeout_ms) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetMaxReceiveMessageSize(kPeerMessageBytesMax);
  args.SetMaxSendMessageSize(kPeerMessageBytesMax);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPeerKeepaliveMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive_timeout_ms);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 250);  // reconnect fast to a restarted peer
  // After a failed attempt to connect, the name is resolved again: the peer may have moved.
  args.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1000);
  return args;
}

// When it is logged that a peer cannot be connected to. Members that start together are not ready
// at once.
constexpr int kFirstReportSeconds = 5;
constexpr int kReportEachSeconds = 60;

}  // namespace

void Peers::Connect(grpc::CompletionQueue* queue) {
  queue_ = queue;
  for (auto& [id, peer] : peers_) ConnectTo(&peer);
}

void Peers::ConnectTo(Peer* peer) {
  if (queue_ == nullptr || peer->address.address.empty()) return;
  MakeChannels(peer);
  MakeAppendOut(peer);
  MakeHeartbeatOut(peer);
  MakeForwardOut(peer);
}

// Makes the channels that do not exist or cannot connect. If gRPC has not found the peer's name, it
// waits longer after each attempt, up to two minutes, and nothing shortens that wait. A new channel
// looks the name up at once.
void Peers::MakeChannels(Peer* peer) {
  const auto make = [peer](int keepalive_timeout_ms, std::shared_ptr<grpc::Channel>* channel,
                           std::unique_ptr<proto::Raft::Stub>* stub) {
    if (*channel != nullptr && (*channel)->GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE)
      return;
    *channel = grpc::CreateCustomChannel(peer->address.address, grpc::InsecureChannelCredentials(),
                                         ChannelArgs(keepalive_timeout_ms));
    *stub = proto::Raft::NewStub(*channel);
    (*channel)->GetState(/*try_to_connect=*/true);
  };
  make(kPeerKeepaliveTimeoutMs, &peer->channel, &peer->stub);
  make(kPeerBulkKeepaliveTimeoutMs, &peer->bulk_channel, &peer->bulk_stub);
}

// The peer may have received what was forwarded and not answered.
void Peers::Disconnect(Peer* peer) {
  if (peer->append_out) peer->append_out->Cancel();
  if (peer->heartbeat_out) peer->heartbeat_out->Cancel();
  if (peer->forward_out) peer->forward_out->Cancel();
  peer->append_out.reset();
  peer->heartbeat_out.reset();
  peer->forward_out.reset();
  peer->stub.reset();
  peer->bulk_stub.reset();
  peer->channel.reset();
  peer->bulk_channel.reset();
  peer->connected = false;
  peer->seconds_failing = 0;
  peer->last_failure.clear();
  peer->address.address.clear();
  post_(AppendLost{peer->address.id});
  post_(ForwardLost{peer->address.id, {}});
}

void Peers::EverySecond() {
  for (auto& [id, peer] : peers_) {
    if (peer.seconds_left > 0 && --peer.seconds_left == 0 && !closing()) Disconnect(&peer);
    if (peer.channel != nullptr && !closing()) {
      ReportFailure(&peer);
      MakeChannels(&peer);
    }
    EndLateSnapshots(&peer);
  }
}

// A channel that lost its connection and has no calls is idle: it does not connect before the next
// call. Its state then does not show whether the peer can be reached.
void Peers::ReportFailure(Peer* peer) {
  const grpc_connectivity_state state = peer->channel->GetState(false);
  if (state == GRPC_CHANNEL_READY) {
    peer->seconds_failing = 0;
    peer->last_failure.clear();
  }
  if (state != GRPC_CHANNEL_TRANSIENT_FAILURE && state != GRPC_CHANNEL_CONNECTING) return;
  const int seconds = ++peer->seconds_failing - kFirstReportSeconds;
  // Only a failed call shows the cause, and followers send nothing to each other. So send a Hello.
  if (seconds == -1 && peer->last_failure.empty()) SendBody(peer, Hello{});
  if (seconds < 0 || seconds % kReportEachSeconds != 0 || peer->seconds_left > 0) return;
  LOG(WARNING) << "cannot connect to " << peer->address.name << " at " << peer->address.address
               << (peer->last_failure.empty() ? "" : ": ") << peer->last_failure
               << "; trying again each second";
}

void Peers::OnConnected(Peer* peer) {
  if (std::exchange(peer->connected, true)) return;
  LOG(INFO) << "connected to " << peer->address.name << " at " << peer->address.address;
  peer->rejections.clear();
}

void Peers::NoteFailure(Peer* peer, const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return;
  peer->last_failure = WhyNotConnected(status);
}

void Peers::OnAppendsLost(Peer* peer, const StreamEnd& end) {
  if (end.rejected_by_peer()) {
    OnRejectedBy(peer, end.status);
  } else if (!end.rejected_by_us && std::exchange(peer->connected, false)) {
    const bool planned = StopsInOrder(end) || peer->seconds_left > 0;
    LOG_AT_LEVEL(planned ? google::GLOG_INFO : google::GLOG_WARNING)
        << "lost connection to " << peer->address.name << " at " << peer->address.address << ": "
        << WhyLost(end.status);
  }
}

// What the streams of appends and of heartbeats have in common.
Peers::AppendOut::Hooks Peers::AppendHooks(Peer* peer) {
  AppendOut::Hooks hooks;
  hooks.introduction = [this, peer] { return handshake_.Introduction(peer->address.id); };
  hooks.on_open = [this, peer](const proto::Peer& who) {
    return handshake_.CheckAnswer(peer->address.id, who);
  };
  hooks.on_response = [this](const Sender& from, proto::AppendEntriesResponse* response) {
    return PostRaft(from, Decode(*response)).ok();
  };
  return hooks;
}

void Peers::MakeAppendOut(Peer* peer) {
  AppendOut::Hooks hooks = AppendHooks(peer);
  hooks.open = [this, peer](grpc::ClientContext* context) {
    peer->knows_heartbeats = true;  // a newer release may have been started there
    return peer->bulk_stub->PrepareAsyncAppendEntries(context, queue_);
  };
  hooks.on_lost = [this, peer](const std::deque<proto::AppendEntriesRequest>&,
                               const StreamEnd& end) {
    if (closing()) return;
    post_(AppendLost{peer->address.id});
    // Answers return on the stream of heartbeats, so that stream says whether the peer is
    // connected.
    if (end.rejected_by_peer() || !peer->knows_heartbeats) OnAppendsLost(peer, end);
  };
  peer->append_out = std::make_unique<AppendOut>(std::move(hooks), kAppendBound, &live_);
}

void Peers::MakeHeartbeatOut(Peer* peer) {
  AppendOut::Hooks hooks = AppendHooks(peer);
  hooks.open = [this, peer](grpc::ClientContext* context) {
    return peer->stub->PrepareAsyncHeartbeats(context, queue_);
  };
  // An attempt that found no member there may fail after the other stream has connected.
  auto open = std::make_shared<bool>(false);
  hooks.on_open = [this, peer, open, check = std::move(hooks.on_open)](const proto::Peer& who) {
    *open = check(who);
    if (*open) OnConnected(peer);
    return *open;
  };
  hooks.on_lost = [this, peer, open](const std::deque<proto::AppendEntriesRequest>&,
                                     const StreamEnd& end) {
    const bool was_open = std::exchange(*open, false);
    if (closing()) return;
    if (!was_open) NoteFailure(peer, end.status);
    if (end.status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      peer->knows_heartbeats = false;
      OnConnected(peer);  // the peer has answered
    } else if (was_open || end.rejected_by_peer()) {
      OnAppendsLost(peer, end);
    }
  };
  peer->heartbeat_out = std::make_unique<AppendOut>(std::move(hooks), kHeartbeatBound, &live_);
}

void Peers::MakeForwardOut(Peer* peer) {
  ForwardOut::Hooks hooks;
  hooks.open = [this, peer](grpc::ClientContext* context) {
    return peer->bulk_stub->PrepareAsyncForward(context, queue_);
  };
  hooks.introduction = [this, peer] { return handshake_.Introduction(peer->address.id); };
  hooks.on_open = [this, peer](const proto::Peer& who) {
    return handshake_.CheckAnswer(peer->address.id, who);
  };
  hooks.on_response = [this](const Sender& from, proto::ForwardResponse* response) {
    return OnForwardAnswer(from, *response).ok();
  };
  hooks.on_lost = [this, peer](const std::deque<proto::ForwardRequest>& unsent,
                               const StreamEnd& end) {
    if (closing()) return;
    std::vector<uint64_t> numbers;
    for (const proto::ForwardRequest& request : unsent) {
      for (const auto& proposal : request.proposals()) numbers.push_back(proposal.number());
    }
    post_(ForwardLost{peer->address.id, std::move(numbers), StopsInOrder(end)});
    NoteFailure(peer, end.status);
    if (end.rejected_by_peer()) OnRejectedBy(peer, end.status);
  };
  peer->forward_out =
      std::make_unique<ForwardOut>(std::move(hooks), options_.forward_bound, &live_);
}

}  // namespace raftkv
