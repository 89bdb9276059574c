#include "server/peer/peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/command.pb.h"
#include "tests/peer/node.h"
#include "tests/server/listener.h"

namespace raftkv {
namespace {

using testing::ElementsAre;

TEST(Peers, RejectedMessagesAreCountedByReason) {
  Node node(1, kNobodyThere);
  const std::string store(16, 's');
  const auto ask = [&](const proto::Peer& who) {
    proto::HelloRequest request;
    *request.mutable_peer() = who;
    const grpc::Status status = SayHello(&node, request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_NE(status.error_message(), "");
  };
  for (int i = 0; i < 3; ++i) ask(Who(kCluster + 1, 2, 1, store));
  for (int i = 0; i < 2; ++i) ask(Who(kCluster, 2, 9, store));
  ask(Who(kCluster, 1, 1, store));  // it calls itself the receiver
  ask(Who(kCluster, 2, 1, "short"));
  const Rejections& rejections = node.peers.rejections();
  EXPECT_EQ(rejections.of(Rejections::Reason::kCluster), 3);
  EXPECT_EQ(rejections.of(Rejections::Reason::kReceiver), 2);
  EXPECT_EQ(rejections.of(Rejections::Reason::kSender), 1);
  EXPECT_EQ(rejections.of(Rejections::Reason::kMalformed), 1);
  EXPECT_EQ(rejections.of(Rejections::Reason::kStoreId), 0);
  EXPECT_EQ(rejections.total(), 7);
  EXPECT_TRUE(node.inputs.empty()) << "nothing of it reached the replica";
}

// The proposals go to a port that accepts connections and never answers.
TEST(Peers, AProposalThatDoesNotFitFailsAlone) {
  const Listener silent;
  PeersOptions options;
  options.forward_bound = {.messages = 2, .bytes = 1 << 20};
  Node node(1, {2, "n2", silent.address()}, options);
  for (uint64_t number : {1, 2, 3}) node.peers.Send(Proposal(number, 100 << 10));
  ASSERT_EQ(node.inputs.size(), 1);
  EXPECT_EQ(std::get<ForwardQueueFull>(node.inputs[0]).number, 3);
  // The connection is never made: what waited for it was certainly not sent.
  ASSERT_TRUE(Eventually({&node}, [&] { return node.Count<ForwardLost>() > 0; }));
  EXPECT_THAT(std::get<ForwardLost>(node.inputs[1]).unsent, ElementsAre(1, 2));
}

TEST(Peers, CarryEveryClientCommandAndRejectEachOtherCommandAlone) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  int carried = 0, rejected = 0;
  const auto send = [&](proto::Command command, bool by_client) {
    SCOPED_TRACE(command.ShortDebugString());
    command.mutable_origin()->set_member_id(1);
    const uint64_t number = 1 + carried + rejected;
    from.peers.Send(
        {{.id = 1}, 2, ForwardedProposal{number, raft::Payload(command.SerializeAsString())}});
    ++(by_client ? carried : rejected);
    ASSERT_TRUE(Eventually({&to, &from}, [&] {
      return to.CountMessages<ForwardedProposal>() == carried &&
             from.CountMessages<ForwardedProposalReply>() == rejected;
    }));
    if (by_client) return;
    const auto& declined =
        std::get<ForwardedProposalReply>(std::get<PeerMessage>(from.inputs.back()).body);
    EXPECT_EQ(declined.number, number);
    EXPECT_TRUE(declined.not_understood);
  };
  // Whether a client, or any member, may propose it. Otherwise only a leader does, or nobody.
  const std::map<std::string, bool> by_client = {{"put", true},
                                                 {"delete_range", true},
                                                 {"txn", true},
                                                 {"compaction", true},
                                                 {"lease_grant", true},
                                                 {"lease_revoke", true},
                                                 {"renew_leases", true},
                                                 {"change_members", true},
                                                 {"change_alarm", true},
                                                 {"expire_leases", false},
                                                 {"record_store_id", false},
                                                 {"set_cluster_version", false},
                                                 {"bump_revision", false}};
  const auto* const op = proto::Command::descriptor()->FindOneofByName("op");
  ASSERT_EQ(op->field_count(), static_cast<int>(by_client.size()));
  for (int i = 0; i < op->field_count(); ++i) {
    const auto found = by_client.find(op->field(i)->name());
    ASSERT_NE(found, by_client.end()) << "who proposes " << op->field(i)->name() << "?";
    proto::Command command;
    command.GetReflection()->MutableMessage(&command, op->field(i));
    if (command.has_change_members()) command.mutable_change_members()->set_remove(2);
    send(command, found->second);
  }
  proto::Command of_session;
  of_session.mutable_put();
  of_session.mutable_session();
  send(of_session, true);
  EXPECT_EQ(to.peers.rejections().of(Rejections::Reason::kMalformed), rejected);
  EXPECT_EQ(from.Count<ForwardLost>(), 0);
}

TEST(Peers, CarryEveryMessageThereAndBack) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  const auto carry = [&](auto request, auto answer) {
    const size_t asked = to.inputs.size(), answered = from.inputs.size();
    from.peers.Send({{.id = 1, .reached = {6, 4}}, 2, request});
    ASSERT_TRUE(Eventually({&to, &from}, [&] { return to.inputs.size() > asked; }));
    to.peers.Send({{.id = 2}, 1, answer});
    ASSERT_TRUE(Eventually({&to, &from}, [&] { return from.inputs.size() > answered; }));
    const auto& got = std::get<PeerMessage>(to.inputs.back());
    const auto& got_back = std::get<PeerMessage>(from.inputs.back());
    EXPECT_EQ(got.from.store_id, std::string(16, '1'));
    EXPECT_EQ(got_back.from.store_id, std::string(16, '2'));
    EXPECT_EQ(got.from.boot_id, 101u);
    EXPECT_EQ(got.from.reached, (raft::Reached{6, 4}));
    if constexpr (std::is_same_v<decltype(request), raft::Message>) {
      request.connection = std::get<raft::Message>(got.body).connection;  // set by the receiver
      EXPECT_EQ(std::get<raft::Message>(got.body), request);
      EXPECT_EQ(std::get<raft::Message>(got_back.body), answer);
    }
  };
  using raft::Message;
  carry(Message{1, 2, 7, raft::RequestVote{.last = {3, 9}, .pre_vote = true}},
        Message{2, 1, 7, raft::RequestVoteReply{.granted = true, .pre_vote = true}});
  carry(Message{1, 2, 7, raft::AppendEntries{.prev = {2, 5}, .commit = 4}},
        Message{2, 1, 7, raft::AppendEntriesReply{.success = true, .match = 5}});
  carry(Message{1, 2, 7, raft::ReadIndexRequest{.id = UINT64_MAX}},
        Message{2, 1, 7, raft::ReadIndexReply{.id = UINT64_MAX, .index = 5, .acknowledged = 6}});
  carry(Hello{}, HelloReply{.log_empty = true});
  carry(DigestReport{{{1000, 7}}}, Diverged{1000, 8});
  // TimeoutNow has no answer.
  const size_t before = to.inputs.size();
  from.peers.Send({{.id = 1}, 2, Message{1, 2, 7, raft::TimeoutNow{}}});
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return to.inputs.size() > before; }));
  EXPECT_EQ(std::get<Message>(std::get<PeerMessage>(to.inputs.back()).body),
            (Message{1, 2, 7, raft::TimeoutNow{}}));
  EXPECT_EQ(to.peers.rejections().total(), 0);
  EXPECT_EQ(from.peers.rejections().total(), 0);
}

