#include "server/peer/peers.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "server/clock.h"
#include "server/peer/member_lists.h"
#include "server/peer/raft_codec.h"

namespace raftkv {

namespace {

// The limit of unanswered unary calls to one peer (votes, Hello, TimeoutNow); further ones are
// dropped.
constexpr int kUnaryOutMax = 8;
// Each chunk of a snapshot is answered before the next one is sent.
constexpr QueueBound kSnapshotBound{.messages = 2, .bytes = 4096};
// Proposals are added to a waiting forward request up to this size.
constexpr size_t kForwardedTogetherBytes = 64 << 10;
// How many streams of each kind may wait for their introduction, on one connection.
constexpr size_t kUnintroducedMax = 4;
// The limit of fields in one request. A proposal or an entry has at most 8 fields, itself included.
constexpr size_t kFieldsMax = 8 * kItemsOfMessageMax;
// The limit of requests of one stream that were read and not handled. It allows four messages of
// entries, so that the next ones are there when the loop has handled one.
constexpr size_t kUnhandledBytesMax = 4 << 20;
// The connections to a removed member are ended one to two seconds after its removal, so that it
// can be told of it.
constexpr int kRemovedSeconds = 2;

std::map<raft::MemberId, Handshake::Member> KnownPeers(const std::vector<PeerAddress>& peers) {
  std::map<raft::MemberId, Handshake::Member> members;
  for (const PeerAddress& peer : peers) members[peer.id] = {peer.name, peer.address};
  return members;
}

}  // namespace

// A unary call that we make. It deletes itself when it has ended.
class Peers::UnaryOut final : public Channel::Call {
 public:
  using Done = std::function<void(const absl::Status&, const std::string& answer)>;
  // It is in `asking` until it has ended.
  UnaryOut(std::set<UnaryOut*>* asking, Done done) : asking_(*asking), done_(std::move(done)) {
    asking_.insert(this);
  }

  void Start(Channel* channel, const char* method, const google::protobuf::Message& request,
             MonotonicTime deadline) {
    channel->Start(this, method, deadline);
    Write(request);
    HalfClose();
  }
  using Channel::Call::Cancel;

 private:
  void OnMessage(const std::string& bytes) override { answer_ = bytes; }
  void OnEnd(const absl::Status& status) override {
    asking_.erase(this);
    done_(status, answer_);
    delete this;
  }

