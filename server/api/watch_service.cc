#include "server/api/watch_service.h"

#include <optional>
#include <utility>

namespace raftkv::api {

namespace {

// How long one Run of the hub may distribute events before the network is served again.
constexpr absl::Duration kRunMax = absl::Milliseconds(2);
constexpr size_t kRunSteps = 16'384;
// How often the reasons to end calls are checked.
constexpr absl::Duration kCheckInterval = absl::Milliseconds(100);
// As in etcd: a stream with the metadata `hasleader` ends after this number of election timeouts
// without a leader.
constexpr int kLeaderlessTimeouts = 3;

watch::HubOptions MakeOptions(const Config& config) {
  watch::HubOptions options;
  options.progress_interval = config.limits.watch_progress_notify_interval;
  options.fragment_bytes = static_cast<size_t>(config.limits.max_request_bytes) + (512 << 10);
  options.response_bytes_max = static_cast<size_t>(config.limits.max_response_bytes);
  return options;
}

}  // namespace

WatchService::WatchService(const Edge* edge) : edge_(*edge), hub_(MakeOptions(*edge->config)) {}

bool WatchService::Run(const std::shared_ptr<WatchService>& self, MonotonicTime now) {
  if (calls_.empty() && keep_alives_.empty()) {
    last_leader_ = MonotonicTime::InfinitePast();
    return false;
  }
  EndCalls(now);
  if (calls_.empty()) return false;  // no watches
  AcceptResults();
  hub_.Run(*edge_.member->Snapshot(), now,
           {.steps_max = kRunSteps,
            .out_of_time = [until = MonotonicNow() + kRunMax] { return MonotonicNow() >= until; }});
  while (std::optional<watch::CatchUp> order = hub_.TakeCatchUp()) {
    edge_.catch_up->Run([self, order = *std::move(order)] {
      const PhaseValue& phase = *self->edge_.phase;
      watch::CaughtUp result = watch::RunCatchUp(order, *self->edge_.member->Snapshot(), [&phase] {
        return phase.AtLeast(Phase::kDeclining);
      });
      absl::MutexLock lock(&self->mutex_);
      self->results_.push_back(std::move(result));
    });
  }
  for (const std::function<void()>& work : std::exchange(later_, {})) work();
  return hub_.busy() || !later_.empty();
}

void WatchService::AcceptResults() {
  std::vector<watch::CaughtUp> results;
  {
    absl::MutexLock lock(&mutex_);
    results.swap(results_);
  }
  for (watch::CaughtUp& result : results) hub_.OnCaughtUp(std::move(result));
}

// `calls_` and `keep_alives_` do not change here (WatchingCall).
void WatchService::EndCalls(MonotonicTime now) {
  if (now < next_check_) return;
  next_check_ = now + kCheckInterval;
  const bool first = last_leader_ == MonotonicTime::InfinitePast();
  if (first || edge_.member->has_leader()) last_leader_ = now;
  const bool rejected = edge_.member->rejected_by_peers();
  const bool halted = edge_.member->halted();
  const bool out_of_space = edge_.member->out_of_space();  // it takes no entries, so sees no events
  const bool leaderless =
      now - last_leader_ >= kLeaderlessTimeouts * edge_.config->election_timeout;
  const bool declining = edge_.phase->AtLeast(Phase::kDeclining);
  const auto check = [&](WatchingCall* call) {
    if (call->Abandoned(now)) {
      call->Cancel();
    } else if (declining && call->ends_at_decline()) {
      call->End(Stopping());
    } else if (rejected || halted) {
      call->End(rejected ? RejectedByPeers() : HasHalted());
    } else if (out_of_space) {
      call->End(OutOfSpace());
    } else if (leaderless && call->needs_leader()) {
      call->End(NoLeader());
    }
  };
  for (WatchingCall* call : calls_) check(call);
  for (WatchingCall* call : keep_alives_) check(call);
}

WatchingStream::WatchingStream(std::shared_ptr<WatchService> service, StreamCall* call)
    : service_(std::move(service)),
      call_(*call),
      needs_leader_(call->Metadata("hasleader") == "true") {
  const bool full = service_->full();
  service_->Add(this);
  if (!full) return;
  ended_ = true;
  call_.Finish(TooManyRequests());
}

void WatchingStream::Cancel() {
  stream_.reset();
  if (!std::exchange(ended_, true)) call_.Cancel();
}

void WatchingStream::End(const absl::Status& status) {
  stream_.reset();
  if (!std::exchange(ended_, true)) call_.Finish(status);
}

}  // namespace raftkv::api
