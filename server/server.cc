#include "server/server.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "glog/logging.h"
#include "server/api/edge.h"
#include "server/events.h"
#include "server/loop.h"
#include "server/member/replica.h"
#include "server/peer/peers.h"
#include "server/ports.h"
#include "server/rpc/method_table.h"
#include "server/rpc/unserved.h"
#include "storage/data_dir.h"

namespace raftkv {

namespace {

constexpr absl::Duration kTick = absl::Milliseconds(10);
// How long running requests may take when the member stops, and then their answers.
constexpr absl::Duration kStopGrace = absl::Seconds(2);
// How long refused calls are kept waiting at most, and how long no more have come when none will.
constexpr absl::Duration kHoldMax = absl::Milliseconds(400);
constexpr absl::Duration kQuiet = absl::Milliseconds(100);
constexpr absl::Duration kGoawayHeadStart = absl::Milliseconds(10);

// The end of what a port has still to send. Clients that keep an idle connection open are not
// waited for.
std::chrono::system_clock::time_point Soon() {
  return absl::ToChronoTime(absl::Now() + absl::Milliseconds(100));
}

uint64_t RandomNumber() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

int Ticks(absl::Duration duration) { return static_cast<int>(duration / kTick); }

// Keepalive and ping rules of both ports; see the two callers for what differs.
void SetPingRules(grpc::ServerBuilder* builder, int min_ping_interval_ms, int keepalive_ms,
                  int keepalive_timeout_ms) {
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port in use must be noticed
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              min_ping_interval_ms);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive_ms);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive_timeout_ms);
  builder->SetMaxSendMessageSize(INT_MAX);
}

// Methods of a gRPC server, and the queue on which new calls of them arrive.
struct Door {
  MethodTable methods;
  std::unique_ptr<grpc::ServerCompletionQueue> arrivals;

  // A queue that is seldom polled must not be given calls of methods that nobody serves.
  void Open(grpc::ServerBuilder* builder, bool often_polled) {
    builder->RegisterService(&methods);
    arrivals = builder->AddCompletionQueue(often_polled);
  }

  void Drain() {
    if (arrivals == nullptr) return;
    methods.StopListening();
    arrivals->Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (arrivals->Next(&tag, &ok)) static_cast<Completion*>(tag)->OnComplete(ok);
  }
};

absl::StatusOr<std::unique_ptr<grpc::Server>> Listen(grpc::ServerBuilder* builder,
                                                     const std::string& url, const char* key) {
  int port = 0;
  builder->AddListeningPort(HostPort(url), grpc::InsecureServerCredentials(), &port);
  std::unique_ptr<grpc::Server> server = builder->BuildAndStart();
  if (server != nullptr && port != 0) return server;
  if (absl::Status why = CheckPort(url, key); !why.ok()) return why;
  return absl::FailedPreconditionError(
      absl::StrCat("cannot listen on ", HostPort(url), " (", key, "); change the URL"));
}

ReplicaOptions MakeReplicaOptions(const Config& config, const MemberConfig& self,
                                  const Identity& identity) {
  ReplicaOptions options;
  options.store_id = identity.store_id;
  options.boot_id = RandomNumber();
  options.raft.id = self.id;
  options.raft.heartbeat_ticks = Ticks(config.heartbeat_interval);
  options.raft.election_timeout_ticks = Ticks(config.election_timeout);
  options.raft.seed = RandomNumber();
  for (const MemberConfig& member : config.members) {
    options.configuration.voters.push_back(member.id);
  }
  std::sort(options.configuration.voters.begin(), options.configuration.voters.end());
  options.tick = kTick;
  options.request_timeout = config.limits.request_timeout;
  options.pending_max = static_cast<size_t>(config.limits.max_pending_requests);
  return options;
}

PeersOptions MakePeersOptions(const Config& config, const MemberConfig& self,
                              const Identity& identity) {
  PeersOptions options;
  options.cluster_id = config.cluster_id;
  options.self = self.id;
  options.store_id = identity.store_id;
  options.vote_timeout = config.election_timeout;
  for (const MemberConfig& member : config.members) {
    if (member.id == self.id) continue;
    options.peers.push_back({member.id, member.name, HostPort(member.peer_url)});
  }
  return options;
}

std::map<raft::MemberId, std::string> Names(const Config& config) {
  std::map<raft::MemberId, std::string> names;
  for (const MemberConfig& member : config.members) names[member.id] = member.name;
  return names;
}

}  // namespace

struct Server::Parts {
  // Nothing runs any more but what still hangs in the queues.
  ~Parts() {
    for (auto* server : {&peer_server, &client_server}) {
      if (*server != nullptr) (*server)->Shutdown(std::chrono::system_clock::now());
    }
    for (Door* door : {&peer_door, &client_door, &health_door}) door->Drain();
  }

