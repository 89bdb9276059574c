// v3electionpb.Election: leader elections among clients (candidate.h). Texts are etcd's.

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "proto/etcd/v3election.pb.h"
#include "server/api/candidate.h"
#include "server/api/edge.h"
#include "server/api/member_calls.h"

namespace raftkv::api {

namespace {

using etcdserverpb::RangeResponse;
using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;
using google::protobuf::Message;
using v3electionpb::CampaignRequest;
using v3electionpb::CampaignResponse;
using v3electionpb::LeaderRequest;
using v3electionpb::LeaderResponse;
using v3electionpb::ProclaimRequest;
using v3electionpb::ProclaimResponse;
using v3electionpb::ResignRequest;
using v3electionpb::ResignResponse;

absl::Status NotTheLeader() { return absl::UnknownError("election: not leader"); }

void Campaign(const std::shared_ptr<WatchService>& service, const Edge* edge,
              Unary<CampaignRequest, CampaignResponse> call) {
  Candidate::Options options;
  options.name = call.request().name();
  options.lease = call.request().lease();
  options.value = call.request().value();
  options.lost = NotTheLeader();
  Candidate::Start(service, call.get(), std::move(options),
                   [edge, call](const absl::Status& status, const Won& won) {
                     v3electionpb::LeaderKey* leader = call.response()->mutable_leader();
                     leader->set_name(call.request().name());
                     leader->set_key(won.key);
                     leader->set_rev(won.created);
                     leader->set_lease(won.lease);
                     edge->FillHeader(edge->member->Snapshot()->revision(),
                                      call.response()->mutable_header());
                     call.Finish(status);
                   });
}

// Proposes the command, whose transaction compares the create revision of the leader's key.
// `must_lead`: it is an error if the caller does not lead any more.
template <typename Request, typename Response>
void AsLeader(const Edge* edge, Unary<Request, Response> call, proto::Command command,
              bool must_lead) {
  if (!call.request().has_leader()) {
    return call.Finish(absl::UnknownError("\"leader\" field must be provided"));
  }
  Propose(edge, &command, Edge::CallerOf(call),
          [edge, call, must_lead](absl::Status status, bool proposed, const ApplyResult& result) {
            if (!proposed) SayNotProposed(call.get());
            if (status.ok() && must_lead && !result.response.txn().succeeded()) {
              status = NotTheLeader();
            }
            edge->FillHeader(result.revision, call.response()->mutable_header());
            call.Finish(status);
          });
}

void Proclaim(const Edge* edge, Unary<ProclaimRequest, ProclaimResponse> call) {
  const v3electionpb::LeaderKey& leader = call.request().leader();
  AsLeader(edge, call,
           PutIfCreatedIn(leader.rev(), leader.key(), call.request().value(), leader.lease()),
           /*must_lead=*/true);
}

void Resign(const Edge* edge, Unary<ResignRequest, ResignResponse> call) {
  const v3electionpb::LeaderKey& leader = call.request().leader();
  AsLeader(edge, call, DeleteIfCreatedIn(leader.rev(), leader.key()), /*must_lead=*/false);
}

void Leader(const Edge* edge, Unary<LeaderRequest, LeaderResponse> call) {
  const auto answer = [edge, call] {
    std::shared_ptr<const StateSnapshot> snapshot = edge->member->Snapshot();
    const Revision revision = snapshot->revision();
    ReadRange(*edge, std::move(snapshot), FirstCandidate(call.request().name()),
              edge->GiveUpOf(call, edge->Deadline(*call.get())),
              [edge, call, revision](absl::Status status, const RangeResponse& response) {
                if (status.ok() && response.kvs().empty()) {
                  status = absl::UnknownError("election: no leader");
                }
                if (status.ok()) *call.response()->mutable_kv() = response.kvs(0);
                edge->FillHeader(revision, call.response()->mutable_header());
                call.Finish(status);
              });
  };
  WhenUpToDate(edge, call, [edge, answer] { edge->on_loop(answer); });
}

// A stream that sends the current leader's key, then each value that a leader proclaims, and each
// new leader. As in etcd: a leader that leads only for a moment may be skipped.
class Observer final : public WatchingStream {
 public:
  using WatchingStream::WatchingStream;
  ~Observer() override { *self_ = nullptr; }

  absl::Status OnRequest(Message* message) override {
    if (ended()) return absl::OkStatus();
    name_ = static_cast<LeaderRequest*>(message)->name();
    auto done = [edge = &edge(), self = self_](Fate fate) {
      edge->on_loop([self, fate] {
        if (*self == nullptr) return;
        if (fate != Fate::kApplied) return (*self)->End(ReadToWire(fate));
        (*self)->Find();
      });
    };
    edge().member->Post(ReadRequest{std::move(done)});
    return absl::OkStatus();
  }
  void OnWritable() override { Send(); }

