#ifndef RAFTKV_TESTS_PEER_NODE_H_
#define RAFTKV_TESTS_PEER_NODE_H_

// The transport of one member with a real port on loopback, and messages to send through it.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "proto/command.pb.h"
#include "proto/raft.grpc.pb.h"
#include "server/clock.h"
#include "server/peer/peers.h"
#include "server/port/port.h"
#include "server/rpc/event_queue.h"
#include "server/rpc/poller.h"
#include "tests/storage/testing.h"

namespace raftkv {

inline constexpr uint64_t kCluster = 77;

struct Node;
// Polls the nodes until the condition holds. False: it does not within 20 seconds.
inline bool Eventually(const std::vector<Node*>& nodes, const std::function<bool()>& condition);

// The peer port of one member, and the inputs that its member would get.
struct Node {
  // `members`: the other members as the log has them at the start. None: it does not have them.
  Node(raft::MemberId self, PeerAddress other, const PeersOptions& options = {},
       const std::optional<std::vector<PeerAddress>>& members = std::nullopt)
      : peers(Options(self, std::move(other), options, Snapshots(options.snapshots)), &phase,
              [this](Input input) { inputs.push_back(std::move(input)); }) {
    port.Serve(peers.Rows(), &calls);
    EXPECT_TRUE(port.Listen("127.0.0.1:0").ok());
    address = absl::StrCat("127.0.0.1:", port.port());
    port.Start();
    if (members) peers.SetPeers(*members);
    peers.Connect(&poller);
  }

  ~Node() {
    phase.Set(Phase::kClosing);
    Stop();
    peers.Cancel();
    EXPECT_TRUE(Eventually({this}, [this] { return live() == 0; }))
        << live() << " streams do not end";
    phase.Set(Phase::kStopped);
    queue.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue.Next(&tag, &ok)) static_cast<Completion*>(tag)->OnComplete(ok);
  }

  // In Phase::kClosing.
  void Stop() {
    peers.Stop();
    port.FinishStreams(&calls, absl::UnavailableError(Peers::kStopping));
    port.Close(absl::Milliseconds(20));
  }

  // The streams and calls that are open, ours and those that peers opened.
  int live() const { return peers.live() + port.running(); }

  static PeersOptions Options(raft::MemberId self, PeerAddress other, PeersOptions options,
                              SnapshotHooks snapshots) {
    if (options.cluster_id == 0) options.cluster_id = kCluster;
    options.self = self;
    options.store_id = std::string(16, static_cast<char>('0' + self));
    options.boot_id = 100 + self;
    options.peers = {std::move(other)};
    options.snapshots = std::move(snapshots);
    return options;
  }

  // A snapshot that arrives is written to a temporary directory, and accepted without a check.
  SnapshotHooks Snapshots(SnapshotHooks hooks) {
    hooks.receive = [this](const SnapshotManifest& manifest) {
      return SnapshotWriter::Create(dir / absl::StrCat("snapshot", ++snapshots), manifest);
    };
    hooks.accept = [](std::unique_ptr<SnapshotWriter> writer)
        -> absl::StatusOr<std::unique_ptr<ReceivedSnapshot>> {
      return std::make_unique<ReceivedSnapshot>(writer->manifest().base, raft::Configuration());
    };
    hooks.run_on_loop = [this](std::function<void()> more) {
      absl::MutexLock lock(&mutex);
      work.push_back(std::move(more));
    };
    return hooks;
  }

  void Poll() {
    void* tag = nullptr;
    bool ok = false;
    std::vector<std::function<void()>> now;
    {
      absl::MutexLock lock(&mutex);
      now.swap(work);
    }
    for (const auto& w : now) w();
    peers.Flush();
    poller.Wait(absl::Milliseconds(2), [this] { return !calls.empty(); });
    while (calls.RunNext()) {
    }
    while (queue.AsyncNext(&tag, &ok, gpr_inf_past(GPR_CLOCK_MONOTONIC)) ==
           grpc::CompletionQueue::GOT_EVENT) {
      static_cast<Completion*>(tag)->OnComplete(ok);
    }
    peers.Flush();
    peers.EndLate(MonotonicNow());
  }