// The replica has found that the peer runs on an older copy of its data directory.
TEST(Peers, EndTheStreamsOfAnOlderCopy) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  from.peers.Send(Append());
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return to.CountMessages<raft::Message>() == 1; }));
  to.peers.OnPeerRejected({1, PeerRejected::Why::kReplaced});
  to.peers.OnPeerRejected({1, PeerRejected::Why::kOlderCopy});
  EXPECT_TRUE(Eventually({&to, &from}, [&] { return from.Count<AppendLost>() == 1; }));
  EXPECT_EQ(to.peers.rejections().of(Rejections::Reason::kReplaced), 1);
  EXPECT_EQ(to.peers.rejections().of(Rejections::Reason::kOlderCopy), 1);
}

// A member is added, reached at another address, and removed.
TEST(Peers, FollowTheMembers) {
  Node first(2, {1, "n1", "127.0.0.1:1"}), second(2, {1, "n1", "127.0.0.1:1"});
  Node node(1, {3, "n3", "127.0.0.1:1"});
  node.peers.Send(Append());
  node.peers.SetPeers({{2, "n2", first.address}});
  node.peers.Send(Append());
  ASSERT_TRUE(
      Eventually({&node, &first}, [&] { return first.CountMessages<raft::Message>() == 1; }));
  node.peers.SetPeers({{2, "n2", first.address}});
  const auto pass_two_seconds = [&] {
    for (int i = 0; i < 2; ++i) node.peers.EverySecond();
  };
  EXPECT_EQ(node.Count<AppendLost>(), 0) << "member 3 is told that it was removed";
  pass_two_seconds();
  EXPECT_EQ(node.Count<AppendLost>(), 1) << "of member 3";
  node.peers.SetPeers({{2, "n2", second.address}});
  EXPECT_EQ(node.Count<AppendLost>(), 2);
  EXPECT_EQ(node.Count<ForwardLost>(), 2) << "what was forwarded may have arrived";
  node.peers.Send(Append());
  ASSERT_TRUE(Eventually({&node, &first, &second},
                         [&] { return second.CountMessages<raft::Message>() == 1; }));
  node.peers.SetPeers({});
  node.peers.Send(Append());  // its removal
  ASSERT_TRUE(Eventually({&node, &first, &second},
                         [&] { return second.CountMessages<raft::Message>() == 2; }));
  pass_two_seconds();
  node.peers.Send(Append());
  node.peers.Send(Proposal(7, 1));
  EXPECT_EQ(std::get<ForwardLost>(node.inputs.back()).unsent, (std::vector<uint64_t>{7}));
  ASSERT_TRUE(Eventually({&node, &first, &second}, [&] { return node.live() == 0; }));
  EXPECT_EQ(second.CountMessages<raft::Message>(), 2);
}

