// grpc.health.v1: tells load balancers and orchestrators whether to send requests to this member.
// Runs on the watchdog's thread, so that a member whose disk hangs can still answer.

#include <memory>
#include <optional>
#include <set>

#include "proto/etcd/health.pb.h"
#include "server/api/edge.h"

namespace raftkv::api {

namespace {

using google::protobuf::Message;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListRequest;
using grpc::health::v1::HealthListResponse;

constexpr size_t kWatchersMax = 1024;

HealthCheckResponse::ServingStatus StatusOf(const Edge* edge) {
  const bool serving = edge->member->has_leader() && !edge->member->rejected_by_peers() &&
                       !edge->member->lost_entries() && !edge->member->halted() &&
                       !edge->member->out_of_space() && !edge->loop_hangs() &&
                       !edge->phase->AtLeast(Phase::kDeclining);
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

void Check(const Edge* edge, Unary<HealthCheckRequest, HealthCheckResponse> call) {
  if (!call.request().service().empty()) {
    call.Finish(absl::NotFoundError("unknown service"));
    return;
  }
  call.response()->set_status(StatusOf(edge));
  call.Finish(absl::OkStatus());
}

// As in etcd, the only service is the server as a whole.
void List(const Edge* edge, Unary<HealthListRequest, HealthListResponse> call) {
  (*call.response()->mutable_statuses())[""].set_status(StatusOf(edge));
  call.Finish(absl::OkStatus());
}

class Watch;
using Watches = std::set<Watch*>;  // all open streams

// One stream of Watch. Sends the status at once, then after each change. For an unknown service it
// sends SERVICE_UNKNOWN, as the protocol demands.
class Watch final : public StreamHandler {
 public:
  Watch(const Edge* edge, std::shared_ptr<Watches> watches, StreamCall* stream)
      : edge_(edge), watches_(std::move(watches)), stream_(stream) {
    watches_->insert(this);
  }
  ~Watch() override { watches_->erase(this); }

  absl::Status OnRequest(Message* message) override {
    if (watches_->size() > kWatchersMax) return TooManyRequests();
    known_service_ = static_cast<HealthCheckRequest*>(message)->service().empty();
    Update();
    return absl::OkStatus();
  }

  void OnWritable() override { Update(); }

  // Sends the status if it has changed.
  void Update() {
    if (!known_service_ || !stream_->writable()) return;
    const auto status = *known_service_ ? StatusOf(edge_) : HealthCheckResponse::SERVICE_UNKNOWN;
    if (sent_ == status) {
      if (edge_->phase->AtLeast(Phase::kDraining)) stream_->Finish(ToWire(Fate::kStopped));
      return;
    }
    sent_ = status;
    HealthCheckResponse response;
    response.set_status(status);
    stream_->Write(response, /*more_follow=*/false);
  }

 private:
  const Edge* const edge_;
  const std::shared_ptr<Watches> watches_;
  StreamCall* const stream_;
  std::optional<bool> known_service_;  // set by the request
  std::optional<HealthCheckResponse::ServingStatus> sent_;
};

}  // namespace

std::function<void()> AddHealth(const Edge* edge, Methods* methods) {
  Add<HealthCheckRequest, HealthCheckResponse>(
      edge, methods, {.name = "/grpc.health.v1.Health/Check", .handler = Check});
  Add<HealthListRequest, HealthListResponse>(
      edge, methods, {.name = "/grpc.health.v1.Health/List", .handler = List});

  auto watches = std::make_shared<Watches>();
  StreamMethod watch;
  watch.name = "/grpc.health.v1.Health/Watch";
  watch.one_request = true;
  watch.request = &HealthCheckRequest::default_instance();
  watch.open = [edge, watches](StreamCall* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<Watch>(edge, watches, stream);
  };
  methods->streams.push_back(std::move(watch));
  return [watches] {
    for (Watch* watch : *watches) watch->Update();
  };
}

}  // namespace raftkv::api
