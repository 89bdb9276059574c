#ifndef RAFTKV_SERVER_PEER_PEERS_H_
#define RAFTKV_SERVER_PEER_PEERS_H_

// The transport of server/member over gRPC. To each peer we have two connections. One is for what
// may be large: a stream of appends and one of forwarded requests. The other is for what must not
// wait behind that: a stream of heartbeats, and unary calls for votes, Hello (first start) and
// TimeoutNow (docs/decisions/0020-heartbeats-apart.md). A snapshot is sent on a connection and a
// thread of its own (snapshot_sender.h). Each peer opens the same connections to this member. An
// answer is sent on the stream or call of its request, except that all answers to appends use the
// stream of heartbeats.
//
// What peers send arrives at the peer port (server/port/port.h), whose thread parses it.
// Our own connections are in channel.h. Everything that arrives passes the handshake
// (handshake.h) and the codec (raft_codec.h). Messages that they reject are counted and never reach
// the member. All other messages are posted to the member's inbox.
//
// Runs on the I/O loop's thread. Everything is bounded. If a queue is full or there is no
// connection, a message is dropped (Raft sends it again). A forwarded proposal is reported to the
// member instead (ForwardLost, ForwardQueueFull): it was certainly not sent, so its fate is known.
// If a stream breaks, the other streams continue.
//
// If a peer sends a message that no correct member sends, its streams are ended, with a status that
// says why. The peer may open new streams; raftkv waits a second before it does.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/raft.pb.h"
#include "server/member/events.h"
#include "server/member/requests.h"
#include "server/member/transport.h"
#include "server/peer/channel.h"
#include "server/peer/handshake.h"
#include "server/peer/in_stream.h"
#include "server/peer/out_stream.h"
#include "server/peer/snapshot_sender.h"
#include "server/phase.h"
#include "server/rpc/method.h"
#include "server/workers.h"

namespace raftkv {

// With these times, a half-open connection for heartbeats is detected within three
// seconds. On the other one, the ping waits behind what is being sent, about 1 MiB at most.
inline constexpr absl::Duration kPeerPingInterval = absl::Seconds(2);
inline constexpr absl::Duration kPeerPingAnswerMax = absl::Seconds(1);
inline constexpr absl::Duration kPeerBulkPingAnswerMax = absl::Seconds(10);
// The maximum size of a message between members. The largest entry has about 32 MiB, the upper
// bound of max_request_bytes.
inline constexpr int kPeerMessageBytesMax = 64 << 20;

struct PeerAddress {
  raft::MemberId id = raft::kNobody;
  std::string name;
  // host:port. Empty: not known. This member then opens no connection to the peer, but answers on
  // those that the peer opens.
  std::string address;

  friend bool operator==(const PeerAddress&, const PeerAddress&) = default;
};

struct PeersOptions {
  uint64_t cluster_id = 0;
  raft::MemberId self = raft::kNobody;
  std::string store_id;
  uint64_t boot_id = 0;                            // of this process
  raft::Reached reached = {};                      // how far the log has ever come, at the start
  ClusterVersion newest_version = kNewestVersion;  // the newest version that this member knows
  std::vector<PeerAddress> peers;                  // the other members, until SetPeers
  std::map<raft::MemberId, std::string> names;     // of members that may not be in `peers`
  proto::HelloRequest listed;                      // what the config file says, without `peer`
  absl::Duration vote_timeout = absl::Seconds(1);
  // How long a stream that a peer opens may take until it says who opened it.
  absl::Duration introduction_max = absl::Seconds(10);
  SnapshotHooks snapshots;
  // Sends the answers that were given to the streams of peers (Port::SendAnswers).
  std::function<void()> send_answers = [] {};
  // Above the default of the replica's pending_max: the queue of a working connection is then never
  // full.
  QueueBound forward_bound{.messages = 1 << 17, .bytes = 256 << 20};
};

class Peers final : public Transport {
 public:
  // `post` is called with each input that arrives, on the loop's thread only. From Phase::kClosing
  // on, nothing is sent.
  Peers(PeersOptions options, const PhaseValue* phase, std::function<void(Input)> post);
  ~Peers() override;

  // The text of the status with which a member that stops ends the streams that peers have opened.
  static constexpr char kStopping[] = "server stopped";

  // The rows of the peer port. Their handlers must run on the loop's thread, and be gone before
  // this is destroyed.
  Methods Rows();

  // Creates the channels to the peers, whose sockets `poller` watches. Call it before the first
  // Send.
  void Connect(Poller* poller);