// A member that is behind may not know the sender yet, and must answer it (thesis §4.1).
TEST(Peers, AnswerASenderThatIsNotKnownYet) {
  Node to(2, {3, "n3", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  from.peers.Send({{.id = 1}, 2, raft::Message{1, 2, 7, raft::RequestVote{.last = {3, 9}}}});
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return to.CountMessages<raft::Message>() == 1; }));
  to.peers.Send({{.id = 2}, 1, raft::Message{2, 1, 7, raft::RequestVoteReply{.granted = true}}});
  EXPECT_TRUE(Eventually({&to, &from}, [&] { return from.CountMessages<raft::Message>() == 1; }));
}

// A member n2 of an earlier release, without the stream of heartbeats. It answers each append with
// a given response.
class FakePeer final : public proto::Raft::Service {
 public:
  using AppendStream =
      grpc::ServerReaderWriter<proto::AppendEntriesResponse, proto::AppendEntriesRequest>;

  explicit FakePeer(proto::AppendEntriesResponse answer) : answer_(std::move(answer)) {}

  const PeerAddress& address() const { return server_.address; }

  grpc::Status AppendEntries(grpc::ServerContext*, AppendStream* stream) override {
    proto::AppendEntriesRequest request;
    while (stream->Read(&request)) stream->Write(answer_);
    return grpc::Status::OK;
  }

 private:
  const proto::AppendEntriesResponse answer_;
  const ServerOfN2 server_{this};
};

TEST(Peers, AnAnswerOfAnotherMemberEndsTheStream) {
  proto::AppendEntriesResponse answer;
  *answer.mutable_peer() = Who(kCluster, 9, 1, std::string(16, '9'));
  FakePeer impostor(answer);
  Node node(1, impostor.address());
  node.peers.Send(Append());
  EXPECT_TRUE(Eventually({&node}, [&] { return node.Count<AppendLost>() == 1; }));
  EXPECT_EQ(node.peers.rejections().of(Rejections::Reason::kSender), 1);
  EXPECT_EQ(node.CountMessages<raft::Message>(), 0);
}

