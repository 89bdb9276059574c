#include "client/failover_call.h"

#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/raftkv.h"

namespace raftkv::client {
namespace {

// If a target is not connected after this time, the next target starts to connect as well. Within a
// data centre, connecting takes less time. Over longer distances an unneeded connection may be
// made, which does no harm.
constexpr absl::Duration kConnectDelay = absl::Milliseconds(50);

}  // namespace

FailoverCall::FailoverCall(FailoverOptions options,
                           const std::vector<std::unique_ptr<Endpoint>>& endpoints, size_t first,
                           grpc::ByteBuffer request, grpc::CompletionQueue* queue)
    : options_(std::move(options)),
      path_(absl::StrCat("/etcdserverpb.", absl::StrReplaceAll(options_.name, {{".", "/"}}))),
      request_(std::move(request)),
      first_(first),
      begin_(Now()),
      deadline_(begin_ + options_.timeout),
      queue_(queue),
      cancel_event_{.call = this, .target = 0, .attempt = nullptr},
      maybe_applied_(options_.maybe_applied),
      next_first_(first) {
  for (size_t i = 0; i < endpoints.size(); ++i) {
    targets_.push_back({.endpoint = endpoints[(first + i) % endpoints.size()].get(),
                        .connect_event = {.call = this, .target = i, .attempt = nullptr}});
  }
}

void FailoverCall::Run() {
  notify_time_ = ConnectAttempt::kNotifyTime;
  void* tag = nullptr;
  bool ok = false;
  for (;;) {
    const MonotonicTime until = Advance();
    if (decided()) break;
    if (queue_->AsyncNext(&tag, &ok, ForGrpc(until)) == grpc::CompletionQueue::GOT_EVENT) {
      Handle(tag);
    }
  }
  Abandon();
  while (!over()) {
    queue_->Next(&tag, &ok);
    Handle(tag);
  }
}

MonotonicTime FailoverCall::Advance() {
  if (!decided() && !on_stop_.has_value()) on_stop_.emplace(options_.cancel, CancelIt{this});
  if (cancelled_ && !decided()) OnCancelled();
  if (decided()) return MonotonicTime::InfiniteFuture();
  const MonotonicTime until = StartDueConnects();
  if (!decided() && pending_events_ == 0) result_ = WithOutcome(NoTargetLeft());
  return until;
}

FailoverCall* FailoverCall::Handle(void* tag) {
  const Event& event = *static_cast<Event*>(tag);
  FailoverCall* const call = event.call;
  if (&event == &call->cancel_event_) {
    call->cancel_handled_ = true;
    return call;
  }
  --call->pending_events_;
  if (event.attempt != nullptr) {
    call->OnCompleted(*event.attempt);
  } else if (!call->decided()) {
    call->OnConnectEvent(call->targets_[event.target]);
  }
  return call;
}

void FailoverCall::Abandon() {
  on_stop_.reset();  // waits for a Cancel that runs
  for (const auto& attempt : attempts_) {
    if (!attempt->done) attempt->context.TryCancel();
  }
}

void FailoverCall::Cancel() {
  if (!cancelled_.exchange(true)) {
    cancel_alarm_.Set(queue_, gpr_inf_past(GPR_CLOCK_MONOTONIC), &cancel_event_);
  }
}

void FailoverCall::OnCancelled() {
  const absl::Status cancelled = absl::CancelledError("the call was cancelled");
  const bool may_happen = options_.kind != Kind::kRead && in_flight_ > 0;
  Finish(may_happen ? UnknownOutcome(cancelled) : cancelled, first_);
}

// A write of a session that has failed may have been applied by an attempt without an answer.
absl::StatusOr<grpc::ByteBuffer> FailoverCall::WithOutcome(
    absl::StatusOr<grpc::ByteBuffer> result) const {
  const absl::Status& status = result.status();
  if (result.ok() || AnswerLost(status) || OutcomeUnknown(status) || !maybe_applied_) return result;
  return UnknownOutcome(status);
}

MonotonicTime FailoverCall::StartDueConnects() {
  for (;;) {
    const MonotonicTime now = Now();
    // From the deadline on, nothing is started: requests in flight end by their own deadline.
    if (now >= deadline_) return MonotonicTime::InfiniteFuture();
    if (!MaySend(now))
      return options_.kind != Kind::kWrite ? NextHedgeAt() : MonotonicTime::InfiniteFuture();
    auto target =
        std::find_if(targets_.begin(), targets_.end(), [](const Target& t) { return !t.tried; });
    if (target != targets_.end()) {
      const MonotonicTime due = last_connect_ + kConnectDelay;
      if (connecting_ > 0 && now < due) return due;
      Connect(*target, now);
      continue;
    }
    MonotonicTime at;
    Target* const again = TargetToRetry(now, &at);
    if (again == nullptr) return at;
    retried_ = true;
    Connect(*again, now);
  }
}

bool FailoverCall::MaySend(MonotonicTime now) const {
  if (now >= deadline_) return false;
  if (attempts_.empty()) return true;
  if (options_.kind != Kind::kWrite) return in_flight_ == 0 || now >= NextHedgeAt();
  // The next endpoint may take as long to reject the write as the ones before. If the deadline came
  // before its answer, the outcome would be unknown, although it is certain now that the write has
  // failed. So at least as much time must be left as has passed.
  return in_flight_ == 0 && deadline_ - now >= now - begin_;
}

// All hedges start within the first quarter of the patience, at equal distances. With two
// endpoints the only hedge starts after an eighth.
MonotonicTime FailoverCall::NextHedgeAt() const {
  const size_t waits = std::max<size_t>(2, targets_.size() - 1);
  return begin_ + options_.patience / 4 / static_cast<int64_t>(waits) *
                      static_cast<int64_t>(attempts_.size());
}

// Returns the target that gets the request a second time: the first one that the request was sent
// to. This is done once, when nothing is in flight any more or half of the patience is
// over. Returns null if there is no such target now; `*at` is then the time to ask again.
FailoverCall::Target* FailoverCall::TargetToRetry(MonotonicTime now, MonotonicTime* at) {
  *at = MonotonicTime::InfiniteFuture();
  if (retried_ || connecting_ > 0) return nullptr;
  if (in_flight_ > 0) {
    // If there is only one endpoint and it is slow, a second request would make it slower.
    if (targets_.size() > 1) *at = begin_ + options_.patience / 2;
    if (now < *at) return nullptr;
  }
  const auto sent = std::find_if(targets_.begin(), targets_.end(),
                                 [](const Target& t) { return t.sent && !t.waited; });
  return sent == targets_.end() ? nullptr : &*sent;
}

void FailoverCall::Connect(Target& target, MonotonicTime now) {
  last_connect_ = now;
  target.tried = true;
  target.connecting = std::make_unique<ConnectAttempt>(
      target.endpoint, std::min(deadline_, now + options_.dial_timeout));
  ++connecting_;
  OnConnectEvent(target);
}

void FailoverCall::OnConnectEvent(Target& target) {
  const ConnectAttempt::State state = target.connecting->Check();
  const bool wanted = MaySend(Now());
  if (state == ConnectAttempt::State::kConnecting && wanted) {
    target.connecting->NotifyOnChange(queue_, &target.connect_event, notify_time_);
    ++pending_events_;
    return;
  }
  if (state != ConnectAttempt::State::kFailed) {
    if (wanted) Send(target);
    target.tried = wanted;  // if another target was faster, this one may be tried again later
  }
  --connecting_;
  target.connecting = nullptr;
}

void FailoverCall::Send(Target& target) {
  target.sent = true;
  attempts_.push_back(std::make_unique<Attempt>());
  Attempt& attempt = *attempts_.back();
  attempt.completed_event = {
      .call = this, .target = target.connect_event.target, .attempt = &attempt};
  attempt.connection = target.connecting->connection();
  for (const auto& [key, value] : options_.metadata) attempt.context.AddMetadata(key, value);
  attempt.context.set_deadline(ForGrpc(deadline_));
  attempt.reader = grpc::GenericStub(attempt.connection->channel)
                       .PrepareUnaryCall(&attempt.context, path_, request_, queue_);
  attempt.reader->StartCall();
  attempt.reader->Finish(&attempt.response, &attempt.status, &attempt.completed_event);
  ++in_flight_;
  ++pending_events_;
}

void FailoverCall::OnCompleted(Attempt& attempt) {
  attempt.done = true;
  --in_flight_;
  if (decided()) return;
  Target& target = targets_[attempt.completed_event.target];
  const size_t number = first_ + attempt.completed_event.target;
  const bool timed_out = attempt.status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (!timed_out) answered_ = target.endpoint->address();
  if (attempt.status.ok()) {
    if (IsReduced(attempt.context)) return Finish(LostAnswer(), number);
    return Finish(std::move(attempt.response), number);
  }
  if (attempt.status.error_message() == "etcdserver: request timed out") target.waited = true;
  if (timed_out) {
    target.timed_out = true;
  } else {
    last_error_ = ToError(attempt.status, target.endpoint->address(), options_.name);
  }
  switch (VerdictOn(attempt)) {
    case Verdict::kDefinite:
      return Finish(last_error_, number);
    case Verdict::kUnknown:
      return Finish(UnknownOutcome(timed_out ? NoResponse() : last_error_), number + 1);
    case Verdict::kTryNext:
      // Whether or not this call succeeds elsewhere, the next call starts with another endpoint.
      next_first_ = (number + 1) % targets_.size();
      if (AllWaited()) Finish(last_error_, number + 1);
  }
}

Verdict FailoverCall::VerdictOn(const Attempt& attempt) {
  if (NeverProposed(attempt.context)) return Verdict::kTryNext;
  const Verdict verdict = Judge(options_.kind, attempt.status);
  if (options_.kind != Kind::kSessionWrite || verdict == Verdict::kTryNext) return verdict;
  if (verdict == Verdict::kUnknown) {
    maybe_applied_ = true;
    return Verdict::kTryNext;
  }
  if (Decided(attempt.context)) {
    maybe_applied_ = false;
    return Verdict::kDefinite;
  }
  // The error is about this attempt only. After "session expired" no attempt has an effect.
  maybe_applied_ |= in_flight_ > 0;
  return maybe_applied_ && !IsSessionExpired(last_error_) ? Verdict::kTryNext : Verdict::kDefinite;
}

// Every endpoint was tried, and each that got the request has waited for the cluster without
// success.
bool FailoverCall::AllWaited() const {
  return connecting_ == 0 &&
         std::all_of(targets_.begin(), targets_.end(), [](const Target& t) { return t.tried; }) &&
         std::all_of(attempts_.begin(), attempts_.end(),
                     [this](const auto& a) { return targets_[a->completed_event.target].waited; });
}

void FailoverCall::Finish(absl::StatusOr<grpc::ByteBuffer> result, size_t next_first) {
  result_ = WithOutcome(std::move(result));
  next_first_ = next_first % targets_.size();
}

absl::Status FailoverCall::NoTargetLeft() const {
  if (!last_error_.ok()) return last_error_;
  if (!attempts_.empty()) return NoResponse();
  std::vector<std::string> all;
  for (const Target& target : targets_) all.push_back(target.endpoint->address());
  std::string addresses = absl::StrJoin(all, ", ");
  // Say how long the call waited, unless every endpoint failed at once.
  const absl::Duration limit = std::min(options_.dial_timeout, options_.timeout);
  if (Now() - begin_ >= limit) {
    absl::StrAppend(&addresses, " within ", absl::FormatDuration(limit));
  }
  return Unreachable(addresses);
}

absl::Status FailoverCall::NoResponse() const {
  std::vector<std::string> silent;
  for (const Target& target : targets_) {
    if (target.timed_out) silent.push_back(target.endpoint->address());
  }
  return absl::DeadlineExceededError(absl::StrCat("no answer from ", absl::StrJoin(silent, ", "),
                                                  " within ",
                                                  absl::FormatDuration(options_.timeout)));
}

}  // namespace raftkv::client