  // From now on these are the other members. Ends the connections to members whose address has
  // changed. Those to former members are ended one to two seconds later: until then, former members
  // can be told that they were removed.
  void SetPeers(const std::vector<PeerAddress>& peers);
  // Call it once a second.
  void EverySecond();
  // Call it before each turn, when what has arrived was read: ends calls, attempts to connect and
  // connections that are late.
  void EndLate(MonotonicTime now);

  void Send(PeerMessage message) override;
  // Sends to the peers what was given to Send, and the answers to the streams of peers.
  void Flush() override;
  void SendSnapshot(raft::MemberId to, raft::Term term) override;
  void StopSnapshots() override;

  // Ends the threads of snapshots. Call it after Stop, when the loop has ended.
  void StopSnapshotThreads();

  // Call it when the phase is kClosing. Ends our streams cleanly, and answers the calls of peers,
  // so that no peer thinks that this member has died. The owner of the peer port ends the streams
  // of peers with kStopping. live() is 0 when our streams have ended.
  void Stop();
  // Closes our connections at once.
  void Cancel();
  // The number of our streams and calls that are open.
  int live() const;

  const Rejections& rejections() const { return handshake_.rejections(); }
  // Counts a message that the replica rejected together with the messages rejected here.
  void OnPeerRejected(const PeerRejected& rejected);
  // Counts a message that no correct member sends, and ends all streams from and to its sender.
  // `why` is sent to the sender as the reason.
  void OnMessageRejected(raft::MemberId from, const char* why);

 private:
  // Larger than Raft's window of appends, because some heartbeats use this queue too: those that
  // must not overtake entries, and those to a peer of a release without the stream of heartbeats.
  static constexpr QueueBound kAppendBound{.messages = 1024, .bytes = 64 << 20};
  static constexpr QueueBound kHeartbeatBound{.messages = 1024, .bytes = 1 << 20};

  using VoteCall = Unary<proto::RequestVoteRequest, proto::RequestVoteResponse>;
  using HelloCall = Unary<proto::HelloRequest, proto::HelloResponse>;
  using TimeoutNowCall = Unary<proto::TimeoutNowRequest, proto::TimeoutNowResponse>;
  using AppendOut = OutStream<proto::AppendEntriesRequest, proto::AppendEntriesResponse>;
  using AppendIn = InStream<proto::AppendEntriesRequest, proto::AppendEntriesResponse>;
  using ForwardOut = OutStream<proto::ForwardRequest, proto::ForwardResponse>;
  using ForwardIn = InStream<proto::ForwardRequest, proto::ForwardResponse>;
  using SnapshotIn = InStream<proto::InstallSnapshotRequest, proto::InstallSnapshotResponse>;
  struct Incoming;
  class UnaryOut;

  struct Peer {
    PeerAddress address;
    // Null: its address is not known.
    std::unique_ptr<Channel> channel;       // for heartbeats and unary calls
    std::unique_ptr<Channel> bulk_channel;  // for the other two streams
    std::unique_ptr<AppendOut> append_out;
    std::unique_ptr<AppendOut> heartbeat_out;
    std::unique_ptr<ForwardOut> forward_out;
    bool knows_heartbeats = true;  // false: it is of an earlier release
    AppendIn* append_in = nullptr;
    AppendIn* heartbeat_in = nullptr;
    uint64_t newest_append_in = 0;  // Sender::connection of the newer of these two
    ForwardIn* forward_in = nullptr;
    SnapshotIn* snapshot_in = nullptr;
    std::shared_ptr<Incoming> incoming;  // the snapshot that arrives on snapshot_in
    std::unique_ptr<SnapshotSender> snapshot_out;
    int snapshots_failed = 0;  // sent to the peer without success, since the last success
    // The peer's calls that are not answered yet: at most one pre-vote (true), one vote (false) and
    // one Hello.
    std::map<bool, VoteCall> vote_in;
    HelloCall hello_in;
    int unary_out = 0;
    bool connected = false;
    int seconds_left = 0;  // of a removed member: until the connections to it are ended
    // Why it has rejected this member since it was connected. Calls of several kinds may be
    // rejected for several reasons.
    std::set<std::string> rejections;
    int seconds_failing = 0;  // for how long no connection could be made
  };

  bool closing() const { return phase_->AtLeast(Phase::kClosing); }
  Peer* Find(raft::MemberId id);
  Peer* FindOrAdd(raft::MemberId id);
  void ConnectTo(Peer* peer);
  static void CloseChannels(Peer* peer);
  void Disconnect(Peer* peer);

  // Create the rows of the peer port.
  template <typename Request, typename Response>
  UnaryMethod UnaryRow(const char* name, void (Peers::*handler)(Unary<Request, Response>));
  // `in` is the data member of Peer that holds the newest stream of the peer.
  template <typename In, typename Request>
  typename In::Hooks HooksOf(In* Peer::*in,
                             absl::Status (Peers::*on_request)(const Sender&, Request*));
  template <typename Request, typename Response>
  StreamMethod StreamRow(const char* name, QueueBound bound, InStream<Request, Response>* Peer::*in,
                         absl::Status (Peers::*on_request)(const Sender&, Request*));

