#ifndef RAFTKV_SERVER_PEER_PEERS_H_
#define RAFTKV_SERVER_PEER_PEERS_H_

// The transport of server/member over gRPC: to each peer one stream for appends and one for
// forwarded requests, opened by us, and unary calls for votes and first-start questions; from each
// peer the same, opened by it. Answers travel on the stream or call that asked.
//
// Runs on the I/O loop's thread. Everything is bounded: what finds a queue full or no connection is
// dropped (Raft sends again), except forwarded proposals, which are reported as refused, because a
// proposal must never be in doubt without need. Each stream breaks for itself.
//
// Messages that name another cluster, another receiver or an unknown sender are refused with
// FAILED_PRECONDITION and counted (refusals.h).

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/raft.grpc.pb.h"
#include "server/member/replica.h"
#include "server/member/transport.h"
#include "server/peer/in_stream.h"
#include "server/peer/out_stream.h"
#include "server/peer/refusals.h"
#include "server/rpc/rpc.h"

namespace raftkv {

// A half-open connection is noticed within three seconds.
inline constexpr int kPeerKeepaliveMs = 2000;
inline constexpr int kPeerKeepaliveTimeoutMs = 1000;
static_assert(kPeerKeepaliveMs + kPeerKeepaliveTimeoutMs <= 3000);

struct PeerAddress {
  raft::MemberId id = raft::kNobody;
  std::string name;
  std::string address;  // host:port
};

struct PeersOptions {
  uint64_t cluster_id = 0;
  raft::MemberId self = raft::kNobody;
  std::string store_id;
  std::vector<PeerAddress> peers;  // without ourselves
  absl::Duration vote_timeout = absl::Seconds(1);
  // Above the replica's pending_max, so that only a broken connection refuses proposals.
  QueueBound forward_bound{.messages = 1 << 17, .bytes = 256 << 20};
};

class Peers final : public Transport {
 public:
  // `post` takes what arrives; called on the loop's thread only.
  Peers(PeersOptions options, std::function<void(Input)> post);
  ~Peers() override;

  // Adds the rows of the peer server.
  void Register(MethodTable* methods);

  // Makes channels; their events arrive on `queue`. Before the first Send.
  void Connect(grpc::CompletionQueue* queue);

  void Send(PeerMessage message) override;

  // Ends all streams and calls; their completions still arrive on the queue, until live() is 0.
  void Stop();
  int live() const { return live_; }

  const Refusals& refusals() const { return refusals_; }
  // The replica's refusals are counted beside ours.
  void OnPeerRefused(raft::MemberId peer);

 private:
  using VoteCall = Unary<proto::RequestVoteRequest, proto::RequestVoteResponse>;
  using HelloCall = Unary<proto::HelloRequest, proto::HelloResponse>;
  using AppendOut = OutStream<proto::AppendEntriesRequest, proto::AppendEntriesResponse>;
  using AppendIn = InStream<proto::AppendEntriesRequest, proto::AppendEntriesResponse>;
  using ForwardOut = OutStream<proto::ForwardRequest, proto::ForwardResponse>;
  using ForwardIn = InStream<proto::ForwardRequest, proto::ForwardResponse>;
  template <typename Response>
  class UnaryOut;

  struct Peer {
    PeerAddress address;
    std::unique_ptr<proto::Raft::Stub> stub;
    std::unique_ptr<AppendOut> append_out;
    std::unique_ptr<ForwardOut> forward_out;
    std::string append_store_id;  // as the answers on our streams said
    std::string forward_store_id;
    AppendIn* append_in = nullptr;
    ForwardIn* forward_in = nullptr;
    std::map<bool, VoteCall*> vote_in;  // by pre_vote: unanswered
    HelloCall* hello_in = nullptr;
    int unary_out = 0;
    bool connected = false;
    std::string last_refusal;
  };

  Peer* Find(raft::MemberId id);
  proto::Peer Introduction(raft::MemberId to) const;
  // OK when `peer` speaks to us and we know it.
  grpc::Status Check(const proto::Peer& peer);
  bool CheckAnswer(const Peer& from, const proto::Peer& peer);
  void Post(const Peer& from, const std::string& store_id, decltype(PeerMessage::body) body);
  void PostRaft(const Peer& from, const std::string& store_id,
                absl::StatusOr<raft::Message> message);

  void MakeAppendOut(Peer* peer);
  void MakeForwardOut(Peer* peer);

  // Says once what `peer` has against us: whoever is misconfigured should learn it from its own
  // log.
  void OnRefused(Peer* peer, const grpc::Status& status);
  void Count(Refusals::Reason reason, const std::string& what);

  void SendRaft(Peer* to, const raft::Message& message);
  void SendProposal(Peer* to, const ForwardedProposal& proposal);
  void SendVote(Peer* to, const raft::Message& message, const raft::RequestVote& vote);
  void SendHello(Peer* to);
  void AnswerVote(Peer* to, const raft::Message& message, const raft::RequestVoteReply& reply);

  void OnVote(VoteCall* call);
  void OnHello(HelloCall* call);
  grpc::Status OnAppend(AppendIn* stream, proto::AppendEntriesRequest* request, bool first);
  grpc::Status OnForward(ForwardIn* stream, proto::ForwardRequest* request, bool first);
  bool OnForwardAnswer(Peer* peer, proto::ForwardResponse* response, bool first);

  const PeersOptions options_;
  const std::function<void(Input)> post_;
  grpc::CompletionQueue* queue_ = nullptr;
  std::map<raft::MemberId, Peer> peers_;
  Refusals refusals_;
  int live_ = 0;  // streams and calls with operations under way
  bool stopped_ = false;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_PEERS_H_