TEST(Peers, AMalformedAnswerEndsItsStream) {
  proto::AppendEntriesResponse answer;
  *answer.mutable_peer() = Who(kCluster, 2, 1, std::string(16, '2'));
  answer.set_term(1);
  answer.set_match_index(UINT64_MAX);
  FakePeer liar(answer);
  Node node(1, liar.address());
  node.peers.Send(Append());
  EXPECT_TRUE(Eventually({&node}, [&] { return node.Count<AppendLost>() == 1; }));
  EXPECT_EQ(node.peers.rejections().of(Rejections::Reason::kMalformed), 1);
  EXPECT_EQ(node.CountMessages<raft::Message>(), 0);
}

TEST(Peers, HeartbeatsDoNotWaitBehindEntries) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  std::vector<uint64_t> connections;
  PeerMessage last_append = Heartbeat();  // it must not overtake its prev
  std::get<raft::AppendEntries>(std::get<raft::Message>(last_append.body).body).prev = {1, 1};
  for (const PeerMessage& message : {Append(), Heartbeat(), last_append}) {
    const size_t before = to.inputs.size();
    from.peers.Send(message);
    ASSERT_TRUE(Eventually({&to, &from}, [&] { return to.inputs.size() > before; }));
    const auto& got = std::get<PeerMessage>(to.inputs.back());
    connections.push_back(std::get<raft::Message>(got.body).connection);
  }
  EXPECT_NE(connections[1], connections[0]);
  EXPECT_EQ(connections[2], connections[0]);

  to.peers.Send({{.id = 2}, 1, raft::Message{2, 1, 1, raft::AppendEntriesReply{.success = true}}});
  EXPECT_TRUE(Eventually({&to, &from}, [&] { return from.CountMessages<raft::Message>() == 1; }));
  from.peers.Cancel();
  EXPECT_TRUE(Eventually({&to, &from}, [&] { return to.live() == 0; }));
  EXPECT_EQ(to.Count<PeerLost>(), 1) << "once for both streams";
  EXPECT_EQ(std::get<PeerLost>(to.inputs.back()).connection,
            std::max(connections[0], connections[1]));
}

TEST(Peers, APeerOfAnEarlierReleaseGetsHeartbeatsAmongTheAppends) {
  proto::AppendEntriesResponse answer;
  *answer.mutable_peer() = Who(kCluster, 2, 1, std::string(16, '2'));
  FakePeer old(answer);
  Node node(1, old.address());
  EXPECT_TRUE(Eventually({&node}, [&] {
    node.peers.Send(Heartbeat());
    return node.CountMessages<raft::Message>() > 3;
  }));
  EXPECT_EQ(node.Count<AppendLost>(), 0);
}