  AppendOut::Hooks AppendHooks(Peer* peer);
  void MakeAppendOut(Peer* peer);
  void MakeHeartbeatOut(Peer* peer);
  void MakeForwardOut(Peer* peer);
  void OnConnected(Peer* peer);
  // Once a second: logs, after some seconds and then each minute, that the peer cannot be connected
  // to.
  void ReportFailure(Peer* peer);
  void OnAppendsLost(Peer* peer, const StreamEnd& end);

  // These pass arrived messages to the member. If the result is not OK, the message was malformed:
  // it was counted, and its stream ends with the result.
  void Post(const Sender& from, decltype(PeerMessage::body) body);
  absl::Status PostRaft(const Sender& from, absl::StatusOr<raft::Message> message);
  // Ends the streams of appends, heartbeats and forwarded requests from and to the peer, and the
  // snapshot that arrives from it. The peer learns the reason.
  void EndStreams(Peer* peer, const absl::Status& status);
  absl::Status CountMalformed(raft::MemberId from, const absl::Status& status);

  // Logs once why `peer` rejects this member, so that the log lines of a misconfigured member show
  // the reason.
  void OnRejectedBy(Peer* peer, const absl::Status& status);

  // One overload for each kind of message. If one is missing, Send does not compile.
  void SendBody(Peer* to, const raft::Message& message);
  void SendBody(Peer* to, const DigestReport& report);
  void SendBody(Peer* to, const Diverged& diverged);
  void SendBody(Peer* to, const ForwardedProposal& proposal);
  void SendBody(Peer* to, const ForwardedProposalReply& reply);
  void SendBody(Peer* to, const Hello&);
  void SendBody(Peer* to, const HelloReply& reply);
  void SendRaft(Peer* to, const raft::Message& message, const raft::RequestVote& vote);
  void SendRaft(Peer* to, const raft::Message& message, const raft::RequestVoteReply& reply);
  void SendRaft(Peer* to, const raft::Message& message, const raft::AppendEntries& append);
  void SendRaft(Peer* to, const raft::Message& message, const raft::AppendEntriesReply& reply);
  void SendRaft(Peer* to, const raft::Message& message, const raft::ReadIndexRequest& ask);
  void SendRaft(Peer* to, const raft::Message& message, const raft::ReadIndexReply& answer);
  void SendRaft(Peer* to, const raft::Message& message, const raft::InstallSnapshot&);
  void SendRaft(Peer* to, const raft::Message& message, const raft::TimeoutNow& timeout_now);

  // Sends a unary request. `on_answer` is called if the expected peer answers.
  template <typename Response, typename Request>
  void Ask(Peer* to, const char* method, Request request,
           std::function<void(const Sender& from, const Response&)> on_answer);

  void GiveUp(Peer* peer);
  void EndLateSnapshots(Peer* peer);
  absl::Status OnSnapshot(const Sender& from, proto::InstallSnapshotRequest* request);
  void Discard(const std::shared_ptr<Incoming>& in);
  void EndIncoming(Peer* peer, const absl::Status& status);
  void OnWritten(const Sender& from, const std::shared_ptr<Incoming>& in,
                 const absl::Status& status, std::unique_ptr<ReceivedSnapshot> received);

  void OnVote(VoteCall call);
  void OnHello(HelloCall call);
  void OnTimeoutNow(TimeoutNowCall call);
  absl::Status OnAppend(const Sender& from, proto::AppendEntriesRequest* request);
  absl::Status OnForward(const Sender& from, proto::ForwardRequest* request);
  absl::Status OnForwardAnswer(const Sender& from, const proto::ForwardResponse& response);

  const PeersOptions options_;
  const PhaseValue* const phase_;
  const std::function<void(Input)> post_;
  Handshake handshake_;
  Poller* poller_ = nullptr;
  std::set<UnaryOut*> asking_;  // our unary calls that are open
  // Contains the other members, former members, and unknown senders (handshake.h bounds their
  // number). None is erased, because running calls refer to them.
  std::map<raft::MemberId, Peer> peers_;
  MonotonicTime next_end_late_ = MonotonicTime::InfinitePast();
  uint64_t connections_ = 0;                               // streams that peers have opened so far
  std::vector<std::unique_ptr<SnapshotSender>> given_up_;  // deleted when their threads end
  Workers snapshot_worker_{/*threads=*/1, /*waiting_max=*/8};  // writes what arrives
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_PEERS_H_
