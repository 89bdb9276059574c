#include "server/peer/peers.h"

#include <climits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "proto/parse_command.h"
#include "server/peer/raft_codec.h"

namespace raftkv {

namespace {

// Unanswered votes and hellos to one peer; more are dropped.
constexpr int kUnaryOutMax = 8;
// Raft's own window bounds appends; this leaves room for heartbeats beside it.
constexpr QueueBound kAppendBound{.messages = 1024, .bytes = 64 << 20};
// A forwarded request that is larger takes no more proposals in.
constexpr size_t kForwardedTogetherBytes = 64 << 10;

grpc::ChannelArguments ChannelArgs() {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetMaxReceiveMessageSize(INT_MAX);
  args.SetMaxSendMessageSize(INT_MAX);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPeerKeepaliveMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPeerKeepaliveTimeoutMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 250);  // a restarted peer is not kept waiting
  return args;
}

}  // namespace

// A unary call we make; deletes itself.
template <typename Response>
class Peers::UnaryOut final : public Completion {
 public:
  using OnResponse = std::function<void(const grpc::Status&, const Response&)>;
  UnaryOut(absl::Duration timeout, OnResponse on_response) : on_response_(std::move(on_response)) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  }

  void Start(std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader) {
    reader_ = std::move(reader);
    reader_->StartCall();
    reader_->Finish(&response_, &status_, this);
  }

  void OnComplete(bool) override {
    on_response_(status_, response_);
    delete this;
  }

  grpc::ClientContext context;

 private:
  const OnResponse on_response_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader_;
  Response response_;
  grpc::Status status_;
};

Peers::Peers(PeersOptions options, std::function<void(Input)> post)
    : options_(std::move(options)), post_(std::move(post)) {
  for (const PeerAddress& address : options_.peers) peers_[address.id].address = address;
}

Peers::~Peers() = default;

void Peers::Register(MethodTable* methods) {
  methods->Serve<proto::RequestVoteRequest, proto::RequestVoteResponse>(
      "/raftkv.proto.Raft/RequestVote", 8, [this](VoteCall* call) { OnVote(call); });
  methods->Serve<proto::HelloRequest, proto::HelloResponse>(
      "/raftkv.proto.Raft/Hello", 8, [this](HelloCall* call) { OnHello(call); });

  methods->ServeStream("/raftkv.proto.Raft/AppendEntries", [this, methods](int index, Queues q) {
    AppendIn::Accept(methods, index, q,
                     {.on_request = [this](AppendIn* s, proto::AppendEntriesRequest* r,
                                           bool first) { return OnAppend(s, r, first); },
                      .on_end =
                          [this](AppendIn* s) {
                            Peer* peer = Find(s->peer);
                            if (peer != nullptr && peer->append_in == s) peer->append_in = nullptr;
                          }},
                     kAppendBound, &live_);
  });
  methods->ServeStream("/raftkv.proto.Raft/Forward", [this, methods](int index, Queues q) {
    ForwardIn::Accept(methods, index, q,
                      {.on_request = [this](ForwardIn* s, proto::ForwardRequest* r,
                                            bool first) { return OnForward(s, r, first); },
                       .on_end =
                           [this](ForwardIn* s) {
                             Peer* peer = Find(s->peer);
                             if (peer != nullptr && peer->forward_in == s) {
                               peer->forward_in = nullptr;
                             }
                           }},
                      options_.forward_bound, &live_);
  });
}

void Peers::Connect(grpc::CompletionQueue* queue) {
  queue_ = queue;
  for (auto& [id, peer] : peers_) {
    peer.stub = proto::Raft::NewStub(grpc::CreateCustomChannel(
        peer.address.address, grpc::InsecureChannelCredentials(), ChannelArgs()));
    MakeAppendOut(&peer);
    MakeForwardOut(&peer);
  }
}

