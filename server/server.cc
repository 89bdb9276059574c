#include "server/server.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "config/url.h"
#include "config/version.h"
#include "glog/logging.h"
#include "proto/http.pb.h"
#include "server/api/edge.h"
#include "server/api/watch_service.h"
#include "server/clock.h"
#include "server/disk_readers.h"
#include "server/event_log.h"
#include "server/event_thread.h"
#include "server/events.h"
#include "server/force_new_cluster.h"
#include "server/identity.h"
#include "server/loop.h"
#include "server/member/member.h"
#include "server/metrics.h"
#include "server/options.h"
#include "server/peer/peers.h"
#include "server/phase.h"
#include "server/port/port.h"
#include "server/ports.h"
#include "server/rpc/poller.h"
#include "server/space_watch.h"
#include "server/watchdog.h"
#include "server/workers.h"
#include "storage/data_dir/data_dir.h"
#include "storage/data_dir/removal.h"

namespace raftkv {

namespace {

// At a stop: how long running requests may take, and then how long sending their answers may take.
constexpr absl::Duration kStopGrace = absl::Seconds(2);
constexpr absl::Duration kFlushAnswers = absl::Milliseconds(500);
// How long ending the streams to peers, and then those of peers, may take at a stop. A peer that is
// cut off before it has noticed takes this member for dead.
constexpr absl::Duration kFlushPeers = absl::Milliseconds(500);
// The workers of each kind that read, and the bounds of the queues of the read and walk workers.
constexpr int kReaders = 2;
constexpr size_t kReadsWaitingMax = 1024;
constexpr size_t kWalksWaitingMax = 8;
constexpr size_t kCatchUpsWaitingMax = 8;  // above HubOptions::catch_ups_max
// How often it is checked whether the streams of backups must end.
constexpr absl::Duration kBackupCheck = absl::Seconds(1);

std::vector<ListenUrl> ListenUrls(const MemberConfig& member) {
  std::vector<ListenUrl> urls = {{member.listen_peer_url, "listen_peer_url"},
                                 {member.listen_client_url, "listen_client_url"}};
  for (const std::string& url : member.listen_metrics_urls) {
    urls.push_back({url, "listen_metrics_urls"});
  }
  return urls;
}

// The error of a port on which the server cannot listen.
absl::Status CannotListen(const std::string& url, const char* key) {
  if (absl::Status why = CheckPorts({{url, key}}); !why.ok()) return why;
  return absl::FailedPreconditionError(
      absl::StrCat("cannot listen on ", HostPort(url), " (", key, "); change the URL"));
}

std::map<raft::MemberId, std::string> Names(const Config& config, const MemberConfig& self) {
  std::map<raft::MemberId, std::string> names = config.joined_names;
  if (names.empty()) {
    for (const MemberConfig& member : config.members) names[member.id] = member.name;
  }
  names[self.id] = self.name;
  return names;
}

// Adds the place and the remedy to errors of system calls.
absl::Status ExplainDataDirError(const absl::Status& error, const Config& config,
                                 const MemberConfig& self) {
  if (!absl::IsPermissionDenied(error) && !absl::IsUnavailable(error)) return error;
  const std::string place = config.path.empty() ? "" : config.path + ": ";
  const std::string permit =
      absl::IsPermissionDenied(error)
          ? absl::StrCat("let user ", getuid(), " create and write this directory, or ")
          : "";
  return absl::Status(error.code(),
                      absl::StrCat(place, "data_dir of member ", self.name, ": ", error.message(),
                                   "; ", permit, "set data_dir to another directory"));
}

// Logs the release, the member, its config file and its data directory, for operators.
void LogStart(const Config& config, const MemberConfig& self, const DataDir& data,
              const std::string& dir) {
  LOG(INFO) << "raftkv-server " << VersionText() << ": member " << self.name << " ("
            << absl::StrCat(absl::Hex(self.id)) << ") of cluster " << config.cluster_name << " ("
            << absl::StrCat(absl::Hex(config.cluster_id)) << "), "
            << (config.path.empty() ? "without a config file"
                                    : "configured by " + AbsolutePath(config.path));
  LOG(INFO) << (data.is_new ? "new data directory " : "data directory ") << dir
            << ": the log ends at index " << data.log->last_index() << ", starts at "
            << data.log->first_index() << ", and takes "
            << (data.log->DiskBytes() + (1 << 20) - 1) / (1 << 20) << " MiB";
}

}  // namespace

struct Server::Parts {
  Parts(const Config& config, size_t self, DataDir data, std::function<void()> on_removed);
  ~Parts() { phase.Set(Phase::kStopped); }