// A stream that never says who opened it must end at a stop, too.
TEST(Peers, StopEndsStreamsThatWereNeverIntroduced) {
  Node node(1, kNobodyThere);
  const auto stub =
      proto::Raft::NewStub(grpc::CreateChannel(node.address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  Ended started, read, finished;
  proto::ForwardResponse response;
  grpc::Status status;
  auto stream = stub->PrepareAsyncForward(&context, &node.queue);
  stream->StartCall(&started);
  ASSERT_TRUE(Eventually({&node}, [&] { return started.done; }));
  stream->Read(&response, &read);
  node.phase.Set(Phase::kClosing);
  node.Stop();
  EXPECT_TRUE(Eventually({&node}, [&] { return node.live() == 0 && read.done; }));
  stream->Finish(&status, &finished);
  EXPECT_TRUE(Eventually({&node}, [&] { return finished.done; }));
  EXPECT_FALSE(status.ok());
}

// The newest connection of the appends that have arrived.
uint64_t NewestConnection(const Node& node) {
  uint64_t newest = 0;
  for (const Input& input : node.inputs) {
    const auto* message = std::get_if<PeerMessage>(&input);
    if (message == nullptr) continue;
    newest = std::max(newest, std::get<raft::Message>(message->body).connection);
  }
  return newest;
}

// The transport distinguishes a peer that dies, one that stops, and one that connects again.
TEST(Peers, AnAbortedStreamOfAppendsIsReportedWithItsNumber) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  auto from = std::make_unique<Node>(1, PeerAddress{2, "n2", to.address});
  from->peers.Send(Append());
  ASSERT_TRUE(
      Eventually({&to, from.get()}, [&] { return to.CountMessages<raft::Message>() == 1; }));
  const uint64_t first = NewestConnection(to);
  EXPECT_GT(first, 0);
  from->peers.Cancel();  // as when its process dies
  ASSERT_TRUE(Eventually({&to, from.get()}, [&] { return to.Count<PeerLost>() == 1; }));
  EXPECT_EQ(std::get<PeerLost>(to.inputs.back()).peer, 1);
  EXPECT_EQ(std::get<PeerLost>(to.inputs.back()).connection, first);

  from = std::make_unique<Node>(1, PeerAddress{2, "n2", to.address});  // the next life of n1
  from->peers.Send(Append());
  ASSERT_TRUE(
      Eventually({&to, from.get()}, [&] { return to.CountMessages<raft::Message>() == 2; }));
  EXPECT_GT(NewestConnection(to), first);
}

TEST(Peers, AStreamThatIsClosedInOrderIsNotReported) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  from.peers.Send(Append());
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return to.CountMessages<raft::Message>() == 1; }));
  from.phase.Set(Phase::kClosing);
  from.peers.Stop();
  // Nothing is cancelled: n2 ends the stream.
  EXPECT_TRUE(Eventually({&to, &from}, [&] { return from.live() == 0; }));
  EXPECT_TRUE(Eventually({&to, &from}, [&] { return to.live() == 0; }));
  EXPECT_EQ(to.Count<PeerLost>(), 0);
}

// So that what was forwarded and not answered may wait for the next leader.
TEST(Peers, TheForwardStreamOfAPeerThatStopsIsReportedAsSuch) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  from.peers.Send(Proposal(1, 10));
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return to.CountMessages<ForwardedProposal>() == 1; }));
  to.phase.Set(Phase::kClosing);
  to.Stop();
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return from.Count<ForwardLost>() == 1; }));
  for (const Input& input : from.inputs) {
    if (const auto* lost = std::get_if<ForwardLost>(&input)) EXPECT_TRUE(lost->stopped);
  }
}

// Its status is UNAVAILABLE, too.
TEST(Peers, AForwardStreamThatBreaksIsNotReportedAsStopped) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  from.peers.Send(Proposal(1, 10));
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return to.CountMessages<ForwardedProposal>() == 1; }));
  to.port.FinishStreams(&to.calls, absl::UnavailableError("Socket closed"));
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return from.Count<ForwardLost>() == 1; }));
  for (const Input& input : from.inputs) {
    if (const auto* lost = std::get_if<ForwardLost>(&input)) EXPECT_FALSE(lost->stopped);
  }
}

// A stream of appends, or of heartbeats, that the test opens in n2's name.
struct Intruder {
  explicit Intruder(Node* n, bool heartbeats = false)
      : node(*n),
        stub(proto::Raft::NewStub(
            grpc::CreateChannel(node.address, grpc::InsecureChannelCredentials()))),
        stream(heartbeats ? stub->PrepareAsyncHeartbeats(&context, &node.queue)
                          : stub->PrepareAsyncAppendEntries(&context, &node.queue)) {
    stream->StartCall(&started);
    EXPECT_TRUE(Eventually({&node}, [&] { return started.done; }));
    stream->Read(&response, &read);
  }
  ~Intruder() {
    context.TryCancel();
    EXPECT_TRUE(Eventually({&node}, [&] { return read.done; }));
    Status();
  }

  void Write(proto::AppendEntriesRequest request, bool introduce) {
    if (introduce) *request.mutable_peer() = Who(kCluster, 2, 1, std::string(16, '2'));
    Ended written;
    stream->Write(request, &written);
    EXPECT_TRUE(Eventually({&node}, [&] { return written.done; }));
  }
  // The node has ended the stream, and nothing was cancelled here.
  bool Ends() {
    return Eventually({&node}, [&] { return read.done; });
  }
  grpc::Status Status() {
    if (!finished.done) stream->Finish(&status, &finished);
    EXPECT_TRUE(Eventually({&node}, [&] { return finished.done; }));
    return status;
  }