void Peers::MakeAppendOut(Peer* peer) {
  AppendOut::Hooks hooks;
  hooks.open = [this, peer](grpc::ClientContext* context) {
    return peer->stub->PrepareAsyncAppendEntries(context, queue_);
  };
  hooks.introduce = [this, peer](proto::AppendEntriesRequest* request) {
    *request->mutable_peer() = Introduction(peer->address.id);
  };
  hooks.on_response = [this, peer](proto::AppendEntriesResponse* response, bool first) {
    if (first) {
      if (!CheckAnswer(*peer, response->peer())) return false;
      peer->append_store_id = response->peer().store_id();
      if (!std::exchange(peer->connected, true)) {
        LOG(INFO) << "connected to " << peer->address.name << " at " << peer->address.address;
      }
      peer->last_refusal.clear();
    }
    PostRaft(*peer, peer->append_store_id, Decode(*response));
    return true;
  };
  hooks.on_lost = [this, peer](const std::deque<proto::AppendEntriesRequest>&,
                               const grpc::Status& status) {
    if (stopped_) return;
    post_(AppendLost{peer->address.id});
    if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION) {
      OnRefused(peer, status);
    } else if (std::exchange(peer->connected, false)) {
      LOG(WARNING) << "lost connection to " << peer->address.name << " at " << peer->address.address
                   << ": " << status.error_message();
    }
  };
  peer->append_out = std::make_unique<AppendOut>(std::move(hooks), kAppendBound, &live_);
}

void Peers::MakeForwardOut(Peer* peer) {
  ForwardOut::Hooks hooks;
  hooks.open = [this, peer](grpc::ClientContext* context) {
    return peer->stub->PrepareAsyncForward(context, queue_);
  };
  hooks.introduce = [this, peer](proto::ForwardRequest* request) {
    *request->mutable_peer() = Introduction(peer->address.id);
  };
  hooks.on_response = [this, peer](proto::ForwardResponse* response, bool first) {
    return OnForwardAnswer(peer, response, first);
  };
  hooks.on_lost = [this, peer](const std::deque<proto::ForwardRequest>& unsent,
                               const grpc::Status& status) {
    std::vector<uint64_t> numbers;
    for (const proto::ForwardRequest& request : unsent) {
      for (const auto& proposal : request.proposals()) numbers.push_back(proposal.number());
    }
    if (stopped_) return;
    post_(ForwardLost{peer->address.id, std::move(numbers)});
    if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION) OnRefused(peer, status);
  };
  peer->forward_out =
      std::make_unique<ForwardOut>(std::move(hooks), options_.forward_bound, &live_);
}

void Peers::OnRefused(Peer* peer, const grpc::Status& status) {
  if (peer->last_refusal == status.error_message()) return;
  peer->last_refusal = status.error_message();
  LOG(ERROR) << "refused by " << peer->address.name << " at " << peer->address.address << ": "
             << status.error_message();
}

void Peers::Stop() {
  stopped_ = true;
  for (auto& [id, peer] : peers_) {
    if (peer.append_out) peer.append_out->Stop();
    if (peer.forward_out) peer.forward_out->Stop();
    if (peer.append_in) peer.append_in->Cancel();
    if (peer.forward_in) peer.forward_in->Cancel();
    const grpc::Status stopped(grpc::StatusCode::UNAVAILABLE, "server stopped");
    for (auto& [pre_vote, call] : std::exchange(peer.vote_in, {})) call->Finish(stopped);
    if (peer.hello_in) std::exchange(peer.hello_in, nullptr)->Finish(stopped);
  }
}

// --- who speaks
// -----------------------------------------------------------------------------------

Peers::Peer* Peers::Find(raft::MemberId id) {
  auto it = peers_.find(id);
  return it == peers_.end() ? nullptr : &it->second;
}

proto::Peer Peers::Introduction(raft::MemberId to) const {
  proto::Peer peer;
  peer.set_cluster_id(options_.cluster_id);
  peer.set_from(options_.self);
  peer.set_to(to);
  peer.set_store_id(options_.store_id);
  return peer;
}

void Peers::Count(Refusals::Reason reason, const std::string& what) {
  refusals_.Count(reason, what, absl::Now());
}

void Peers::OnPeerRefused(raft::MemberId peer) {
  Count(Refusals::Reason::kStoreId,
        absl::StrCat(Find(peer) == nullptr ? "a peer" : Find(peer)->address.name,
                     ": it speaks from another data directory than the one this cluster knows, and "
                     "may have forgotten its promises. Bring its old directory back; replacing a "
                     "member comes with changes of membership, which are not served yet"));
}

