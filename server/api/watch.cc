// etcdserverpb.Watch. Connects the streams of clients with the hub (server/watch/hub.h). The hub
// does all the work except sending. All code here runs on the loop's thread, except catch-ups: a
// worker reads the store for them.

#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "server/api/edge.h"
#include "server/watch/hub.h"

namespace raftkv::api {

namespace {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;
using google::protobuf::Message;

constexpr size_t kStreamsMax = 16'384;
// How long one Run of the hub may distribute events before the network is served again.
constexpr absl::Duration kRunMax = absl::Milliseconds(2);
constexpr size_t kRunSteps = 16'384;
// How often the reasons to end streams are checked.
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

class WatchCall;

// The hub and the code that calls it. Owned by the streams, the workers' tasks and the loop
// together.
class WatchService {
 public:
  explicit WatchService(const Edge* edge) : edge_(*edge), hub_(MakeOptions(*edge->config)) {}

  // Call it after each turn of the member. True: call it again at once, because there is more to
  // do.
  bool Run(const std::shared_ptr<WatchService>& self, MonotonicTime now);

  const Edge& edge() const { return edge_; }
  watch::Hub& hub() { return hub_; }
  std::set<WatchCall*>& calls() { return calls_; }

 private:
  void EndStreams(MonotonicTime now);
  void AcceptResults();

  const Edge& edge_;
  watch::Hub hub_;
  std::set<WatchCall*> calls_;  // all open streams
  MonotonicTime next_check_ = MonotonicTime::InfinitePast();
  MonotonicTime last_leader_ = MonotonicTime::InfinitePast();  // when a leader was known last

  absl::Mutex mutex_;
  std::vector<watch::CaughtUp> results_ ABSL_GUARDED_BY(mutex_);  // from the workers
};

class WatchCall final : public StreamHandler {
 public:
  WatchCall(std::shared_ptr<WatchService> service, Stream* call)
      : service_(std::move(service)),
        call_(*call),
        needs_leader_(call->Metadata("hasleader") == "true") {
    if (service_->hub().streams() >= kStreamsMax) {
      call_.Finish(TooManyRequests());
      return;
    }
    stream_ = service_->hub().Open([this] { Send(); });
    service_->calls().insert(this);
  }
  ~WatchCall() override { service_->calls().erase(this); }

  bool OnLastRequest() override { return true; }  // as in etcd, the watches go on
  bool WantsRequest() const override { return stream_ == nullptr || stream_->WantsRequest(); }

  absl::Status OnRequest(Message* message) override {
    if (stream_ == nullptr) return absl::OkStatus();
    stream_->OnRequest(*static_cast<WatchRequest*>(message), *service_->edge().member->Snapshot(),
                       MonotonicNow());
    Send();
    return absl::OkStatus();
  }

  void OnWritable() override { Send(); }

  bool needs_leader() const { return needs_leader_; }
  bool Stalled(MonotonicTime now) const { return stream_ != nullptr && stream_->Stalled(now); }
  // Frees what is queued, without waiting for a client that does not read.
  void Cancel() {
    stream_.reset();
    call_.Cancel();
  }
  void Finish(const absl::Status& status) {
    stream_.reset();
    call_.Finish(status);
  }

 private:
  void Send() {
    if (stream_ == nullptr || !call_.writable()) return;
    std::optional<WatchResponse> response = stream_->Take();
    if (!response.has_value()) return;
    etcdserverpb::ResponseHeader* header = response->mutable_header();
    service_->edge().FillHeader(header->revision(), header);
    call_.Write(*response, stream_->has_response());
  }

  const std::shared_ptr<WatchService> service_;
  Stream& call_;
  const bool needs_leader_;
  std::unique_ptr<watch::Stream> stream_;  // null once the call ends
};

bool WatchService::Run(const std::shared_ptr<WatchService>& self, MonotonicTime now) {
  if (calls_.empty()) {  // a loop without watches costs nothing
    last_leader_ = MonotonicTime::InfinitePast();
    return false;
  }
  EndStreams(now);
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
  return hub_.busy();
}

void WatchService::AcceptResults() {
  std::vector<watch::CaughtUp> results;
  {
    absl::MutexLock lock(&mutex_);
    results.swap(results_);
  }
  for (watch::CaughtUp& result : results) hub_.OnCaughtUp(std::move(result));
}

// Neither Finish nor Cancel deletes a call at once, so `calls_` does not change here.
void WatchService::EndStreams(MonotonicTime now) {
  if (now < next_check_) return;
  next_check_ = now + kCheckInterval;
  const bool first = last_leader_ == MonotonicTime::InfinitePast();
  if (first || edge_.member->has_leader()) last_leader_ = now;
  const bool rejected = edge_.member->rejected_by_peers();
  const bool halted = edge_.member->halted();
  const bool leaderless =
      now - last_leader_ >= kLeaderlessTimeouts * edge_.config->election_timeout;
  for (WatchCall* call : calls_) {
    if (call->Stalled(now)) {
      call->Cancel();
    } else if (rejected || halted) {
      call->Finish(rejected ? RejectedByPeers() : HasHalted());
    } else if (leaderless && call->needs_leader()) {
      call->Finish(NoLeader());
    }
  }
}

}  // namespace

std::function<bool(MonotonicTime)> AddWatch(const Edge* edge, Methods* methods) {
  auto service = std::make_shared<WatchService>(edge);
  StreamMethod watch;
  watch.name = "/etcdserverpb.Watch/Watch";
  watch.permission = Permission::kRead;
  watch.request = &WatchRequest::default_instance();
  watch.open = [service](Stream* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<WatchCall>(service, stream);
  };
  methods->streams.push_back(std::move(watch));
  return [service](MonotonicTime now) { return service->Run(service, now); };
}

}  // namespace raftkv::api