  Node& node;
  std::unique_ptr<proto::Raft::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<
      grpc::ClientAsyncReaderWriter<proto::AppendEntriesRequest, proto::AppendEntriesResponse>>
      stream;
  Ended started, read, finished;
  proto::AppendEntriesResponse response;
  grpc::Status status;
};

// A slow link may break the connection with the large entries, while heartbeats arrive.
TEST(Peers, AStreamOfAppendsThatIsLostAloneIsNoLossOfThePeer) {
  Node node(1, kNobodyThere);
  auto heartbeats = std::make_unique<Intruder>(&node, /*heartbeats=*/true);
  auto appends = std::make_unique<Intruder>(&node);
  proto::AppendEntriesRequest request;
  request.set_term(1);
  heartbeats->Write(request, /*introduce=*/true);
  appends->Write(request, /*introduce=*/true);
  ASSERT_TRUE(Eventually({&node}, [&] { return node.CountMessages<raft::Message>() == 2; }));
  const uint64_t newest = NewestConnection(node);
  appends.reset();
  ASSERT_TRUE(Eventually({&node}, [&] { return node.live() == 1; }));
  EXPECT_EQ(node.Count<PeerLost>(), 0);
  heartbeats.reset();
  ASSERT_TRUE(Eventually({&node}, [&] { return node.Count<PeerLost>() == 1; }));
  EXPECT_EQ(std::get<PeerLost>(node.inputs.back()).connection, newest);
}