  template <typename Kind>
  int Count() const {
    int count = 0;
    for (const Input& input : inputs) count += std::holds_alternative<Kind>(input);
    return count;
  }
  template <typename Body>
  int CountMessages() const {
    int count = 0;
    for (const Input& input : inputs) {
      const auto* message = std::get_if<PeerMessage>(&input);
      count += message != nullptr && std::holds_alternative<Body>(message->body);
    }
    return count;
  }

  TempDir dir;
  int snapshots = 0;
  absl::Mutex mutex;
  std::vector<std::function<void()>> work;  // from other threads
  std::vector<Input> inputs;
  PhaseValue phase;
  Poller poller;
  Peers peers;
  grpc::CompletionQueue queue;  // of what the test opens
  EventQueue calls{[this] { poller.Wake(); }};
  port::Port port{{.connection = {.for_peers = true}}};
  std::string address;
};

inline bool Eventually(const std::vector<Node*>& nodes, const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    for (Node* node : nodes) node->Poll();
  }
  return true;
}

inline const PeerAddress kNobodyThere = {2, "n2", "127.0.0.1:1"};

inline PeerMessage Proposal(uint64_t number, size_t bytes) {
  proto::Command command;
  command.mutable_origin()->set_member_id(1);
  command.mutable_put()->set_key("k");
  command.mutable_put()->set_value(std::string(bytes, 'v'));
  return {{.id = 1}, 2, ForwardedProposal{number, raft::Payload(command.SerializeAsString())}};
}

inline PeerMessage Append() {
  raft::AppendEntries append;
  append.entries.push_back({{1, 1}, raft::EntryType::kNoOp, {}});
  return {{.id = 1}, 2, raft::Message{1, 2, /*term=*/1, std::move(append)}};
}
inline PeerMessage Heartbeat() {
  return {{.id = 1}, 2, raft::Message{1, 2, /*term=*/1, raft::AppendEntries{}}};
}

inline proto::Peer Who(uint64_t cluster, uint64_t from, uint64_t to, const std::string& store_id) {
  proto::Peer peer;
  peer.set_cluster_id(cluster);
  peer.set_from(from);
  peer.set_to(to);
  peer.set_store_id(store_id);
  return peer;
}

// A gRPC server on loopback with a service that plays n2. As the last member of that service it is
// destroyed first, and then no call runs.
struct ServerOfN2 {
  explicit ServerOfN2(proto::Raft::Service* service) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);  // it tolerates our keepalives
    builder.RegisterService(service);
    server = builder.BuildAndStart();
    address = {2, "n2", absl::StrCat("127.0.0.1:", port)};
  }
  // Ends the calls that still run.
  ~ServerOfN2() { server->Shutdown(std::chrono::system_clock::now()); }

  std::unique_ptr<grpc::Server> server;
  PeerAddress address;
};

// A call of the test.
struct Ended final : Completion {
  void OnComplete(bool) override { done = true; }
  bool done = false;
};

// Sends Hello to the node's port, and returns with what status it was answered. If the node does
// not reject it, its member gives `answer`.
inline grpc::Status SayHello(Node* node, const proto::HelloRequest& request,
                             const HelloReply& answer = {}) {
  const auto stub =
      proto::Raft::NewStub(grpc::CreateChannel(node->address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  proto::HelloResponse response;
  grpc::Status status;
  Ended ended;
  auto reader = stub->AsyncHello(&context, request, &node->queue);
  reader->Finish(&response, &status, &ended);
  EXPECT_TRUE(Eventually({node}, [&] {
    node->peers.Send({{.id = request.peer().to()}, request.peer().from(), answer});
    return ended.done;
  }));
  return status;
}

}  // namespace raftkv

#endif  // RAFTKV_TESTS_PEER_NODE_H_