grpc::Status Peers::Check(const proto::Peer& peer) {
  if (stopped_) return {grpc::StatusCode::UNAVAILABLE, "server stopped"};
  std::string wrong;
  Refusals::Reason reason{};
  if (peer.cluster_id() != options_.cluster_id) {
    reason = Refusals::Reason::kCluster;
    wrong = absl::StrFormat("cluster id is %x here, not %x: another cluster's member",
                            options_.cluster_id, peer.cluster_id());
  } else if (peer.to() != options_.self) {
    reason = Refusals::Reason::kReceiver;
    wrong =
        absl::StrFormat("this is member %x, not %x: check the peer URLs", options_.self, peer.to());
  } else if (Find(peer.from()) == nullptr) {
    reason = Refusals::Reason::kSender;
    wrong = absl::StrFormat("member %x is not known here", peer.from());
  } else if (peer.store_id().size() != 16) {
    reason = Refusals::Reason::kMalformed;
    wrong = "malformed store id";
  }
  if (wrong.empty()) return grpc::Status::OK;
  Count(reason, absl::StrFormat("a peer that calls itself member %x: %s", peer.from(), wrong));
  return {grpc::StatusCode::FAILED_PRECONDITION, wrong};
}

bool Peers::CheckAnswer(const Peer& from, const proto::Peer& peer) {
  if (peer.cluster_id() == options_.cluster_id && peer.from() == from.address.id &&
      peer.to() == options_.self && peer.store_id().size() == 16) {
    return true;
  }
  const bool ours = peer.cluster_id() == options_.cluster_id;
  Count(ours ? Refusals::Reason::kSender : Refusals::Reason::kCluster,
        absl::StrCat("an answer from ", from.address.address, ": it is not ", from.address.name,
                     " of this cluster; check the peer URLs"));
  return false;
}

void Peers::Post(const Peer& from, const std::string& store_id, decltype(PeerMessage::body) body) {
  post_(PeerMessage{from.address.id, options_.self, store_id, std::move(body)});
}

void Peers::PostRaft(const Peer& from, const std::string& store_id,
                     absl::StatusOr<raft::Message> message) {
  if (!message.ok()) {
    Count(Refusals::Reason::kMalformed,
          absl::StrCat("a message from ", from.address.name, ": ", message.status().message(),
                       "; do both run the same version?"));
    return;
  }
  message->from = from.address.id;
  message->to = options_.self;
  Post(from, store_id, *std::move(message));
}

// --- what we send
// ---------------------------------------------------------------------------------

void Peers::Send(PeerMessage message) {
  Peer* to = Find(message.to);
  if (to == nullptr || stopped_) return;
  if (const auto* raft_message = std::get_if<raft::Message>(&message.body)) {
    SendRaft(to, *raft_message);
  } else if (const auto* proposal = std::get_if<ForwardedProposal>(&message.body)) {
    SendProposal(to, *proposal);
  } else if (const auto* reply = std::get_if<ForwardedProposalReply>(&message.body)) {
    if (to->forward_in == nullptr) return;
    proto::ForwardResponse response;
    if (!std::exchange(to->forward_in->answered, true)) {
      *response.mutable_peer() = Introduction(to->address.id);
    }
    response.mutable_refused()->set_number(reply->number);
    response.mutable_refused()->set_too_many_requests(reply->too_many_requests);
    response.mutable_refused()->set_not_understood(reply->not_understood);
    to->forward_in->Send(std::move(response));
  } else if (std::holds_alternative<Hello>(message.body)) {
    SendHello(to);
  } else if (HelloCall* call = std::exchange(to->hello_in, nullptr)) {
    const auto& answer = std::get<HelloReply>(message.body);
    call->response()->set_log_empty(answer.log_empty);
    call->response()->set_store_id_refused(answer.store_id_refused);
    *call->response()->mutable_peer() = Introduction(to->address.id);
    call->Finish(grpc::Status::OK);
  }
}

// Proposals that find others still waiting for the wire share a message with them.
void Peers::SendProposal(Peer* to, const ForwardedProposal& proposal) {
  proto::ForwardRequest request;
  proto::ForwardRequest* joined =
      to->forward_out->Join(proposal.payload.size() + 16, kForwardedTogetherBytes);
  proto::ForwardRequest::Propose* out = (joined != nullptr ? joined : &request)->add_proposals();
  out->set_number(proposal.number);
  out->set_command(proposal.payload.view().data(), proposal.payload.size());
  if (joined != nullptr) return;
  switch (to->forward_out->Send(std::move(request))) {
    case ForwardOut::Sent::kTaken:
      break;
    case ForwardOut::Sent::kNotConnected:
      post_(ForwardLost{to->address.id, {proposal.number}});
      break;
    case ForwardOut::Sent::kFull:
      post_(ForwardRefused{proposal.number});
      break;
  }
}