  absl::Status Listen();
  void Run();
  bool AfterTurn(MonotonicTime now);  // LoopOptions::after_turn
  void Flush() {                      // LoopOptions::send_answers
    client_port.SendAnswers();
    peers.Flush();
  }

  // The steps of a stop, in this order. Each but the first enters the phase of its name.
  void HandOver();
  void Decline();
  void Drain();
  void Close();
  void End();
  int Uncommitted() const;
  // The calls of clients that the loop's thread serves.
  int RunningCalls() { return client_port.running(loop.client_calls()) + local_calls->running(); }
  void AddMetricsPage(Methods* methods);
  void PublishMetrics();
  SnapshotHooks MakeSnapshotHooks();
  absl::StatusOr<std::unique_ptr<TakenSnapshot>> TakeSnapshot() const {
    return data_dir.states->Take(*data_dir.state);
  }

  const Config config;
  const MemberConfig& self;
  PhaseValue phase;
  DataDir data_dir;
  Poller poller;  // of the loop's thread
  Peers peers;
  Member member;
  EventLog event_log;
  Loop loop;
  Watchdog watchdog;
  std::atomic<bool> space_reported{false};  // and the loop has not handled it yet
  SpaceWatch space_watch;
  DiskReaders disk_readers;
  // Run large reads (Edge::OnReaders). The request timeout bounds each. `readers` stop before
  // `long_readers`, because they pass reads on.
  Workers long_readers;
  Workers readers;
  Workers walker;  // runs walks over the whole store, one at a time, so that they never delay reads
  Workers catch_up;     // reads what watches have missed
  EventThread backups;  // takes and sends backups
  EventThread extras;   // makes /metrics, serves reflection
  api::Counters counters;
  api::Edge edge;
  Metrics metrics;
  std::function<void(MonotonicTime now)> check_range_streams;
  std::shared_ptr<api::WatchService> watches;
  const std::shared_ptr<LocalCalls> local_calls = std::make_shared<LocalCalls>();
  bool reported_ready = false;
  MonotonicTime next_second = MonotonicTime::InfinitePast();
  port::Port peer_port;
  port::Port client_port;
};

Server::Parts::Parts(const Config& the_config, size_t index, DataDir data,
                     std::function<void()> on_removed)
    : config(the_config),
      self(config.members[index]),
      data_dir(std::move(data)),
      peers(MakePeersOptions(config, self, data_dir, MakeSnapshotHooks(),
                             [this] { peer_port.SendAnswers(); }),
            &phase, [this](Input input) { member.Post(std::move(input)); }),
      member(MakeMemberOptions(config, self, data_dir.identity, &disk_readers), data_dir.log.get(),
             data_dir.state.get(), &phase, data_dir.states.get(), &peers),
      event_log(
          EventLogger(self.id, Names(config, self), NamesIn(config), AbsolutePath(self.data_dir)),
          &peers, self.id,
          [this, on_removed = std::move(on_removed)] {
            // Another member may have told it: then its own state does not say it.
            if (absl::Status s = NoteRemoved(self.data_dir); !s.ok()) LOG(WARNING) << s.message();
            on_removed();
          }),
      loop({.tick = kTick,
            .before_turn = [this](MonotonicTime now) { peers.EndLate(now); },
            .after_turn = [this](MonotonicTime now) { return AfterTurn(now); },
            .send_answers = [this] { Flush(); },
            .on_applied = [this](absl::Duration took) { metrics.OnApplied(took); }},
           &member, &phase, &poller),
      watchdog({.election_timeout = config.election_timeout,
                .disk_stall_timeout = config.limits.disk_stall_timeout,
                .end_process = {}},
               &phase, [this] { return loop.rounds(); }),
      space_watch(
          {.dir = AbsolutePath(self.data_dir),
           .lock = data_dir.lock.get(),
           .low_bytes = static_cast<uint64_t>(config.storage.min_free_bytes)},
          [this] { return member.DiskBytes(); },
          [this](SpaceReport report) {
            if (space_reported.exchange(true)) return;
            loop.OnLoop([this, report] {
              space_reported = false;
              member.Post(report);
            });
          }),
      long_readers(kReaders, kReadsWaitingMax),
      readers(kReaders, kReadsWaitingMax),
      walker(/*threads=*/1, kWalksWaitingMax),
      catch_up(/*threads=*/1, kCatchUpsWaitingMax),
      backups(&phase),
      extras(&phase),
      edge{.config = &config,
           .self = &self,
           .member = &member,
           .phase = &phase,
           .loop_hangs = [this] { return watchdog.loop_hangs(); },
           .on_loop = [this](std::function<void()> work) { loop.OnLoop(std::move(work)); },
           .unsent_bytes = [this] { return client_port.unsent_bytes(); },
           .take_snapshot = [this] { return TakeSnapshot(); },
           .counters = &counters,
           .disk_readers = &disk_readers,
           .readers = &readers,
           .long_readers = &long_readers,
           .walker = &walker,
           .catch_up = &catch_up},
      metrics(&config, &self, &member, &counters),
      peer_port(MakePeerPortOptions()),
      client_port(MakeClientPortOptions(config)) {
  member.AddObserver(&event_log);
  member.AddObserver(&metrics);
}

SnapshotHooks Server::Parts::MakeSnapshotHooks() {
  SnapshotHooks hooks;
  hooks.take = [this] { return TakeSnapshot(); };
  hooks.receive = [this](const SnapshotManifest& m) { return data_dir.states->Receive(m); };
  hooks.accept = [this](std::unique_ptr<SnapshotWriter> writer) {
    return data_dir.states->Accept(std::move(writer));
  };
  hooks.tip_at = [this](raft::EntryId id) { return member.TipAt(id); };
  hooks.run_on_loop = [this](std::function<void()> work) { loop.OnLoop(std::move(work)); };
  return hooks;
}

absl::Status Server::Parts::Listen() {
  peer_port.Serve(peers.Rows(), loop.peer_calls());
  if (!peer_port.Listen(HostPort(self.listen_peer_url)).ok()) {
    return CannotListen(self.listen_peer_url, "listen_peer_url");
  }

  Methods methods;
  api::AddKv(&edge, &methods);
  check_range_streams = api::AddRangeStream(&edge, &methods);
  api::AddLease(&edge, &methods);
  api::AddMaintenance(&edge, &methods);
  api::AddCluster(&edge, &methods);
  watches = std::make_shared<api::WatchService>(&edge);
  api::AddWatch(watches, &methods);
  api::AddKeepAlive(watches, &methods);
  api::AddLock(watches, &methods);
  api::AddElection(watches, &methods);
  metrics.Observe(&methods);
  const auto admit = [this](Permission permission, Call* call) {
    return edge.Admit(permission, call);
  };
  local_calls->Serve(methods, loop.client_calls(), admit);
  client_port.Serve(std::move(methods), loop.client_calls(), admit);
  Methods health;
  watchdog.EachCheck([update_watches = api::AddHealth(&edge, &health),
                      end_late_pages = api::AddPages(&edge, &health)] {
    update_watches();
    end_late_pages();
  });
  metrics.Observe(&health);
  client_port.Serve(std::move(health), watchdog.health());
  Methods backup;
  backups.Each(kBackupCheck, api::AddBackup(&edge, &backup));
  metrics.Observe(&backup);
  client_port.Serve(std::move(backup), backups.events(), admit);
  if (!client_port.Listen(HostPort(self.listen_client_url)).ok()) {
    return CannotListen(self.listen_client_url, "listen_client_url");
  }
  client_port.ServeJson(api::JsonRoutes());
  Methods pages;
  AddMetricsPage(&pages);
  api::AddReflection(client_port.Served(), &pages);
  client_port.Serve(std::move(pages), extras.events());
  for (const std::string& url : self.listen_metrics_urls) {
    if (!client_port.Listen(HostPort(url), port::Port::Face::kPages).ok()) {
      return CannotListen(url, "listen_metrics_urls");
    }
  }
  return absl::OkStatus();
}

void Server::Parts::AddMetricsPage(Methods* methods) {
  using PageCall = Unary<proto::HttpRequest, proto::HttpAnswer>;
  const auto handler = [this](const api::Edge*, PageCall call) {
    if (client_port.unsent_bytes() > api::kUnsentBytesMax) {
      return call.Finish(TooManyRequests());
    }
    call.response()->set_status(200);
    call.response()->set_content_type("text/plain; version=0.0.4; charset=utf-8");
    call.response()->set_body(metrics.Text({.connections = client_port.connections(),
                                            .calls = client_port.running(),
                                            .unsent_bytes = client_port.unsent_bytes()}));
    call.Finish(absl::OkStatus());
  };
  static const std::string name = absl::StrCat(kPage, "/metrics");
  api::Add<proto::HttpRequest, proto::HttpAnswer>(&edge, methods,
                                                  {.name = name.c_str(), .handler = handler});
}

void Server::Parts::PublishMetrics() {
  const std::shared_ptr<const StateSnapshot> snapshot = member.Snapshot();
  metrics.Publish({.status = member.Status(),
                   .applied = snapshot->applied().index,
                   .revision = snapshot->revision(),
                   .compacted_revision = snapshot->compacted_revision(),
                   .members = member.members().all().size(),
                   .leases = member.leases(),
                   .watch_streams = watches->hub().streams(),
                   .watches = watches->hub().watches(),
                   .watch_bytes = watches->hub().bytes(),
                   .state_bytes = member.DiskBytes(),
                   .disk_readers_in_use = disk_readers.in_use(),
                   .log_engine = data_dir.log->Usage(),
                   .state_engine = data_dir.state->Usage()});
}

void Server::Parts::Run() {
  if (const Members& members = data_dir.state->members(); members.known()) {
    event_log.OnEvent(MembersChanged{&members});
  }
  peers.Connect(&poller);
  loop.Start();
  watchdog.Start();
  space_watch.Start();
  backups.Start();
  extras.Start();
  peer_port.Start();
  client_port.Start();
}

bool Server::Parts::AfterTurn(MonotonicTime now) {
  if (!reported_ready && member.caught_up()) {
    reported_ready = true;
    LOG(INFO) << "ready to serve client requests on " << self.listen_client_url;
  }
  if (now >= next_second) {
    next_second = now + absl::Seconds(1);
    peers.EverySecond();
    disk_readers.EverySecond();
    PublishMetrics();
  }
  check_range_streams(now);
  return watches->Run(watches, now);
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& given, size_t self,
                                                      const StartOptions& options) {
  Config config = given;
  MemberConfig& member = config.members[self];
  member.data_dir = AbsolutePath(member.data_dir);
  AddFieldOfTests();
  if (absl::Status s = CheckFileLimit(); !s.ok()) return s;
  // Check the ports first, so that a wrong URL leaves no new directory behind.
  if (absl::Status s = CheckPorts(ListenUrls(member)); !s.ok()) return s;
  if (options.force_new_cluster) {
    if (absl::Status s = MayForceNewCluster(config, member); !s.ok()) {
      return ExplainDataDirError(s, config, member);
    }
  }
  const absl::StatusOr<bool> joins = SetIds(&config, &member, options.join);
  if (!joins.ok()) return ExplainDataDirError(joins.status(), config, member);
  DataDirOptions dir_options = MakeDataDirOptions(config, member);
  dir_options.joins = *joins;
  dir_options.even_if_removed = options.force_new_cluster;
  absl::StatusOr<DataDir> data_dir = OpenDataDir(dir_options);
  if (!data_dir.ok()) return ExplainDataDirError(data_dir.status(), config, member);
  LogStart(config, member, *data_dir, dir_options.dir);
  for (const std::string& warning : data_dir->warnings) LOG(WARNING) << warning;
  if (options.join && !*joins && data_dir->log->last_index() == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        dir_options.dir,
        ": was created by a start without --join, so it belongs to another "
        "cluster, and it has no data yet; remove this directory, then start again with --join"));
  }
  if (options.force_new_cluster) {
    if (absl::Status s = ForceNewCluster(dir_options.dir, member.peer_url, &*data_dir); !s.ok())
      return s;
  }
  std::vector<std::string> differences;
  const absl::Status checked =
      CheckMembers(given, self,
                   {dir_options.dir, data_dir->identity, data_dir->state->members(),
                    data_dir->log->last_index()},
                   &differences);
  for (const std::string& difference : differences) LOG(WARNING) << difference;
  if (!checked.ok()) return checked;

  auto parts = std::make_unique<Parts>(config, self, *std::move(data_dir), options.on_removed);
  if (absl::Status status = parts->Listen(); !status.ok()) return status;
  parts->Run();
  LOG(INFO) << "listening on " << member.listen_client_url << " for clients, on "
            << member.listen_peer_url << " for peers";
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

