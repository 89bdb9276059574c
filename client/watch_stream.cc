#include "client/watch_stream.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/clock.h"
#include "client/convert.h"
#include "client/failure.h"

namespace raftkv::client {
namespace {

using etcdserverpb::WatchRequest;

constexpr char kWatchCall[] = "Watch.Watch";
constexpr char kCompacted[] = "etcdserver: mvcc: required revision has been compacted";
// The pause between two failed attempts to create the watch. After a stream that worked, the first
// attempt starts at once.
constexpr absl::Duration kBackoffMin = absl::Milliseconds(20);
constexpr absl::Duration kBackoffMax = absl::Seconds(1);
// The interval at which a pause between attempts is interrupted, to check whether Cancel was
// called.
constexpr absl::Duration kPoll = absl::Milliseconds(100);
// After this time without a connection, the next endpoint starts to connect too.
constexpr absl::Duration kNextEndpointDelay = absl::Milliseconds(50);
// The first endpoint has 1 / kAttemptShare of request_timeout to create the watch.
constexpr int kAttemptShare = 8;

}  // namespace

Watcher::Impl::Impl(const Options* options, const std::vector<std::unique_ptr<Endpoint>>* endpoints,
                    size_t first, etcdserverpb::WatchCreateRequest request,
                    const std::stop_token& cancel)
    : endpoints_(*endpoints),
      endpoint_(first % endpoints->size()),
      options_(*options),
      request_(std::move(request)),
      next_revision_(request_.start_revision()),
      backoff_(kBackoffMin),
      attempt_limit_(options->request_timeout / kAttemptShare) {
  on_stop_.emplace(cancel, CancelIt{this});
}

Watcher::Impl::~Impl() {
  Close();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

void Watcher::Impl::Cancel() {
  cancelled_ = true;
  absl::MutexLock lock(&mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

bool Watcher::Impl::Wait(void* tag, MonotonicTime deadline, bool* ok) {
  void* got = nullptr;
  while (queue_.AsyncNext(&got, ok, ForGrpc(deadline)) == grpc::CompletionQueue::GOT_EVENT) {
    if (got == tag) return true;
    if (got == &writing_) writing_ = false;
    if (got == &wake_) wake_is_set_ = false;
    if (got == &writing_ || got == &wake_) SendProgressRequest();
  }
  return false;
}

void Watcher::Impl::RequestProgress() {
  progress_wanted_ = true;
  if (!wake_is_set_.exchange(true)) wake_.Set(&queue_, gpr_now(GPR_CLOCK_MONOTONIC), &wake_);
}

void Watcher::Impl::SendProgressRequest() {
  if (!created_ || writing_ || !progress_wanted_.exchange(false)) return;
  WatchRequest request;
  request.mutable_progress_request();
  ++progress_sent_;
  writing_ = true;
  call_->Write(request, &writing_);
}

// Ends the call, if there is one.
void Watcher::Impl::Close() {
  if (call_ == nullptr) return;
  bool ok = false;
  {
    absl::MutexLock lock(&mutex_);
    context_->TryCancel();
  }
  created_ = false;  // so no progress request follows
  if (std::exchange(reading_, false)) Wait(&response_, MonotonicTime::InfiniteFuture(), &ok);
  grpc::Status ignored;
  Finish(&ignored);
}

void Watcher::Impl::Finish(grpc::Status* status) {
  created_ = false;
  if (std::exchange(progress_sent_, 0) > 0) progress_wanted_ = true;
  bool ok = false;
  call_->Finish(status, this);
  Wait(this, MonotonicTime::InfiniteFuture(), &ok);
  if (std::exchange(writing_, false)) Wait(&writing_, MonotonicTime::InfiniteFuture(), &ok);
  call_.reset();
  if (options_.on_call_end != nullptr) {
    options_.on_call_end(
        {.method = kWatchCall,
         .status = status->ok() ? absl::OkStatus() : ToError(*status, address_, kWatchCall),
         .took = Now() - begin_,
         .attempts = 1,
         .endpoint = address_});
  }
  absl::MutexLock lock(&mutex_);
  context_.reset();
}

Watcher::Impl::Step Watcher::Impl::End(absl::Status why) {
  over_ = std::move(why);
  return Step::kOver;
}

Watcher::Impl::Step Watcher::Impl::Connect(MonotonicTime deadline) {
  while (Now() < retry_at_) {
    if (cancelled_) return Step::kOver;
    if (Now() >= deadline) return Step::kDeadline;
    bool ok = false;
    Wait(nullptr, std::min({deadline, retry_at_, Now() + kPoll}), &ok);
  }
  // The pause is divided among the endpoints. It is doubled after each round over all of them.
  retry_at_ = Now() + backoff_ / static_cast<int64_t>(endpoints_.size());
  if (++attempts_ % endpoints_.size() == 0) {
    backoff_ = std::min(2 * backoff_, kBackoffMax);
    attempt_limit_ = std::min(2 * attempt_limit_, options_.request_timeout);
  }
  connection_ = ConnectToFirst(deadline);
  if (cancelled_) return Step::kOver;
  if (connection_ != nullptr) return Open();
  if (last_error_.ok()) last_error_ = NobodyReachable();
  retry_at_ = Now() + backoff_;
  return Now() >= deadline ? Step::kDeadline : Step::kGoOn;
}

std::shared_ptr<Connection> Watcher::Impl::ConnectToFirst(MonotonicTime deadline) {
  const size_t count = endpoints_.size(), first = endpoint_;
  std::map<size_t, ConnectAttempt> attempts;  // by the index of the endpoint
  size_t started = 0;
  MonotonicTime start_at = Now();  // the next attempt
  while (!cancelled_) {
    if (started < count && (attempts.empty() || Now() >= start_at)) {
      const size_t i = (first + started++) % count;
      attempts.try_emplace(i, endpoints_[i].get(),
                           std::min(deadline, Now() + options_.dial_timeout));
      start_at = Now() + kNextEndpointDelay;
    }
    for (auto it = attempts.begin(); it != attempts.end();) {
      auto& [i, attempt] = *it;
      const ConnectAttempt::State state = attempt.Check();
      if (state == ConnectAttempt::State::kReady) {
        endpoint_ = (i + 1) % count;
        return attempt.connection();
      }
      it = state == ConnectAttempt::State::kFailed ? attempts.erase(it) : std::next(it);
    }
    if (attempts.empty() && started == count) return nullptr;
    for (auto& [i, attempt] : attempts) attempt.NotifyOnChange(&queue_, &attempts);
    bool ok = false;
    for (size_t n = attempts.size(); n > 0; --n) {
      Wait(&attempts, MonotonicTime::InfiniteFuture(), &ok);  // some milliseconds
    }
  }
  return nullptr;
}

Watcher::Impl::Step Watcher::Impl::Open() {
  address_ = connection_->address;
  const bool others = endpoints_.size() > 1;
  give_up_at_ = others ? Now() + attempt_limit_ : MonotonicTime::InfiniteFuture();
  auto context = std::make_unique<grpc::ClientContext>();
  context->AddMetadata("hasleader", "true");  // a member without a leader ends the stream
  call_ =
      etcdserverpb::Watch::NewStub(connection_->channel)->PrepareAsyncWatch(context.get(), &queue_);
  {
    absl::MutexLock lock(&mutex_);
    context_ = std::move(context);
    if (cancelled_) context_->TryCancel();
  }
  created_ = false;
  fragments_.Clear();
  bool ok = false;
  begin_ = Now();
  call_->StartCall(&call_);
  Wait(&call_, MonotonicTime::InfiniteFuture(), &ok);
  if (!ok) return Broken();
  WatchRequest request;
  *request.mutable_create_request() = request_;
  request.mutable_create_request()->set_start_revision(next_revision_);
  call_->Write(request, &call_);
  Wait(&call_, MonotonicTime::InfiniteFuture(), &ok);
  return ok ? Step::kGoOn : Broken();
}

Watcher::Impl::Step Watcher::Impl::Broken() {
  grpc::Status status;
  Finish(&status);
  if (cancelled_) return Step::kOver;
  last_error_ = status.ok() ? absl::UnavailableError(absl::StrCat(address_, " ended the watch"))
                            : ToError(status, address_, kWatchCall);
  if (!IsRejection(status.error_code())) {
    refused_ = 0;
    return Step::kGoOn;
  }
  if (Judge(Kind::kRead, status) != Verdict::kTryNext) return End(last_error_);
  if (++refused_ < endpoints_.size()) retry_at_ = MonotonicTime::InfinitePast();
  return Step::kGoOn;
}

Watcher::Impl::Step Watcher::Impl::Read(MonotonicTime deadline) {
  if (!std::exchange(reading_, true)) call_->Read(&response_, &response_);
  bool ok = false;
  if (!Wait(&response_, created_ ? deadline : std::min(deadline, give_up_at_), &ok)) {
    if (created_ || Now() >= deadline) return Step::kDeadline;
    refused_ = 0;
    last_error_ = absl::DeadlineExceededError(absl::StrCat("no answer from ", address_));
    Close();
    return Step::kGoOn;
  }
  reading_ = false;
  return ok ? Step::kGoOn : Broken();
}

std::optional<WatchBatch> Watcher::Impl::Take() {
  etcdserverpb::WatchResponse response = std::move(response_);
  response_.Clear();
  if (response.compact_revision() != 0) {
    compact_revision_ = response.compact_revision();
    End(absl::OutOfRangeError(kCompacted));
    return std::nullopt;
  }
  if (response.canceled()) {
    const std::string& reason = response.cancel_reason();
    End(reason == kCompacted ? absl::OutOfRangeError(reason)
                             : absl::FailedPreconditionError(
                                   reason.empty() ? "the service cancelled the watch" : reason));
    return std::nullopt;
  }
  if (response.created()) {
    created_ = true;
    refused_ = 0;
    backoff_ = kBackoffMin;
    attempt_limit_ = options_.request_timeout / kAttemptShare;
    retry_at_ = MonotonicTime::InfinitePast();
    last_error_ = absl::OkStatus();
    if (next_revision_ == 0) next_revision_ = response.header().revision() + 1;
    SendProgressRequest();
    return std::nullopt;
  }
  fragments_.mutable_events()->MergeFrom(response.events());
  if (response.fragment()) return std::nullopt;
  response.mutable_events()->Swap(fragments_.mutable_events());
  fragments_.Clear();
  // With events, the header may have a newer revision than the last event: etcd sends the events of
  // a watch that is behind in several batches, all with its newest revision. Without events, the
  // watch has caught up.
  const int64_t reached = response.events().empty()
                              ? response.header().revision()
                              : response.events().rbegin()->kv().mod_revision();
  next_revision_ = std::max(next_revision_, reached + 1);
  if (response.events().empty()) {
    const bool asked = progress_sent_ > 0;
    if (asked) --progress_sent_;
    if (!asked && !request_.progress_notify()) return std::nullopt;
  }
  return FromProto(std::move(response));
}

absl::Status Watcher::Impl::NobodyReachable() const {
  std::vector<std::string> all;
  for (const auto& endpoint : endpoints_) all.push_back(endpoint->address());
  return Unreachable(absl::StrJoin(all, ", "));
}

absl::Status Watcher::Impl::WhyNot(Step step, MonotonicTime deadline) const {
  if (cancelled_) return absl::CancelledError("the watch was cancelled");
  if (step == Step::kOver) return over_;
  if (!last_error_.ok()) return last_error_;
  return absl::DeadlineExceededError(absl::StrCat(
      "nothing from ", address_, " until ", absl::FormatTime(absl::Now() + (deadline - Now()))));
}

// Returns the next batch. With `until_created`: returns an empty batch once the watch is created.
absl::StatusOr<WatchBatch> Watcher::Impl::Run(MonotonicTime deadline, bool until_created) {
  for (;;) {
    if (cancelled_ || !over_.ok()) return WhyNot(Step::kOver, deadline);
    if (until_created && call_ != nullptr && created_) return WatchBatch();
    const bool refused = refused_ >= endpoints_.size();
    if (until_created && (refused || NeverSent(last_error_))) return last_error_;
    Step step = Step::kGoOn;
    if (call_ == nullptr) step = Connect(deadline);
    if (step == Step::kGoOn && call_ != nullptr) {
      step = Read(deadline);
      if (step == Step::kGoOn && call_ != nullptr) {
        if (std::optional<WatchBatch> batch = Take()) return *std::move(batch);
      }
    }
    if (step != Step::kGoOn) return WhyNot(step, deadline);
  }
}

absl::Status Watcher::Impl::Start(MonotonicTime deadline) {
  return Run(deadline, /*until_created=*/true).status();
}

absl::StatusOr<WatchBatch> Watcher::Impl::Next(MonotonicTime deadline) {
  absl::StatusOr<WatchBatch> batch = Run(deadline, /*until_created=*/false);
  if (batch.ok() || cancelled_ || !over_.ok()) return batch;
  return absl::DeadlineExceededError(batch.status().message());
}

Watcher::Watcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Watcher::~Watcher() = default;
absl::StatusOr<WatchBatch> Watcher::Next(absl::Time deadline) {
  return impl_->Next(FromWallClock(deadline));
}
void Watcher::Cancel() { impl_->Cancel(); }
void Watcher::RequestProgress() { impl_->RequestProgress(); }
int64_t Watcher::next_revision() const { return impl_->next_revision(); }
int64_t Watcher::compact_revision() const { return impl_->compact_revision(); }

}  // namespace raftkv::client
