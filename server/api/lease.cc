// etcdserverpb.Lease. Grants, revocations and keep-alives are entries of the log; the member
// proposes keep-alives together (server/member/renewals.h). This member itself measures the
// remaining time of a lease (server/member/lessor.h).

#include <cmath>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "server/api/edge.h"
#include "server/api/lease_id.h"
#include "server/api/member_calls.h"
#include "server/api/watch_service.h"

namespace raftkv::api {

namespace {

using etcdserverpb::LeaseGrantRequest;
using etcdserverpb::LeaseGrantResponse;
using etcdserverpb::LeaseKeepAliveRequest;
using etcdserverpb::LeaseKeepAliveResponse;
using etcdserverpb::LeaseLeasesRequest;
using etcdserverpb::LeaseLeasesResponse;
using etcdserverpb::LeaseRevokeRequest;
using etcdserverpb::LeaseRevokeResponse;
using etcdserverpb::LeaseTimeToLiveRequest;
using etcdserverpb::LeaseTimeToLiveResponse;
using google::protobuf::Message;

// The limits of keep-alives that are not answered, or whose answers the client has not read: of one
// stream, and of all streams. At the first limit, the stream's next request is not read yet,
// because etcd's client library sends the keep-alives of all its leases at once. At the second, the
// stream ends.
constexpr size_t kStreamUnansweredMax = 4096;
constexpr size_t kAllUnansweredMax = 1 << 17;
constexpr size_t kStreamsMax = 16'384;

// As in etcd: no lease is shorter than one and a half election timeouts.
int64_t TtlMin(const Edge* edge) {
  return static_cast<int64_t>(
      std::ceil(1.5 * absl::ToDoubleSeconds(edge->config->election_timeout)));
}

void Grant(const Edge* edge, Unary<LeaseGrantRequest, LeaseGrantResponse> call) {
  proto::Command command;
  LeaseGrantRequest& request = *command.mutable_lease_grant();
  request.Swap(call.mutable_request());
  if (request.id() == 0) request.set_id(NewLeaseId());
  request.set_ttl(std::max(request.ttl(), TtlMin(edge)));
  Write(edge, call, &command, &proto::CommandResponse::mutable_lease_grant);
}

void Revoke(const Edge* edge, Unary<LeaseRevokeRequest, LeaseRevokeResponse> call) {
  proto::Command command;
  command.mutable_lease_revoke()->Swap(call.mutable_request());
  Write(edge, call, &command, &proto::CommandResponse::mutable_lease_revoke);
}

void TimeToLive(const Edge* edge, Unary<LeaseTimeToLiveRequest, LeaseTimeToLiveResponse> call) {
  const MonotonicTime deadline = edge->ReadDeadline(*call.get());
  const auto answer = [edge, deadline, call] {
    const std::optional<absl::Duration> left =
        edge->member->LeaseRemaining(call.request().id(), MonotonicNow());
    ReadNow(edge, deadline, call, [left](LeaseTimeToLiveResponse* response) {
      if (response->ttl() < 0) return;  // there is no such lease
      response->set_ttl(left ? absl::ToInt64Seconds(*left) : response->grantedttl());
    });
  };
  WhenUpToDate(edge, call, [edge, answer] { edge->on_loop(answer); });
}

void Leases(const Edge* edge, Unary<LeaseLeasesRequest, LeaseLeasesResponse> call) {
  Read(edge, /*serializable=*/false, call);
}

// What all streams of keep-alives hold together.
struct KeepAliveTotals {
  size_t streams = 0;
  size_t unanswered = 0;
};

// One stream of keep-alives. Each request is answered, in the order of the requests. If one cannot
// be proposed, or its fate is unknown, the stream ends with the error. The client then opens
// another stream.
class KeepAlives final : public StreamHandler, public WatchingCall {
 public:
  KeepAlives(std::shared_ptr<WatchService> service, StreamCall* stream,
             std::shared_ptr<KeepAliveTotals> totals)
      : service_(std::move(service)),
        edge_(&service_->edge()),
        stream_(stream),
        totals_(std::move(totals)),
        needs_leader_(stream->Metadata("hasleader") == "true") {
    service_->AddKeepAlives(this);
    if (++totals_->streams > kStreamsMax) End(TooManyRequests());
  }
  ~KeepAlives() override {
    service_->RemoveKeepAlives(this);
    *self_ = nullptr;
    --totals_->streams;
    totals_->unanswered -= unanswered_.size();
  }