void Peers::SendRaft(Peer* to, const raft::Message& message) {
  if (const auto* append = std::get_if<raft::AppendEntries>(&message.body)) {
    to->append_out->Send(Encode(message, *append));
  } else if (const auto* reply = std::get_if<raft::AppendEntriesReply>(&message.body)) {
    if (to->append_in == nullptr) return;
    proto::AppendEntriesResponse response = Encode(message, *reply);
    if (!std::exchange(to->append_in->answered, true)) {
      *response.mutable_peer() = Introduction(to->address.id);
    }
    to->append_in->Send(std::move(response));
  } else if (const auto* vote = std::get_if<raft::RequestVote>(&message.body)) {
    SendVote(to, message, *vote);
  } else if (const auto* vote_reply = std::get_if<raft::RequestVoteReply>(&message.body)) {
    AnswerVote(to, message, *vote_reply);
  } else if (const auto* ask = std::get_if<raft::ReadIndexRequest>(&message.body)) {
    proto::ForwardRequest request;
    request.mutable_read_index()->set_id(ask->id);
    request.mutable_read_index()->set_term(message.term);
    to->forward_out->Send(std::move(request));
  } else if (const auto* answer = std::get_if<raft::ReadIndexReply>(&message.body)) {
    if (to->forward_in == nullptr) return;
    proto::ForwardResponse response;
    if (!std::exchange(to->forward_in->answered, true)) {
      *response.mutable_peer() = Introduction(to->address.id);
    }
    response.mutable_read_index()->set_id(answer->id);
    response.mutable_read_index()->set_index(answer->index);
    response.mutable_read_index()->set_term(message.term);
    to->forward_in->Send(std::move(response));
  }
}

void Peers::SendVote(Peer* to, const raft::Message& message, const raft::RequestVote& vote) {
  if (to->unary_out >= kUnaryOutMax) return;
  ++to->unary_out;
  ++live_;
  auto* call = new UnaryOut<proto::RequestVoteResponse>(
      options_.vote_timeout,
      [this, to](const grpc::Status& status, const proto::RequestVoteResponse& response) {
        --to->unary_out;
        --live_;
        if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION) OnRefused(to, status);
        if (stopped_ || !status.ok() || !CheckAnswer(*to, response.peer())) return;
        PostRaft(*to, response.peer().store_id(), Decode(response));
      });
  proto::RequestVoteRequest request = Encode(message, vote);
  *request.mutable_peer() = Introduction(to->address.id);
  call->Start(to->stub->PrepareAsyncRequestVote(&call->context, request, queue_));
}

void Peers::SendHello(Peer* to) {
  if (to->unary_out >= kUnaryOutMax) return;
  ++to->unary_out;
  ++live_;
  auto* call = new UnaryOut<proto::HelloResponse>(
      options_.vote_timeout,
      [this, to](const grpc::Status& status, const proto::HelloResponse& response) {
        --to->unary_out;
        --live_;
        if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION) OnRefused(to, status);
        if (stopped_ || !status.ok() || !CheckAnswer(*to, response.peer())) return;
        Post(*to, response.peer().store_id(),
             HelloReply{.log_empty = response.log_empty(),
                        .store_id_refused = response.store_id_refused()});
      });
  proto::HelloRequest request;
  *request.mutable_peer() = Introduction(to->address.id);
  call->Start(to->stub->PrepareAsyncHello(&call->context, request, queue_));
}

void Peers::AnswerVote(Peer* to, const raft::Message& message,
                       const raft::RequestVoteReply& reply) {
  auto it = to->vote_in.find(reply.pre_vote);
  if (it == to->vote_in.end()) return;
  VoteCall* call = it->second;
  to->vote_in.erase(it);
  *call->response() = Encode(message, reply);
  *call->response()->mutable_peer() = Introduction(to->address.id);
  call->Finish(grpc::Status::OK);
}

// --- what arrives
// ---------------------------------------------------------------------------------

