// The methods of Peers about the connections that we make.

#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "server/peer/peers.h"
#include "server/peer/raft_codec.h"

namespace raftkv {

namespace {

// The peer ended the stream because it stops.
bool StopsInOrder(const StreamEnd& end) {
  return absl::IsUnavailable(end.status) && end.status.message() == Peers::kStopping;
}

constexpr absl::Duration kEndLateInterval = absl::Milliseconds(10);

// When it is logged that a peer cannot be connected to. Members that start together are not ready
// at once.
constexpr int kFirstReportSeconds = 5;
constexpr int kReportEachSeconds = 60;

}  // namespace

void Peers::Connect(Poller* poller) {
  poller_ = poller;
  for (auto& [id, peer] : peers_) ConnectTo(&peer);
}

void Peers::ConnectTo(Peer* peer) {
  if (poller_ == nullptr || peer->address.address.empty()) return;
  ChannelOptions options = {.address = peer->address.address,
                            .ping_interval = kPeerPingInterval,
                            .ping_answer_max = kPeerPingAnswerMax,
                            .message_bytes_max = kPeerMessageBytesMax};
  peer->channel = std::make_unique<Channel>(options, poller_);
  options.ping_answer_max = kPeerBulkPingAnswerMax;
  peer->bulk_channel = std::make_unique<Channel>(options, poller_);
  peer->channel->Connect();
  peer->bulk_channel->Connect();
  MakeAppendOut(peer);
  MakeHeartbeatOut(peer);
  MakeForwardOut(peer);
}

void Peers::CloseChannels(Peer* peer) {
  peer->append_out.reset();
  peer->heartbeat_out.reset();
  peer->forward_out.reset();
  peer->channel.reset();
  peer->bulk_channel.reset();
}

// The peer may have received what was forwarded and not answered.
void Peers::Disconnect(Peer* peer) {
  CloseChannels(peer);
  peer->connected = false;
  peer->seconds_failing = 0;
  peer->address.address.clear();
  post_(AppendLost{peer->address.id});
  post_(ForwardLost{peer->address.id, {}});
}

void Peers::EverySecond() {
  for (auto& [id, peer] : peers_) {
    if (peer.seconds_left > 0 && --peer.seconds_left == 0 && !closing()) Disconnect(&peer);
    if (peer.channel != nullptr && !closing()) {
      ReportFailure(&peer);
    }
    EndLateSnapshots(&peer);
  }
}

void Peers::EndLate(MonotonicTime now) {
  if (now < next_end_late_) return;
  next_end_late_ = now + kEndLateInterval;
  for (auto& [id, peer] : peers_) {
    if (peer.channel == nullptr) continue;
    peer.channel->EndLate(now);
    peer.bulk_channel->EndLate(now);
  }
}

void Peers::ReportFailure(Peer* peer) {
  if (!peer->channel->failing()) {
    peer->seconds_failing = 0;
    return;
  }
  const int seconds = ++peer->seconds_failing - kFirstReportSeconds;
  if (seconds < 0 || seconds % kReportEachSeconds != 0 || peer->seconds_left > 0) return;
  const std::string& why = peer->channel->failure();
  LOG(WARNING) << "cannot connect to " << peer->address.name << " at " << peer->address.address
               << (why.empty() ? "" : ": ") << why << "; trying again";
}

void Peers::OnConnected(Peer* peer) {
  if (std::exchange(peer->connected, true)) return;
  LOG(INFO) << "connected to " << peer->address.name << " at " << peer->address.address;
  peer->rejections.clear();
}

void Peers::OnAppendsLost(Peer* peer, const StreamEnd& end) {
  if (end.rejected_by_peer()) {
    OnRejectedBy(peer, end.status);
  } else if (!end.rejected_by_us && std::exchange(peer->connected, false)) {
    const bool planned = StopsInOrder(end) || peer->seconds_left > 0;
    LOG_AT_LEVEL(planned ? google::GLOG_INFO : google::GLOG_WARNING)
        << "lost connection to " << peer->address.name << " at " << peer->address.address << ": "
        << end.status.message();
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
  hooks.on_lost = [this, peer](const std::deque<proto::AppendEntriesRequest>&,
                               const StreamEnd& end) {
    if (closing()) return;
    post_(AppendLost{peer->address.id});
    // Answers return on the stream of heartbeats, so that stream says whether the peer is
    // connected.
    if (end.rejected_by_peer() || !peer->knows_heartbeats) OnAppendsLost(peer, end);
    peer->knows_heartbeats = true;  // a newer release may be started there
  };
  peer->append_out = std::make_unique<AppendOut>(
      peer->bulk_channel.get(), "/raftkv.proto.Raft/AppendEntries", std::move(hooks), kAppendBound);
}

void Peers::MakeHeartbeatOut(Peer* peer) {
  AppendOut::Hooks hooks = AppendHooks(peer);
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
    if (absl::IsUnimplemented(end.status)) {
      peer->knows_heartbeats = false;
      OnConnected(peer);  // the peer has answered
    } else if (was_open || end.rejected_by_peer()) {
      OnAppendsLost(peer, end);
    }
  };
  peer->heartbeat_out = std::make_unique<AppendOut>(
      peer->channel.get(), "/raftkv.proto.Raft/Heartbeats", std::move(hooks), kHeartbeatBound);
}

void Peers::MakeForwardOut(Peer* peer) {
  ForwardOut::Hooks hooks;
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
    if (end.rejected_by_peer()) OnRejectedBy(peer, end.status);
  };
  peer->forward_out =
      std::make_unique<ForwardOut>(peer->bulk_channel.get(), "/raftkv.proto.Raft/Forward",
                                   std::move(hooks), options_.forward_bound);
}

}  // namespace raftkv