  absl::Status OnRequest(Message* message) override {
    if (ended_) return absl::OkStatus();
    if (totals_->unanswered >= kAllUnansweredMax) return TooManyRequests();
    const int64_t id = static_cast<LeaseKeepAliveRequest*>(message)->id();
    const uint64_t number = first_ + unanswered_.size();
    unanswered_.push_back({.id = id, .renewal = {}});
    ++totals_->unanswered;
    auto done = [edge = edge_, self = self_, number](Fate fate, Renewal renewal) {
      edge->on_loop([self, number, fate, renewal] {
        if (*self != nullptr) (*self)->OnRenewed(number, fate, renewal);
      });
    };
    edge_->member->Post(RenewRequest{.id = id, .done = std::move(done)});
    return absl::OkStatus();
  }

  bool WantsRequest() const override { return unanswered_.size() < kStreamUnansweredMax; }
  bool OnLastRequest() override {
    last_ = true;
    Answer();
    return true;
  }
  void OnWritable() override { Answer(); }

  bool needs_leader() const override { return needs_leader_; }
  bool Abandoned(MonotonicTime) const override { return false; }
  void Cancel() override {
    if (!std::exchange(ended_, true)) stream_->Cancel();
  }
  void End(const absl::Status& status) override {
    if (!std::exchange(ended_, true)) stream_->Finish(status);
  }

 private:
  struct Unanswered {
    int64_t id = 0;
    std::optional<Renewal> renewal;
  };

  void OnRenewed(uint64_t number, Fate fate, Renewal renewal) {
    if (fate != Fate::kApplied) {
      proto::Command command;
      command.mutable_renew_leases();
      return End(edge_->EndOfProposal(fate, Needs(command)));
    }
    unanswered_[number - first_].renewal = renewal;
    Answer();
  }

  void Answer() {
    if (ended_) return;
    if (last_ && unanswered_.empty()) return End(absl::OkStatus());
    while (stream_->writable() && !unanswered_.empty() && unanswered_.front().renewal) {
      const Unanswered& next = unanswered_.front();
      LeaseKeepAliveResponse response;
      edge_->FillHeader(next.renewal->revision, response.mutable_header());
      response.set_id(next.id);
      response.set_ttl(next.renewal->ttl);
      unanswered_.pop_front();
      --totals_->unanswered;
      ++first_;
      stream_->Write(response, !unanswered_.empty() && unanswered_.front().renewal);
    }
  }

  const std::shared_ptr<WatchService> service_;
  const Edge* const edge_;
  StreamCall* const stream_;
  const std::shared_ptr<KeepAliveTotals> totals_;
  const bool needs_leader_;
  bool ended_ = false;
  std::deque<Unanswered> unanswered_;
  uint64_t first_ = 0;  // number of the first unanswered request
  bool last_ = false;   // the client sends no more requests
  // *self_ is null once this object is deleted. Used on the loop's thread only.
  const std::shared_ptr<KeepAlives*> self_ = std::make_shared<KeepAlives*>(this);
};

}  // namespace

void AddLease(const Edge* edge, Methods* methods) {
  Add<LeaseGrantRequest, LeaseGrantResponse>(edge, methods,
                                             {.name = "/etcdserverpb.Lease/LeaseGrant",
                                              .permission = Permission::kWrite,
                                              .handler = Grant});
  Add<LeaseRevokeRequest, LeaseRevokeResponse>(edge, methods,
                                               {.name = "/etcdserverpb.Lease/LeaseRevoke",
                                                .permission = Permission::kWrite,
                                                .handler = Revoke});
  Add<LeaseTimeToLiveRequest, LeaseTimeToLiveResponse>(
      edge, methods,
      {.name = "/etcdserverpb.Lease/LeaseTimeToLive",
       .permission = Permission::kRead,
       .handler = TimeToLive});
  Add<LeaseLeasesRequest, LeaseLeasesResponse>(edge, methods,
                                               {.name = "/etcdserverpb.Lease/LeaseLeases",
                                                .permission = Permission::kRead,
                                                .handler = Leases});
}

void AddKeepAlive(const std::shared_ptr<WatchService>& service, Methods* methods) {
  StreamMethod keep_alive;
  keep_alive.name = "/etcdserverpb.Lease/LeaseKeepAlive";
  keep_alive.permission = Permission::kWrite;
  keep_alive.request = &LeaseKeepAliveRequest::default_instance();
  keep_alive.open = [service, totals = std::make_shared<KeepAliveTotals>()](
                        StreamCall* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<KeepAlives>(service, stream, totals);
  };
  methods->streams.push_back(std::move(keep_alive));
}

}  // namespace raftkv::api