TEST(Peers, AMalformedRequestEndsItsStream) {
  Node node(1, kNobodyThere);
  Intruder intruder(&node);
  proto::AppendEntriesRequest request;
  request.set_term(1);
  intruder.Write(request, /*introduce=*/true);
  ASSERT_TRUE(Eventually({&node}, [&] { return node.CountMessages<raft::Message>() == 1; }));
  request.add_entries()->set_term(1);
  request.mutable_entries(0)->set_type(proto::COMMAND);
  request.mutable_entries(0)->set_payload("no command");
  intruder.Write(request, /*introduce=*/false);
  ASSERT_TRUE(intruder.Ends());
  EXPECT_EQ(node.CountMessages<raft::Message>(), 1) << "it did not reach the member";
  EXPECT_EQ(node.peers.rejections().of(Rejections::Reason::kMalformed), 1);
  EXPECT_EQ(node.Count<PeerLost>(), 0) << "the peer is alive";
  EXPECT_EQ(intruder.Status().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// The message contradicts the member's log or term. Only the member can detect that, not the codec.
TEST(Peers, AMessageThatTheMemberRejectsEndsAllStreamsOfItsSender) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  const auto send = [&] {
    from.peers.Send(Append());
    from.peers.Send(Proposal(1, 10));
  };
  send();
  ASSERT_TRUE(Eventually({&to, &from}, [&] {
    return to.CountMessages<raft::Message>() == 1 && to.CountMessages<ForwardedProposal>() == 1;
  }));
  // Answers, so that n1 knows that the streams worked.
  to.peers.Send({{.id = 2}, 1, raft::Message{2, 1, 1, raft::AppendEntriesReply{.success = true}}});
  to.peers.Send({{.id = 2}, 1, ForwardedProposalReply{.number = 1}});
  ASSERT_TRUE(Eventually({&to, &from}, [&] { return from.inputs.size() == 2; }));

  to.peers.OnMessageRejected(1, "it leads in the term of another leader");
  ASSERT_TRUE(Eventually({&to, &from}, [&] {
    return from.Count<AppendLost>() == 1 && from.Count<ForwardLost>() == 1;
  }));
  EXPECT_EQ(to.Count<PeerLost>(), 0);
  EXPECT_EQ(to.peers.rejections().of(Rejections::Reason::kImplausible), 1);
  // n1 waits before it connects again. Messages are dropped now, and dropped proposals are
  // reported.
  send();
  EXPECT_EQ(from.Count<ForwardLost>(), 2);
  EXPECT_TRUE(Eventually({&to, &from}, [&] {
    from.peers.Send(Append());
    return to.CountMessages<raft::Message>() == 2;
  }));
}

// Whoever can reach the peer port may open streams and stay silent.
TEST(Peers, StreamsThatAreNotIntroducedAreBoundedInNumber) {
  PeersOptions options;
  options.introduction_max = absl::Minutes(5);
  Node node(1, kNobodyThere, options);
  constexpr int kOpened = 10, kAllowed = 4;  // on one connection
  std::vector<std::unique_ptr<Intruder>> silent;
  silent.reserve(kOpened);
  for (int i = 0; i < kOpened; ++i) silent.push_back(std::make_unique<Intruder>(&node));
  for (int i = 0; i < kOpened - kAllowed; ++i) EXPECT_TRUE(silent[i]->Ends()) << "the oldest";
  EXPECT_EQ(node.live(), 0) << "the loop's thread knows none of them";
  proto::AppendEntriesRequest request;
  request.set_term(1);
  silent.back()->Write(request, /*introduce=*/true);
  ASSERT_TRUE(Eventually({&node}, [&] { return node.CountMessages<raft::Message>() == 1; }));
  for (int i = kOpened - kAllowed; i < kOpened; ++i) EXPECT_FALSE(silent[i]->read.done) << i;
}

// tests/port/http2_connection_test.cc checks that the port keeps to it.
TEST(Peers, EveryStreamMustBeIntroducedInTime) {
  Node node(1, kNobodyThere);
  for (const StreamMethod& method : node.peers.Rows().streams) {
    EXPECT_EQ(method.first_request.wait, absl::Seconds(10)) << method.name;
  }
}

class BrokenStream : public testing::TestWithParam<bool> {};  // of appends; or of requests

TEST_P(BrokenStream, DoesNotAffectTheOther) {
  Node to(2, {1, "n1", "127.0.0.1:1"});
  Node from(1, {2, "n2", to.address});
  from.peers.Send(Append());
  from.peers.Send(Proposal(1, 10));
  ASSERT_TRUE(Eventually({&to, &from}, [&] {
    return to.CountMessages<raft::Message>() == 1 && to.CountMessages<ForwardedProposal>() == 1;
  }));

  // Somebody opens a second stream in n1's name: the first one is ended.
  const auto stub =
      proto::Raft::NewStub(grpc::CreateChannel(to.address, grpc::InsecureChannelCredentials()));
  const proto::Peer who = Who(kCluster, 1, 2, std::string(16, '1'));
  grpc::ClientContext context;
  Ended started, written, finished;
  grpc::Status status;
  const auto break_by = [&](auto stream, auto request) {
    *request.mutable_peer() = who;
    stream->StartCall(&started);
    EXPECT_TRUE(Eventually({&to, &from}, [&] { return started.done; }));
    stream->Write(request, &written);
    EXPECT_TRUE(Eventually(
        {&to, &from}, [&] { return from.Count<AppendLost>() + from.Count<ForwardLost>() > 0; }));
    EXPECT_EQ(to.Count<PeerLost>(), 0) << "the peer has opened a newer stream";
    context.TryCancel();
    stream->Finish(&status, &finished);
    EXPECT_TRUE(Eventually({&to, &from}, [&] { return written.done && finished.done; }));
  };
  if (GetParam()) {
    break_by(stub->PrepareAsyncAppendEntries(&context, &to.queue), proto::AppendEntriesRequest());
  } else {
    break_by(stub->PrepareAsyncForward(&context, &to.queue), proto::ForwardRequest());
  }
  EXPECT_EQ(from.Count<AppendLost>(), GetParam() ? 1 : 0);
  EXPECT_EQ(from.Count<ForwardLost>(), GetParam() ? 0 : 1);

  // The other stream still works.
  const int appends = to.CountMessages<raft::Message>();
  const int proposals = to.CountMessages<ForwardedProposal>();
  from.peers.Send(GetParam() ? Proposal(2, 10) : Append());
  EXPECT_TRUE(Eventually({&to, &from}, [&] {
    return GetParam() ? to.CountMessages<ForwardedProposal>() > proposals
                      : to.CountMessages<raft::Message>() > appends;
  }));
}

INSTANTIATE_TEST_SUITE_P(Either, BrokenStream, testing::Bool());

}  // namespace
}  // namespace raftkv