  Parts(const Config& config, size_t self, DataDir data)
      : config(config),
        self(this->config.members[self]),
        data_dir(std::move(data)),
        loop({.tick = kTick,
              .election_timeout = config.election_timeout,
              .disk_stall_timeout = config.limits.disk_stall_timeout,
              .on_ready =
                  [this] {
                    LOG(INFO) << "ready to serve client requests on "
                              << this->self.listen_client_url;
                  }},
             data_dir.state.get()),
        peers(MakePeersOptions(config, this->self, data_dir.identity),
              [this](ReplicaInput input) { loop.Post(std::move(input)); }),
        replica(
            MakeReplicaOptions(config, this->self, data_dir.identity), data_dir.log.get(),
            data_dir.state.get(), &peers, [this](ApplyTask task) { loop.Apply(std::move(task)); },
            [this, log = EventLogger(this->self.id, Names(config))](const ReplicaEvent& event) {
              if (const auto* refused = std::get_if<PeerRefused>(&event)) {
                peers.OnPeerRefused(refused->peer);
              } else {
                log(event, absl::Now());
              }
            }),
        edge{&this->config, &this->self, &loop, &replica, data_dir.state.get()} {}

  // Returns when `work` has run on the loop.
  void OnLoop(const std::function<void()>& work);
  void WaitUntilNone(absl::Duration at_most, const std::function<int()>& count);
  void FinishRunning();
  int Uncommitted() const;
  void CloseClientPort();

