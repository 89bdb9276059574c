#include "server/api/candidate.h"

#include "absl/strings/str_cat.h"
#include "server/api/lease_id.h"

namespace raftkv::api {

namespace {

using etcdserverpb::Compare;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

constexpr int64_t kOwnLeaseSeconds = 60;  // as etcd

// '0' follows '/', so the range holds exactly the keys that start with NAME/.
void SetCandidates(const std::string& name, RangeRequest* request) {
  request->set_key(absl::StrCat(name, "/"));
  request->set_range_end(absl::StrCat(name, "0"));
}

void AddCreatedIn(Revision revision, const std::string& key, etcdserverpb::TxnRequest* txn) {
  Compare* compare = txn->add_compare();
  compare->set_key(key);
  compare->set_target(Compare::CREATE);
  compare->set_result(Compare::EQUAL);
  compare->set_create_revision(revision);
}

void SetPut(const std::string& key, const std::string& value, int64_t lease,
            etcdserverpb::PutRequest* put) {
  put->set_key(key);
  put->set_value(value);
  put->set_lease(lease);
}

// The first version of a key is its creator's. Each other call of the lease makes a new one.
proto::Command DeleteIfNotShared(Revision created, const std::string& key) {
  proto::Command command = DeleteIfCreatedIn(created, key);
  Compare* compare = command.mutable_txn()->add_compare();
  compare->set_key(key);
  compare->set_target(Compare::VERSION);
  compare->set_result(Compare::EQUAL);
  compare->set_version(1);
  return command;
}

}  // namespace

RangeRequest FirstCandidate(const std::string& name) {
  RangeRequest request;
  SetCandidates(name, &request);
  request.set_sort_target(RangeRequest::CREATE);
  request.set_sort_order(RangeRequest::ASCEND);
  request.set_limit(1);
  return request;
}

void ReadRange(const Edge& edge, std::shared_ptr<const StateSnapshot> snapshot,
               const RangeRequest& request, std::function<bool()> give_up, RangeThen then) {
  auto response = std::make_shared<RangeResponse>();
  const absl::Status status = ReadFrom(*snapshot, request, kInlineLimits, response.get());
  if (!absl::IsResourceExhausted(status)) return then(ToWire(status), *response);
  edge.OnReaders(
      "", std::move(give_up),
      [snapshot, request, response](const Limits& limits) {
        response->Clear();
        return ReadFrom(*snapshot, request, limits, response.get());
      },
      [&edge, then, response](const absl::Status& status) {
        edge.on_loop([then, status, response] { then(status, *response); });
      });
}

proto::Command PutIfCreatedIn(Revision revision, const std::string& key, const std::string& value,
                              int64_t lease) {
  proto::Command command;
  AddCreatedIn(revision, key, command.mutable_txn());
  SetPut(key, value, lease, command.mutable_txn()->add_success()->mutable_request_put());
  return command;
}

proto::Command DeleteIfCreatedIn(Revision revision, const std::string& key) {
  proto::Command command;
  AddCreatedIn(revision, key, command.mutable_txn());
  command.mutable_txn()->add_success()->mutable_request_delete_range()->set_key(key);
  return command;
}

void Candidate::Start(std::shared_ptr<WatchService> service, Call* call, Options options,
                      Done done) {
  if (service->full()) return done(TooManyRequests(), {});
  auto candidate =
      std::make_shared<Candidate>(std::move(service), call, std::move(options), std::move(done));
  candidate->self_ = candidate;
  candidate->service_->Add(candidate.get());
  if (candidate->grants_lease_) return candidate->GrantLease();
  candidate->CreateKey();
}

Candidate::Candidate(std::shared_ptr<WatchService> service, Call* call, Options options, Done done)
    : service_(std::move(service)),
      call_(call),
      options_(std::move(options)),
      done_(std::move(done)),
      needs_leader_(call->Metadata("hasleader") == "true"),
      grants_lease_(options_.lease == 0) {
  own_.lease = options_.lease;
}

void Candidate::GrantLease() {
  proto::Command command;
  command.mutable_lease_grant()->set_id(NewLeaseId());
  command.mutable_lease_grant()->set_ttl(kOwnLeaseSeconds);
  Propose(std::move(command), [this](const ApplyResult& result) {
    own_.lease = result.response.lease_grant().id();
    CreateKey();
  });
}

void Candidate::CreateKey() {
  if (Ends()) return;
  own_.key = absl::StrCat(options_.name, "/", absl::Hex(static_cast<uint64_t>(own_.lease)));
  proto::Command command;
  etcdserverpb::TxnRequest* txn = command.mutable_txn();
  AddCreatedIn(0, own_.key, txn);
  SetPut(own_.key, options_.value, own_.lease, txn->add_success()->mutable_request_put());
  txn->add_failure()->mutable_request_range()->set_key(own_.key);
  // Put also if the value is the same: the new version tells the call that created the key that it
  // must not delete it any more.
  SetPut(own_.key, options_.value, own_.lease, txn->add_failure()->mutable_request_put());
  Propose(std::move(command),
          [this](const ApplyResult& result) { OnKey(result.response.txn(), result.revision); });
}

void Candidate::OnKey(const etcdserverpb::TxnResponse& response, Revision revision) {
  created_key_ = response.succeeded();
  // If the lease has a key already, it keeps its place among the candidates.
  own_.created =
      created_key_ ? revision : response.responses(0).response_range().kvs(0).create_revision();
  FindEarlier();
}

// This member has applied the creation of the candidate's key, so it knows all keys that were
// created before it.
void Candidate::FindEarlier() {
  if (Ends()) return;
  RangeRequest request;
  SetCandidates(options_.name, &request);
  request.set_max_create_revision(own_.created - 1);
  request.set_sort_target(RangeRequest::CREATE);
  request.set_sort_order(RangeRequest::DESCEND);
  request.set_limit(1);
  request.set_keys_only(true);
  std::shared_ptr<const StateSnapshot> snapshot = edge().member->Snapshot();
  const Revision revision = snapshot->revision();
  Read(std::move(snapshot), request,
       [self = self_, revision](const absl::Status& status, const RangeResponse& response) {
         if (!status.ok()) return self->End(status);
         if (response.kvs().empty()) return self->Confirm();
         self->WaitFor(response.kvs(0).key(), revision);
       });
}

// Waits for the deletion of `key`, which existed at `revision`.
void Candidate::WaitFor(const std::string& key, Revision revision) {
  if (Ends()) return;
  stream_ = service_->hub().Open([this] {
    service_->Later([self = self_] {
      if (self != nullptr) self->OnEvents();
    });
  });
  WatchRequest request;
  WatchCreateRequest* create = request.mutable_create_request();
  create->set_key(key);
  create->set_start_revision(revision + 1);
  create->add_filters(WatchCreateRequest::NOPUT);
  stream_->OnRequest(request, *edge().member->Snapshot(), MonotonicNow());
}

void Candidate::OnEvents() {
  if (stream_ == nullptr) return;
  while (const std::optional<WatchResponse> response = stream_->Take()) {
    if (response->events().empty() && !response->canceled()) continue;
    stream_.reset();
    // The watch is cancelled if its revision was compacted: then read again. Otherwise the hub has
    // too many watches.
    if (response->canceled() && response->compact_revision() == 0) return End(TooManyRequests());
    return FindEarlier();
  }
}

// There is no earlier key. But this member may be behind, and the candidate's key may be gone
// already. So wait until this member is up to date, then check the key.
void Candidate::Confirm() {
  if (Ends()) return;
  in_flight_ = true;
  auto done = [self = self_](Fate fate) {
    self->edge().on_loop([self, fate] {
      self->in_flight_ = false;
      if (fate != Fate::kApplied) return self->End(ReadToWire(fate));
      self->CheckOwnKey();
    });
  };
  Caller caller{.deadline = call_->deadline(), .gone = [call = call_] { return call->gone(); }};
  edge().member->Post(ReadRequest{std::move(done), std::move(caller)});
}

void Candidate::CheckOwnKey() {
  if (Ends()) return;
  RangeRequest request;
  request.set_key(own_.key);
  request.set_keys_only(true);
  Read(edge().member->Snapshot(), request,
       [self = self_](const absl::Status& status, const RangeResponse& response) {
         if (self->Ends()) return;
         if (!status.ok()) return self->End(status);
         const bool exists =
             !response.kvs().empty() && response.kvs(0).create_revision() == self->own_.created;
         if (!exists) return self->End(self->options_.lost);
         self->Finish(absl::OkStatus());
       });
}

void Candidate::Read(std::shared_ptr<const StateSnapshot> snapshot, const RangeRequest& request,
                     RangeThen then) {
  in_flight_ = true;  // so the call lives until the worker has ended the read
  auto give_up = [phase = edge().phase, call = call_] {
    return phase->AtLeast(Phase::kDraining) || call->gone() || MonotonicNow() >= call->deadline();
  };
  ReadRange(edge(), std::move(snapshot), request, std::move(give_up),
            [self = self_, then = std::move(then)](const absl::Status& status,
                                                   const RangeResponse& response) {
              self->in_flight_ = false;
              then(status, response);
            });
}

void Candidate::Propose(proto::Command command, std::function<void(ApplyResult)> next) {
  if (Ends()) return;
  in_flight_ = true;
  // The outcome is awaited even if the client's deadline is over, so that the call can delete what
  // it created. But then nothing is proposed any more.
  Caller caller{
      .gone = [call = call_] { return call->gone() || MonotonicNow() > call->deadline(); }};
  api::Propose(
      &edge(), &command, std::move(caller),
      [self = self_, next = std::move(next)](const absl::Status& status, bool, ApplyResult result) {
        self->edge().on_loop([self, next, status, result = std::move(result)] {
          self->in_flight_ = false;
          if (!status.ok()) return self->End(status);
          next(result);
        });
      });
}

bool Candidate::Abandoned(MonotonicTime now) const {
  return self_ != nullptr && !ends_.has_value() && (call_->gone() || now > call_->deadline());
}

void Candidate::End(const absl::Status& status) {
  if (self_ == nullptr) return;
  if (!ends_.has_value()) ends_ = status;
  Ends();
}

bool Candidate::Ends() {
  if (self_ == nullptr) return true;
  // Checked at each step: if a client that has gone won, its key would stay.
  if (Abandoned(MonotonicNow())) ends_ = absl::CancelledError("context canceled");
  if (!ends_.has_value()) return false;
  if (in_flight_) return true;
  // Nobody waits for these proposals. If they fail, the key lives as long as its lease.
  const auto nobody = [](const absl::Status&, bool, const ApplyResult&) {};
  if (grants_lease_ && own_.lease != 0) {
    proto::Command command;
    command.mutable_lease_revoke()->set_id(own_.lease);
    api::Propose(&edge(), &command, Caller{}, nobody);
  } else if (created_key_) {
    proto::Command command = DeleteIfNotShared(own_.created, own_.key);
    api::Propose(&edge(), &command, Caller{}, nobody);
  }
  Finish(*ends_);
  return true;
}

void Candidate::Finish(const absl::Status& status) {
  done_(status, own_);
  service_->Later([self = std::exchange(self_, nullptr)] {
    self->stream_.reset();
    self->service_->Remove(self.get());
  });
}

}  // namespace raftkv::api