 private:
  void Find() {
    std::shared_ptr<const StateSnapshot> snapshot = edge().member->Snapshot();
    const Revision revision = snapshot->revision();
    auto give_up = [phase = edge().phase,
                    end = MonotonicNow() + edge().config->limits.request_timeout] {
      return phase->AtLeast(Phase::kDraining) || MonotonicNow() >= end;
    };
    ReadRange(edge(), std::move(snapshot), FirstCandidate(name_), std::move(give_up),
              [self = self_, revision](const absl::Status& status, const RangeResponse& response) {
                if (*self == nullptr || (*self)->ended()) return;
                if (!status.ok()) return (*self)->End(status);
                (*self)->OnFound(response, revision);
              });
  }

  // Watches the leader's key, or, if there is no leader, waits for any candidate.
  void OnFound(const RangeResponse& found, Revision revision) {
    WatchRequest request;
    WatchCreateRequest* create = request.mutable_create_request();
    create->set_start_revision(revision + 1);
    has_leader_ = !found.kvs().empty();
    if (has_leader_) {
      const mvccpb::KeyValue& kv = found.kvs(0);
      create->set_key(kv.key());
      if (kv.mod_revision() != sent_) to_send_.push_back(kv);
      sent_ = kv.mod_revision();
    } else {
      const etcdserverpb::RangeRequest all = FirstCandidate(name_);
      create->set_key(all.key());
      create->set_range_end(all.range_end());
      create->add_filters(WatchCreateRequest::NODELETE);
    }
    // The hub calls on_ready in the middle of its work, where a stream must not be replaced.
    stream_ = service_->hub().Open([this] {
      service_->Later([self = self_] {
        if (*self != nullptr) (*self)->Send();
      });
    });
    stream_->OnRequest(request, *edge().member->Snapshot(), MonotonicNow());
    Send();
  }

  // Takes the next events only when all earlier ones were sent. So the events for a slow client
  // stay in the hub's queue, which is bounded.
  void Send() {
    while (stream_ != nullptr && to_send_.empty()) {
      std::optional<WatchResponse> response = stream_->Take();
      if (!response.has_value()) break;
      // Cancelled, but not because of a compaction: the hub has too many watches.
      if (response->canceled() && response->compact_revision() == 0) {
        return End(TooManyRequests());
      }
      if (OnEvents(*response)) {
        stream_.reset();
        return Find();
      }
    }
    if (to_send_.empty() || ended() || !call_.writable()) return;
    LeaderResponse response;
    response.mutable_kv()->Swap(&to_send_.front());
    to_send_.pop_front();
    edge().FillHeader(response.kv().mod_revision(), response.mutable_header());
    call_.Write(response, !to_send_.empty());
  }

  // True: there may be another leader.
  bool OnEvents(const WatchResponse& response) {
    if (response.canceled()) return true;
    for (const mvccpb::Event& event : response.events()) {
      if (!has_leader_ || event.type() == mvccpb::Event::DELETE) return true;
      to_send_.push_back(event.kv());
      sent_ = event.kv().mod_revision();
    }
    return false;
  }

  std::string name_;
  bool has_leader_ = false;
  Revision sent_ = 0;  // the mod revision of the newest value that was sent or is in to_send_
  std::deque<mvccpb::KeyValue> to_send_;
  // *self_ is null once this object is deleted.
  const std::shared_ptr<Observer*> self_ = std::make_shared<Observer*>(this);
};

}  // namespace

void AddElection(const std::shared_ptr<WatchService>& service, Methods* methods) {
  const Edge* edge = &service->edge();
  Add<CampaignRequest, CampaignResponse>(
      edge, methods,
      {.name = "/v3electionpb.Election/Campaign",
       .permission = Permission::kWrite,
       .handler = [service](const Edge* edge, auto call) { Campaign(service, edge, call); }});
  Add<ProclaimRequest, ProclaimResponse>(edge, methods,
                                         {.name = "/v3electionpb.Election/Proclaim",
                                          .permission = Permission::kWrite,
                                          .handler = Proclaim});
  Add<ResignRequest, ResignResponse>(edge, methods,
                                     {.name = "/v3electionpb.Election/Resign",
                                      .permission = Permission::kWrite,
                                      .handler = Resign});
  Add<LeaderRequest, LeaderResponse>(edge, methods,
                                     {.name = "/v3electionpb.Election/Leader",
                                      .permission = Permission::kRead,
                                      .handler = Leader});
  StreamMethod observe;
  observe.name = "/v3electionpb.Election/Observe";
  observe.permission = Permission::kRead;
  observe.one_request = true;
  observe.request = &LeaderRequest::default_instance();
  observe.open = [service](StreamCall* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<Observer>(service, stream);
  };
  methods->streams.push_back(std::move(observe));
}

}  // namespace raftkv::api
