#include "tests/bench/lone_server.h"

#include <sys/socket.h>

#include <utility>

#include "glog/logging.h"
#include "server/clock.h"
#include "server/options.h"
#include "server/port/port.h"
#include "tests/bench/stopped_clock.h"

namespace raftkv {
namespace {

// Without random numbers, because of which counts would differ, and without flushes.
MemberOptions FixedOptions(const Config& config, const Identity& identity) {
  MemberOptions options = MakeMemberOptions(config, config.members[0], identity, nullptr);
  options.replica.boot_id = 1;
  options.replica.raft.seed = 1;
  options.flush_interval = absl::InfiniteDuration();
  return options;
}

DataDir OpenData(const Config& config) {
  StopClock();
  absl::StatusOr<DataDir> data_dir = OpenDataDir(MakeDataDirOptions(config, config.members[0]));
  CHECK(data_dir.ok()) << data_dir.status();
  return *std::move(data_dir);
}

}  // namespace

Config LoneConfig(const std::string& data_dir) {
  Config config = DefaultConfig();
  config.members[0].data_dir = data_dir;
  return config;
}

LoneServer::LoneServer(const Config& config)
    : config_(config),
      self_(config_.members[0]),
      data_dir_(OpenData(config_)),
      member_(FixedOptions(config_, data_dir_.identity), data_dir_.log.get(), data_dir_.state.get(),
              &phase_, data_dir_.states.get(), &no_peers_),
      commands_(port::PortOptions().request_bytes_max,
                static_cast<int64_t>(port::ConnectionLimits().message_bytes_max)),
      // Without workers: no request here is so large that it needs one.
      edge_{.config = &config_,
            .self = &self_,
            .member = &member_,
            .phase = &phase_,
            .loop_hangs = [] { return false; },
            .on_loop = [](const std::function<void()>& work) { work(); },
            .unsent_bytes = [this] { return commands_.unsent_bytes.load(); },
            .take_snapshot = {},
            .counters = &counters_,
            .disk_readers = &disk_readers_},
      metrics_(&config_, &self_, &member_, &counters_),
      watches_(std::make_shared<api::WatchService>(&edge_)) {
  member_.AddObserver(&metrics_);
  api::AddKv(&edge_, &group_.methods);
  api::AddLease(&edge_, &group_.methods);
  api::AddWatch(watches_, &group_.methods);
  api::AddKeepAlive(watches_, &group_.methods);
  metrics_.Observe(&group_.methods);
  group_.events = &events_;
  group_.admission = [this](Permission p, Call* call) { return edge_.Admit(p, call); };
  group_.command_queue = &commands_;
  for (const UnaryMethod& method : group_.methods.unary) unary_[method.name] = &method;
  for (const StreamMethod& method : group_.methods.streams) streams_[method.name] = &method;
  Pass(absl::Seconds(10));  // an election, and the member's first commands: the members, its name
  CHECK(member_.caught_up() && member_.idle());
}

LoneServer::~LoneServer() {
  connection_.reset();
  RunEvents();
}

int LoneServer::Connect() {
  int ends[2];
  PCHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  port::Router* const router = this;
  connection_ = std::make_unique<port::Http2Connection>(ends[1], "127.0.0.1:40000",
                                                        MakeClientPortOptions(config_).connection,
                                                        router, MonotonicNow());
  return ends[0];
}

absl::Status LoneServer::Open(const std::shared_ptr<port::GrpcStream>& stream) {
  if (const auto unary = unary_.find(stream->method); unary != unary_.end()) {
    stream->owner = NewUnaryOwner(&group_, unary->second, stream);
    return absl::OkStatus();
  }
  const auto method = streams_.find(stream->method);
  CHECK(method != streams_.end()) << stream->method;
  stream->owner = NewStreamOwner(&group_, method->second, stream);
  return absl::OkStatus();
}

void LoneServer::Pass(absl::Duration time) {
  for (const MonotonicTime end = MonotonicNow() + time; MonotonicNow() < end;) {
    AdvanceClock(kTick);
    member_.Turn(MonotonicNow());
    Apply();
  }
}

void LoneServer::RunEvents() {
  events_.Push(group_.new_events);
  group_.new_events.clear();
  while (events_.RunNext()) {
  }
}

void LoneServer::Apply() {
  const MonotonicTime begin = MonotonicNow();
  const ApplyPlan plan = member_.PlanApply(begin);
  if (plan == ApplyPlan::kNothing) return;
  CHECK(plan == ApplyPlan::kHere) << "nothing here is expensive";
  member_.Apply(plan, BudgetBetweenTurns([begin] { return MonotonicNow() > begin; }));
  metrics_.OnApplied(MonotonicNow() - begin);
}

void LoneServer::Answer() {
  commands_.SendHeld();
  for (port::StreamCommand& command : commands_.Take()) connection_->Execute(&command);
  CHECK(connection_->Write(MonotonicNow()));
  CHECK(!connection_->unwritten());
}

void LoneServer::Serve() {
  CHECK(connection_->Read(MonotonicNow()));
  for (bool more = true; more;) {
    RunEvents();
    Answer();
    member_.Turn(MonotonicNow());
    Apply();
    Answer();
    more = watches_->Run(watches_, MonotonicNow());
    Answer();
    more |= !member_.idle() || !events_.empty() || !group_.new_events.empty();
  }
}

}  // namespace raftkv