absl::StatusOr<Server::DirectoryCheck> Server::CheckDataDirectory(const Config& given,
                                                                  size_t self) {
  Config config = given;
  MemberConfig& member = config.members[self];
  member.data_dir = AbsolutePath(member.data_dir);
  const absl::StatusOr<bool> joins = SetIds(&config, &member, /*join=*/false);
  if (!joins.ok()) return ExplainDataDirError(joins.status(), config, member);
  DataDirOptions options = MakeDataDirOptions(config, member);
  options.joins = *joins;
  absl::StatusOr<DataDirCheck> check = CheckDataDir(options);
  if (!check.ok()) return ExplainDataDirError(check.status(), config, member);
  DirectoryCheck result{std::move(check->text), std::move(check->warnings)};
  if (!check->identity) return result;
  const absl::Status members =
      CheckMembers(given, self, {options.dir, *check->identity, check->members, check->last_index},
                   &result.warnings);
  if (!members.ok()) return members;
  return result;
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

// --- stop

void Server::Stop() {
  if (parts_ == nullptr) return;
  LOG(INFO) << "stopping: finishing what is running";
  stop_step_ = "waits until another member leads";
  parts_->HandOver();
  stop_step_ = "waits for running calls";
  parts_->Decline();
  parts_->Drain();
  stop_step_ = "closes connections";
  parts_->Close();
  stop_step_ = "waits for threads that apply or read, and writes the state to the disk";
  parts_->End();
  stop_step_ = "closes the data directory";
  parts_.reset();
  LOG(INFO) << "stopped";
}

// If this member leads, another one takes over first. Meanwhile it serves as usual: writes wait for
// the new leader, to which this member then forwards them.
void Server::Parts::HandOver() {
  bool begun = false;
  loop.Await(MonotonicTime::InfiniteFuture(), [this, &begun] {
    member.HandOverLeadership();
    begun = member.handing_over();
    return true;
  });
  if (!begun) return;
  loop.Await(MonotonicNow() + config.election_timeout, [this] {
    if (member.handing_over()) return false;
    const raft::Status raft = member.Status().raft;
    if (raft.role == raft::Role::kLeader)
      LOG(WARNING) << "no other member took over within an election timeout";
    return raft.leader != raft::kNobody;
  });
}

// Declines new calls. Running ones may finish until the grace period is over. If there is no
// leader, the requests that wait for one are answered at once.
void Server::Parts::Decline() {
  client_port.Decline();  // first, so that clients whose calls are declined use another member
  phase.Set(Phase::kDeclining);
  backups.RunTaskSoon();  // it ends their streams
  loop.OnLoop(
      [this] { client_port.FinishStreams(loop.client_calls(), api::ToWire(Fate::kStopped)); });
  loop.Await(MonotonicNow() + kStopGrace, [this] {
    const MemberStatus status = member.Status();
    if (status.pending > 0 && status.raft.leader == raft::kNobody) {
      LOG(INFO) << "no leader: " << status.pending << " waiting requests are answered now";
      member.StopRequests();
    }
    return RunningCalls() + Uncommitted() == 0;
  });
}

// On a leader: the number of uncommitted entries. Peers may have forwarded some of them, and wait
// for them. When the commit index advances, the leader sends it to the peers in the same turn.
int Server::Parts::Uncommitted() const {
  const raft::Status status = member.Status().raft;
  if (status.role != raft::Role::kLeader) return 0;
  return static_cast<int>(status.last_index - status.commit_index);
}

// Answers the requests that still run.
void Server::Parts::Drain() {
  loop.OnLoop([this] {
    phase.Set(Phase::kDraining);
    member.StopRequests();
  });
  loop.Await(MonotonicNow() + kStopGrace, [this] { return RunningCalls() == 0; });
}

void Server::Parts::Close() {
  phase.Set(Phase::kClosing);
  local_calls->Close();
  client_port.Close(kFlushAnswers);
  loop.OnLoop([this] {
    peers.Stop();
    peer_port.FinishStreams(loop.peer_calls(), absl::UnavailableError(Peers::kStopping));
  });
  loop.Await(MonotonicNow() + kFlushPeers, [this] { return peers.live() == 0; });
  peer_port.Close(kFlushPeers);
  loop.OnLoop([this] { peers.Cancel(); });
  // Wait without a limit: all streams and calls are cancelled, so each ends, whatever its peer or
  // client does.
  loop.Await(MonotonicTime::InfiniteFuture(), [this] {
    return peers.live() + peer_port.running() + client_port.running() + local_calls->running() == 0;
  });
}

void Server::Parts::End() {
  phase.Set(Phase::kStopped);
  watchdog.Join();
  space_watch.Stop();
  backups.Join();
  extras.Join();
  loop.Join();
  peers.StopSnapshotThreads();
  disk_readers.Stop();
  readers.Stop();
  long_readers.Stop();
  walker.Stop();
  catch_up.Stop();
  data_dir.state->Flush();
}

Server::~Server() { Stop(); }

std::shared_ptr<LocalCalls> Server::local_calls() const { return parts_->local_calls; }

}  // namespace raftkv