  const Config config;
  const MemberConfig& self;
  DataDir data_dir;
  Loop loop;
  Peers peers;
  Replica replica;
  api::Edge edge;
  Door peer_door;
  Door client_door;
  Door health_door;          // on the client port; the watchdog's
  UnservedMethods unserved;  // of the client port
  std::unique_ptr<grpc::Server> peer_server;
  std::unique_ptr<grpc::Server> client_server;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config, size_t self) {
  const MemberConfig& member = config.members[self];
  // First of all, so that a wrong URL leaves no new directory behind.
  if (auto s = CheckPort(member.listen_peer_url, "listen_peer_url"); !s.ok()) return s;
  if (auto s = CheckPort(member.listen_client_url, "listen_client_url"); !s.ok()) return s;
  absl::StatusOr<DataDir> data_dir = OpenDataDir({
      .dir = member.data_dir,
      .cluster_id = config.cluster_id,
      .cluster_name = config.cluster_name,
      .member_id = member.id,
      .member_name = member.name,
      .cache_bytes = static_cast<size_t>(config.storage.cache_bytes),
  });
  if (absl::IsPermissionDenied(data_dir.status())) {
    return absl::PermissionDeniedError(absl::StrCat(data_dir.status().message(), "; let user ",
                                                    getuid(), " write to data_dir \"",
                                                    member.data_dir, "\", or choose another one"));
  }
  if (!data_dir.ok()) return data_dir.status();
  for (const std::string& warning : data_dir->warnings) LOG(WARNING) << warning;

  auto parts = std::make_unique<Parts>(config, self, *std::move(data_dir));
  Parts& p = *parts;

  // Peers are trusted with any size; a client's request is refused by gRPC half a megabyte above
  // our own limit, as etcd does.
  grpc::ServerBuilder peer_builder;
  SetPingRules(&peer_builder, /*min_ping_interval_ms=*/500, kPeerKeepaliveMs,
               kPeerKeepaliveTimeoutMs);
  peer_builder.SetMaxReceiveMessageSize(INT_MAX);
  p.peers.Register(&p.peer_door.methods);
  p.peer_door.Open(&peer_builder, /*often_polled=*/true);

  grpc::ServerBuilder client_builder;
  SetPingRules(&client_builder, /*min_ping_interval_ms=*/5000, /*keepalive_ms=*/2 * 3600 * 1000,
               /*keepalive_timeout_ms=*/20 * 1000);
  client_builder.SetMaxReceiveMessageSize(
      static_cast<int>(config.limits.max_request_bytes + (512 << 10)));
  // gRPC would end a call with DEADLINE_EXCEEDED a little before its client gives up, and etcd's
  // client library would then repeat a write that may have happened. Call::deadline() is kept here.
  client_builder.AddChannelArgument(GRPC_ARG_ENABLE_DEADLINE_CHECKS, 0);
  Methods client_methods;
  api::AddKv(&p.edge, &client_methods);
  api::AddMaintenance(&p.edge, &client_methods);
  api::AddCluster(&p.edge, &client_methods);
  p.client_door.methods.Serve(std::move(client_methods), [&p](Permission permission, Call* call) {
    return p.edge.Admit(permission, call);
  });
  p.client_door.Open(&client_builder, /*often_polled=*/true);
  p.unserved.Register(&client_builder);
  Methods health_methods;
  api::AddHealth(&p.edge, &health_methods);
  p.health_door.methods.Serve(std::move(health_methods));
  p.health_door.Open(&client_builder, /*often_polled=*/false);

  auto peer_server = Listen(&peer_builder, member.listen_peer_url, "listen_peer_url");
  if (!peer_server.ok()) return peer_server.status();
  p.peer_server = *std::move(peer_server);
  auto client_server = Listen(&client_builder, member.listen_client_url, "listen_client_url");
  if (!client_server.ok()) return client_server.status();
  p.client_server = *std::move(client_server);

  // All calls, of both ports and to peers, complete on the client port's queue.
  grpc::ServerCompletionQueue* queue = p.client_door.arrivals.get();
  grpc::ServerCompletionQueue* health = p.health_door.arrivals.get();
  p.client_door.methods.Start({queue, queue});
  p.unserved.Start(&p.client_door.methods, queue);
  p.peer_door.methods.Start({queue, p.peer_door.arrivals.get()});
  p.health_door.methods.Start({health, health});
  p.peers.Connect(queue);
  p.loop.Start(&p.replica, {queue, p.peer_door.arrivals.get(), health});
  LOG(INFO) << "member " << member.name << " of cluster " << config.cluster_name
            << ": listening on " << member.listen_client_url << " for clients, on "
            << member.listen_peer_url << " for its peers; data in " << member.data_dir;
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

void Server::Parts::OnLoop(const std::function<void()>& work) {
  absl::Notification done;
  loop.RunOnLoop([&] {
    work();
    done.Notify();
  });
  done.WaitForNotification();
}

void Server::Parts::WaitUntilNone(absl::Duration at_most, const std::function<int()>& count) {
  const absl::Time deadline = absl::Now() + at_most;
  for (int left = 1; left > 0 && absl::Now() < deadline;) {
    OnLoop([&] { left = count(); });
  }
}

// New calls are refused; what is running finishes, or is answered after the grace period. Without
// a leader there is nothing to wait for.
void Server::Parts::FinishRunning() {
  MethodTable& calls = client_door.methods;
  OnLoop([&] {
    edge.refuses_calls = true;
    replica.RefuseForwarded();
  });
  WaitUntilNone(kStopGrace, [&] {
    if (replica.pending() > 0 && replica.leader() == raft::kNobody) {
      LOG(INFO) << "no leader: " << replica.pending() << " waiting requests are answered now";
      replica.Stop();
    }
    return calls.running() + Uncommitted();
  });
  OnLoop([this] {
    replica.Stop();
    loop.StopWaiting();
  });
  WaitUntilNone(kStopGrace, [&] { return calls.running(); });
}

// Of a leader: what others have handed to it and wait for.
int Server::Parts::Uncommitted() const {
  const raft::Status status = replica.status();
  if (status.role != raft::Role::kLeader) return 0;
  return static_cast<int>(status.last_index - status.commit_index);
}

// Once a gRPC server shuts down it cancels calls that arrive, until their client has read that it
// does (GOAWAY); and a write that was cancelled has an unknown fate. So refused calls are kept
// waiting until no more come: then each client has one here, or none has business here. They are
// answered when the GOAWAY is on its way before them. What is still cancelled: calls of clients
// that send without waiting for answers, during one round trip, and of those that were silent for
// so long that they seemed to have no business here.
void Server::Parts::CloseClientPort() {
  MethodTable& calls = client_door.methods;
  OnLoop([&calls] { calls.HoldRefused(); });
  size_t held = 0;
  const absl::Time deadline = absl::Now() + kHoldMax;
  for (absl::Time quiet = absl::Now() + kQuiet; absl::Now() < std::min(quiet, deadline);) {
    OnLoop([&] {
      if (std::exchange(held, calls.held()) != held) quiet = absl::Now() + kQuiet;
    });
  }
  std::thread shutdown([this] { client_server->Shutdown(Soon()); });
  absl::SleepFor(kGoawayHeadStart);
  OnLoop([&calls] { calls.AnswerHeld(); });
  shutdown.join();
}

void Server::Stop() {
  if (parts_ == nullptr) return;
  Parts& p = *parts_;
  LOG(INFO) << "stopping: finishing what is running";
  p.FinishRunning();
  // Followers learn with the next heartbeat what has been committed.
  const absl::Time known = absl::Now() + p.config.heartbeat_interval + 2 * kTick;
  p.CloseClientPort();
  if (p.config.members.size() > 1) absl::SleepFor(known - absl::Now());
  p.OnLoop([&p] { p.peers.Stop(); });
  p.peer_server->Shutdown(Soon());
  // Without a limit: all of them are cancelled, so each ends, whatever its peer does; and whose
  // last operation is not over yet would start another one on a queue that is gone.
  p.WaitUntilNone(absl::InfiniteDuration(), [&p] { return p.peers.live(); });
  p.loop.Stop();
  // Nothing is sent after this; what completes only frees itself.
  p.data_dir.state->Flush();
  parts_.reset();
  LOG(INFO) << "stopped";
}

Server::~Server() { Stop(); }

}  // namespace raftkv