void Peers::OnVote(VoteCall* call) {
  const proto::Peer& who = call->request().peer();
  if (const grpc::Status status = Check(who); !status.ok()) return call->Finish(status);
  Peer* peer = Find(who.from());
  absl::StatusOr<raft::Message> message = Decode(call->request());
  if (!message.ok()) {
    call->Finish({grpc::StatusCode::INVALID_ARGUMENT, std::string(message.status().message())});
    return PostRaft(*peer, who.store_id(), std::move(message));
  }
  VoteCall*& unanswered = peer->vote_in[call->request().pre_vote()];
  if (unanswered != nullptr) unanswered->Finish({grpc::StatusCode::ABORTED, "asked again"});
  unanswered = call;
  PostRaft(*peer, who.store_id(), std::move(message));
}

void Peers::OnHello(HelloCall* call) {
  const proto::Peer& who = call->request().peer();
  if (const grpc::Status status = Check(who); !status.ok()) return call->Finish(status);
  Peer* peer = Find(who.from());
  if (peer->hello_in != nullptr) {
    peer->hello_in->Finish({grpc::StatusCode::ABORTED, "asked again"});
  }
  peer->hello_in = call;
  Post(*peer, who.store_id(), Hello{});
}

grpc::Status Peers::OnAppend(AppendIn* stream, proto::AppendEntriesRequest* request, bool first) {
  if (first) {
    if (grpc::Status status = Check(request->peer()); !status.ok()) return status;
    stream->peer = request->peer().from();
    stream->store_id = request->peer().store_id();
    Peer* peer = Find(stream->peer);
    if (peer->append_in != nullptr) peer->append_in->Cancel();  // the peer made a new one
    peer->append_in = stream;
  }
  PostRaft(*Find(stream->peer), stream->store_id, Decode(request));
  return grpc::Status::OK;
}

grpc::Status Peers::OnForward(ForwardIn* stream, proto::ForwardRequest* request, bool first) {
  if (first) {
    if (grpc::Status status = Check(request->peer()); !status.ok()) return status;
    stream->peer = request->peer().from();
    stream->store_id = request->peer().store_id();
    Peer* peer = Find(stream->peer);
    if (peer->forward_in != nullptr) peer->forward_in->Cancel();
    peer->forward_in = stream;
  }
  const Peer& peer = *Find(stream->peer);
  for (auto& in : *request->mutable_proposals()) {
    // What is in the log must be applicable on every member, for ever: look before it gets there.
    proto::Command command;
    const bool known =
        ParseCommand(in.command(), &command) && command.origin().member_id() == stream->peer &&
        command.op_case() != proto::Command::OP_NOT_SET && !command.has_record_store_id();
    if (!known) {
      Count(Refusals::Reason::kMalformed,
            absl::StrCat("a proposal from ", peer.address.name,
                         " that this member does not understand; do both run the same version?"));
      Send({options_.self, peer.address.id, options_.store_id,
            ForwardedProposalReply{.number = in.number(), .not_understood = true}});
      continue;
    }
    Post(peer, stream->store_id,
         ForwardedProposal{.number = in.number(),
                           .payload = raft::Payload(std::move(*in.mutable_command()))});
  }
  if (request->has_read_index()) {
    raft::Message message;
    message.term = request->read_index().term();
    message.body = raft::ReadIndexRequest{.id = request->read_index().id()};
    PostRaft(peer, stream->store_id, std::move(message));
  }
  return grpc::Status::OK;
}

bool Peers::OnForwardAnswer(Peer* peer, proto::ForwardResponse* response, bool first) {
  if (first) {
    if (!CheckAnswer(*peer, response->peer())) return false;
    peer->forward_store_id = response->peer().store_id();
  }
  if (response->has_refused()) {
    Post(*peer, peer->forward_store_id,
         ForwardedProposalReply{.number = response->refused().number(),
                                .too_many_requests = response->refused().too_many_requests(),
                                .not_understood = response->refused().not_understood()});
  } else if (response->has_read_index()) {
    raft::Message message;
    message.term = response->read_index().term();
    message.body = raft::ReadIndexReply{.id = response->read_index().id(),
                                        .index = response->read_index().index()};
    PostRaft(*peer, peer->forward_store_id, std::move(message));
  }
  return true;
}

}  // namespace raftkv