  std::set<UnaryOut*>& asking_;
  const Done done_;
  std::string answer_;
};

Peers::Peers(PeersOptions options, const PhaseValue* phase, std::function<void(Input)> post)
    : options_(std::move(options)),
      phase_(phase),
      post_(std::move(post)),
      handshake_(options_.cluster_id,
                 {.id = options_.self,
                  .store_id = options_.store_id,
                  .newest_version = options_.newest_version,
                  .boot_id = options_.boot_id,
                  .reached = options_.reached},
                 KnownPeers(options_.peers), options_.listed) {
  for (const PeerAddress& address : options_.peers) peers_[address.id].address = address;
}

Peers::~Peers() = default;

// --- the peer port

template <typename Request, typename Response>
UnaryMethod Peers::UnaryRow(const char* name, void (Peers::*handler)(Unary<Request, Response>)) {
  UnaryMethod method;
  method.name = name;
  method.request = &Request::default_instance();
  method.response = &Response::default_instance();
  method.check = [this](const google::protobuf::Message& request) {
    if (closing()) return absl::UnavailableError(kStopping);
    const auto& asked = static_cast<const Request&>(request);
    absl::Status status;
    if constexpr (std::is_same_v<Request, proto::HelloRequest>) {
      status = handshake_.Check(asked);
    } else {
      status = handshake_.Check(asked.peer());
    }
    if (!status.ok()) return status;
    Peer* const peer = FindOrAdd(asked.peer().from());
    if constexpr (std::is_same_v<Request, proto::HelloRequest>) {
      // This member may not know it yet, or not any more.
      if (peer->channel == nullptr && !asked.name().empty()) {
        peer->address.name = NameForLine(asked.name());
      }
    }
    return status;
  };
  method.handler = [this, handler](UnaryCall* call) {
    (this->*handler)(Unary<Request, Response>(call));
  };
  return method;
}

template <typename In, typename Request>
typename In::Hooks Peers::HooksOf(In* Peer::*in,
                                  absl::Status (Peers::*on_request)(const Sender&, Request*)) {
  typename In::Hooks hooks;
  hooks.on_open = [this, in](In* stream, const proto::Peer& who) -> absl::StatusOr<Sender> {
    if (closing()) return absl::UnavailableError(kStopping);
    if (absl::Status status = handshake_.Check(who); !status.ok()) return status;
    Peer* peer = FindOrAdd(who.from());
    if (peer->*in != nullptr) (peer->*in)->Cancel();  // the peer has opened a new one
    peer->*in = stream;
    Sender sender = Handshake::SenderOf(who);
    sender.connection = ++connections_;
    if constexpr (std::is_same_v<In, AppendIn>) peer->newest_append_in = sender.connection;
    return sender;
  };
  hooks.on_request = [this, on_request](const Sender& from, Request* request) {
    return (this->*on_request)(from, request);
  };
  hooks.introduction = [this](raft::MemberId to) { return handshake_.Introduction(to); };
  hooks.on_end = [this, in](In* stream, bool aborted) {
    const Sender& sender = stream->sender();
    Peer* peer = Find(sender.id);
    if (peer == nullptr || peer->*in != stream) return;
    peer->*in = nullptr;
    if constexpr (std::is_same_v<In, AppendIn>) {
      // A process that died has lost both streams. While one is left, the peer is alive.
      if (peer->append_in != nullptr || peer->heartbeat_in != nullptr) return;
      if (aborted && !closing()) post_(PeerLost{sender.id, peer->newest_append_in});
    } else if constexpr (std::is_same_v<In, SnapshotIn>) {
      Discard(std::exchange(peer->incoming, nullptr));
    }
  };
  return hooks;
}

template <typename Request, typename Response>
StreamMethod Peers::StreamRow(const char* name, QueueBound bound,
                              InStream<Request, Response>* Peer::*in,
                              absl::Status (Peers::*on_request)(const Sender&, Request*)) {
  using In = InStream<Request, Response>;
  auto hooks = std::make_shared<const typename In::Hooks>(HooksOf(in, on_request));
  StreamMethod method;
  method.name = name;
  method.request = &Request::default_instance();
  method.first_request = {.wait = options_.introduction_max, .streams = kUnintroducedMax};
  method.request_time_max = absl::InfiniteDuration();  // the link may be slow
  method.unhandled_bytes_max = kUnhandledBytesMax;
  method.open = [hooks, bound](StreamCall* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<In>(hooks.get(), bound, stream);
  };
  return method;
}

Methods Peers::Rows() {
  Methods rows;
  rows.fields_max = kFieldsMax;
  rows.unary.push_back(UnaryRow("/raftkv.proto.Raft/RequestVote", &Peers::OnVote));
  rows.unary.push_back(UnaryRow("/raftkv.proto.Raft/TimeoutNow", &Peers::OnTimeoutNow));
  rows.unary.push_back(UnaryRow("/raftkv.proto.Raft/Hello", &Peers::OnHello));
  rows.streams.push_back(StreamRow("/raftkv.proto.Raft/AppendEntries", kAppendBound,
                                   &Peer::append_in, &Peers::OnAppend));
  rows.streams.push_back(StreamRow("/raftkv.proto.Raft/Heartbeats", kHeartbeatBound,
                                   &Peer::heartbeat_in, &Peers::OnAppend));
  rows.streams.push_back(StreamRow("/raftkv.proto.Raft/Forward", options_.forward_bound,
                                   &Peer::forward_in, &Peers::OnForward));
  rows.streams.push_back(StreamRow("/raftkv.proto.Raft/InstallSnapshot", kSnapshotBound,
                                   &Peer::snapshot_in, &Peers::OnSnapshot));
  return rows;
}

// --- the members

void Peers::SetPeers(const std::vector<PeerAddress>& peers) {
  if (closing()) return;
  std::map<raft::MemberId, PeerAddress> wanted;
  for (const PeerAddress& peer : peers) wanted[peer.id] = peer;
  // Before Connect, the peers are those of the config file. No call refers to one yet, so those
  // that are not members any more can be erased.
  if (poller_ == nullptr) {
    std::erase_if(peers_, [&](auto& peer) { return !wanted.contains(peer.first); });
  }
  for (auto& [id, peer] : peers_) {
    const auto found = wanted.find(id);
    if (peer.channel == nullptr) continue;
    if (found == wanted.end()) {
      if (peer.seconds_left == 0) peer.seconds_left = kRemovedSeconds;
    } else if (found->second.address != peer.address.address) {
      Disconnect(&peer);
    }
  }
  for (const auto& [id, address] : wanted) {
    Peer& peer = peers_[id];
    peer.address = address;
    peer.seconds_left = 0;
    if (peer.channel == nullptr) ConnectTo(&peer);
  }
  handshake_.SetPeers(KnownPeers(peers));
}

template <typename Response, typename Request>
void Peers::Ask(Peer* to, const char* method, Request request,
                std::function<void(const Sender& from, const Response&)> on_answer) {
  if (to->channel == nullptr || to->unary_out >= kUnaryOutMax) return;
  ++to->unary_out;
  *request.mutable_peer() = handshake_.Introduction(to->address.id);
  auto done = [this, to, on_answer = std::move(on_answer)](const absl::Status& status,
                                                           const std::string& answer) {
    --to->unary_out;
    if (closing()) return;
    if (absl::IsFailedPrecondition(status)) OnRejectedBy(to, status);
    Response response;
    if (!status.ok() || !response.ParseFromString(answer)) return;
    if (!handshake_.CheckAnswer(to->address.id, response.peer())) return;
    on_answer(Handshake::SenderOf(response.peer()), response);
  };
  auto* call = new UnaryOut(&asking_, std::move(done));
  call->Start(to->channel.get(), method, request, MonotonicNow() + options_.vote_timeout);
}

void Peers::Stop() {
  CHECK(closing());
  const absl::Status stopped = absl::UnavailableError(kStopping);
  for (auto& [id, peer] : peers_) {
    if (peer.append_out) peer.append_out->Close();
    if (peer.heartbeat_out) peer.heartbeat_out->Close();
    if (peer.forward_out) peer.forward_out->Close();
    for (const auto& [pre_vote, call] : std::exchange(peer.vote_in, {})) call.Finish(stopped);
    if (peer.hello_in) std::exchange(peer.hello_in, {}).Finish(stopped);
  }
  for (UnaryOut* call : asking_) call->Cancel();
  Flush();
}

void Peers::Cancel() {
  for (auto& [id, peer] : peers_) CloseChannels(&peer);
}

int Peers::live() const {
  size_t calls = 0;
  for (const auto& [id, peer] : peers_) {
    if (peer.channel != nullptr) calls += peer.channel->calls() + peer.bulk_channel->calls();
  }
  return static_cast<int>(calls);
}

void Peers::Flush() {
  for (auto& [id, peer] : peers_) {  // heartbeats first
    if (peer.channel == nullptr) continue;
    peer.heartbeat_out->Flush();
    peer.channel->Flush();
  }
  for (auto& [id, peer] : peers_) {
    if (peer.channel == nullptr) continue;
    peer.append_out->Flush();
    peer.forward_out->Flush();
    peer.bulk_channel->Flush();
  }
  options_.send_answers();
}

// --- messages of this member

Peers::Peer* Peers::Find(raft::MemberId id) {
  auto it = peers_.find(id);
  return it == peers_.end() ? nullptr : &it->second;
}

Peers::Peer* Peers::FindOrAdd(raft::MemberId id) {
  const auto [it, added] = peers_.try_emplace(id);
  if (added) {
    const auto known = options_.names.find(id);
    const std::string name =
        known != options_.names.end() ? known->second : absl::StrFormat("member %x", id);
    it->second.address = {.id = id, .name = name, .address = {}};
  }
  return &it->second;
}

void Peers::Send(PeerMessage message) {
  Peer* to = Find(message.to);
  if (to == nullptr || closing()) return;
  handshake_.SetReached(message.from.reached);
  std::visit([&](const auto& body) { SendBody(to, body); }, message.body);
}

void Peers::SendBody(Peer* to, const raft::Message& message) {
  std::visit([&](const auto& body) { SendRaft(to, message, body); }, message.body);
}

// If other proposals still wait to be written, this one is added to their message.
void Peers::SendBody(Peer* to, const ForwardedProposal& proposal) {
  if (to->forward_out == nullptr) return post_(ForwardLost{to->address.id, {proposal.number}});
  proto::ForwardRequest request;
  proto::ForwardRequest* joined =
      to->forward_out->Join(proposal.payload.size() + 16, kForwardedTogetherBytes);
  Encode(proposal, (joined != nullptr ? joined : &request)->add_proposals());
  if (joined != nullptr) return;
  switch (to->forward_out->Send(std::move(request))) {
    case ForwardOut::Sent::kTaken:
      break;
    case ForwardOut::Sent::kNotConnected:
      post_(ForwardLost{to->address.id, {proposal.number}});
      break;
    case ForwardOut::Sent::kFull:
      post_(ForwardQueueFull{to->address.id, proposal.number});
      break;
  }
}

void Peers::SendBody(Peer* to, const ForwardedProposalReply& reply) {
  if (to->forward_in != nullptr) to->forward_in->Send(Encode(reply));
}

void Peers::SendBody(Peer* to, const DigestReport& report) {
  if (to->forward_out != nullptr) to->forward_out->Send(Encode(report));
}

void Peers::SendBody(Peer* to, const Diverged& diverged) {
  if (to->forward_in != nullptr) to->forward_in->Send(Encode(diverged));
}

void Peers::SendBody(Peer* to, const Hello&) {
  Ask<proto::HelloResponse>(to, "/raftkv.proto.Raft/Hello", handshake_.listed(),
                            [this](const Sender& from, const proto::HelloResponse& response) {
                              const absl::StatusOr<HelloReply> reply = Decode(response);
                              if (!reply.ok()) {
                                CountMalformed(from.id, reply.status()).IgnoreError();
                              } else {
                                Post(from, *reply);
                              }
                            });
}

void Peers::SendBody(Peer* to, const HelloReply& reply) {
  if (!to->hello_in) return;
  const HelloCall call = std::exchange(to->hello_in, {});
  *call.response() = Encode(reply);
  *call.response()->mutable_peer() = handshake_.Introduction(to->address.id);
  call.Finish(absl::OkStatus());
}

void Peers::SendRaft(Peer* to, const raft::Message& message, const raft::RequestVote& vote) {
  Ask<proto::RequestVoteResponse>(
      to, "/raftkv.proto.Raft/RequestVote", Encode(message, vote),
      [this](const Sender& from, const proto::RequestVoteResponse& response) {
        PostRaft(from, Decode(response)).IgnoreError();
      });
}

void Peers::SendRaft(Peer* to, const raft::Message& message, const raft::RequestVoteReply& reply) {
  const auto it = to->vote_in.find(reply.pre_vote);
  if (it == to->vote_in.end()) return;
  const VoteCall call = it->second;
  to->vote_in.erase(it);
  *call.response() = Encode(message, reply);
  *call.response()->mutable_peer() = handshake_.Introduction(to->address.id);
  call.Finish(absl::OkStatus());
}

// If the peer has acknowledged the prev of an append without entries, it accepts this append even
// if it overtakes entries that are in flight. With a later prev, the append would be rejected if it
// overtook the entries before it.
void Peers::SendRaft(Peer* to, const raft::Message& message, const raft::AppendEntries& append) {
  if (to->append_out == nullptr) return;
  const bool may_overtake = append.entries.empty() && append.prev.index <= append.acknowledged;
  const bool apart = may_overtake && to->knows_heartbeats;
  (apart ? to->heartbeat_out : to->append_out)->Send(Encode(message, append));
}

void Peers::SendRaft(Peer* to, const raft::Message& message,
                     const raft::AppendEntriesReply& reply) {
  AppendIn* const in = to->heartbeat_in != nullptr ? to->heartbeat_in : to->append_in;
  if (in != nullptr) in->Send(Encode(message, reply));
}

void Peers::SendRaft(Peer* to, const raft::Message& message, const raft::ReadIndexRequest& ask) {
  if (to->forward_out != nullptr) to->forward_out->Send(Encode(message, ask));
}

void Peers::SendRaft(Peer* to, const raft::Message& message, const raft::ReadIndexReply& answer) {
  if (to->forward_in != nullptr) to->forward_in->Send(Encode(message, answer));
}

void Peers::SendRaft(Peer*, const raft::Message&, const raft::InstallSnapshot&) {
  LOG(FATAL) << "the core never sends InstallSnapshot (server/raft/message.h)";
}

void Peers::SendRaft(Peer* to, const raft::Message& message, const raft::TimeoutNow& timeout_now) {
  Ask<proto::TimeoutNowResponse>(to, "/raftkv.proto.Raft/TimeoutNow", Encode(message, timeout_now),
                                 [](const Sender&, const proto::TimeoutNowResponse&) {});
}

// --- messages of peers

void Peers::OnVote(VoteCall call) {
  const Sender from = Handshake::SenderOf(call.request().peer());
  absl::StatusOr<raft::Message> message = Decode(call.request());
  if (!message.ok()) return call.Finish(CountMalformed(from.id, message.status()));
  VoteCall& unanswered = Find(from.id)->vote_in[call.request().pre_vote()];
  if (unanswered) unanswered.Finish(absl::AbortedError("replaced by a newer request"));
  unanswered = call;
  PostRaft(from, std::move(message)).IgnoreError();
}

void Peers::OnHello(HelloCall call) {
  const Sender from = Handshake::SenderOf(call.request().peer());
  HelloCall& unanswered = Find(from.id)->hello_in;
  if (unanswered) unanswered.Finish(absl::AbortedError("replaced by a newer request"));
  unanswered = call;
  Post(from, Hello{});
}

void Peers::OnTimeoutNow(TimeoutNowCall call) {
  const Sender from = Handshake::SenderOf(call.request().peer());
  *call.response()->mutable_peer() = handshake_.Introduction(from.id);
  call.Finish(PostRaft(from, Decode(call.request())));
}

absl::Status Peers::OnAppend(const Sender& from, proto::AppendEntriesRequest* request) {
  absl::StatusOr<raft::Message> message = Decode(request);
  if (message.ok()) message->connection = from.connection;
  return PostRaft(from, std::move(message));
}

absl::Status Peers::OnForward(const Sender& from, proto::ForwardRequest* request) {
  if (request->proposals_size() > kItemsOfMessageMax) {
    return CountMalformed(from.id, absl::InvalidArgumentError("too many proposals"));
  }
  for (auto& in : *request->mutable_proposals()) {
    absl::StatusOr<ForwardedProposal> proposal = Decode(from.id, &in);
    if (proposal.ok()) {
      Post(from, *std::move(proposal));
      continue;
    }
    // A newer member may know commands that this one does not, so the stream goes on.
    CountMalformed(from.id, proposal.status()).IgnoreError();
    SendBody(Find(from.id), ForwardedProposalReply{
                                .number = in.number(), .not_understood = true, .term = in.term()});
  }
  if (request->digests_size() > 0) {
    absl::StatusOr<DigestReport> report = DecodeDigests(*request);
    if (!report.ok()) return CountMalformed(from.id, report.status());
    Post(from, *std::move(report));
  }
  if (!request->has_read_index()) return absl::OkStatus();
  return PostRaft(from, Decode(request->read_index()));
}

absl::Status Peers::OnForwardAnswer(const Sender& from, const proto::ForwardResponse& response) {
  switch (response.response_case()) {
    case proto::ForwardResponse::kDeclined: {
      const absl::StatusOr<ForwardedProposalReply> reply = Decode(response.declined());
      if (!reply.ok()) return CountMalformed(from.id, reply.status());
      Post(from, *reply);
      return absl::OkStatus();
    }
    case proto::ForwardResponse::kDiverged: {
      const absl::StatusOr<Diverged> diverged = Decode(response.diverged());
      if (!diverged.ok()) return CountMalformed(from.id, diverged.status());
      Post(from, *diverged);
      return absl::OkStatus();
    }
    case proto::ForwardResponse::kReadIndex:
      return PostRaft(from, Decode(response.read_index()));
    case proto::ForwardResponse::RESPONSE_NOT_SET:
      break;
  }
  // A newer version may have added this answer, so the stream goes on.
  CountMalformed(from.id, absl::InvalidArgumentError("an answer without content")).IgnoreError();
  return absl::OkStatus();
}

void Peers::Post(const Sender& from, decltype(PeerMessage::body) body) {
  post_(PeerMessage{from, options_.self, std::move(body)});
}

absl::Status Peers::PostRaft(const Sender& from, absl::StatusOr<raft::Message> message) {
  if (!message.ok()) return CountMalformed(from.id, message.status());
  message->from = from.id;
  message->to = options_.self;
  Post(from, *std::move(message));
  return absl::OkStatus();
}

}  // namespace raftkv
