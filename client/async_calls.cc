#include "client/async_calls.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace raftkv::client {

struct AsyncCalls::Call : public FailoverCall {
  Call(FailoverOptions options, const std::vector<std::unique_ptr<Endpoint>>& endpoints,
       size_t first, grpc::ByteBuffer request, grpc::CompletionQueue* queue, Done done)
      : FailoverCall(std::move(options), endpoints, first, request, queue),
        done(std::move(done)),
        bytes(request.Length()) {}

  Done done;  // null after it was called
  const size_t bytes;
  MonotonicTime due = MonotonicTime::InfiniteFuture();  // in due_ unless infinite
};

AsyncCalls::AsyncCalls() : thread_([this] { Run(); }) {}

void AsyncCalls::End() {
  absl::MutexLock lock(&mutex_);
  closing_ = true;
  for (Call* call : undecided_) call->Cancel();
  mutex_.Await(absl::Condition(this, &AsyncCalls::Idle));
}

AsyncCalls::~AsyncCalls() {
  End();
  queue_.Shutdown();
  thread_.join();
}

void AsyncCalls::Start(FailoverOptions options,
                       const std::vector<std::unique_ptr<Endpoint>>& endpoints, size_t first,
                       absl::StatusOr<grpc::ByteBuffer> request, Done done) {
  absl::MutexLock lock(&mutex_);
  if (closing_) request = absl::CancelledError("the call was cancelled");
  if (request.ok() && (calls_ >= kCallsMax || bytes_ + request->Length() > kBytesMax)) {
    request = absl::ResourceExhaustedError(absl::StrCat("the client has ", calls_,
                                                        " calls in flight, with ", bytes_,
                                                        " bytes; start more when some have ended"));
  }
  Call* const call =
      new Call(std::move(options), endpoints, first, request.ok() ? *request : grpc::ByteBuffer(),
               &queue_, std::move(done));
  if (!request.ok()) call->Decide(request.status());
  ++calls_;
  bytes_ += call->bytes;
  started_.push_back(call);
  undecided_.insert(call);
  if (!std::exchange(wake_is_set_, true)) {
    wake_.Set(&queue_, gpr_inf_past(GPR_CLOCK_MONOTONIC), &wake_);
  }
}

void AsyncCalls::Run() {
  for (;;) {
    const MonotonicTime until =
        due_.empty() ? MonotonicTime::InfiniteFuture() : due_.begin()->first;
    void* tag = nullptr;
    bool ok = false;
    const auto next = queue_.AsyncNext(&tag, &ok, ForGrpc(until));
    if (next == grpc::CompletionQueue::SHUTDOWN) return;
    if (next == grpc::CompletionQueue::TIMEOUT) {
      Advance(due_.begin()->second);
      continue;
    }
    // Always, because the event may be the cancellation of a call that was just started.
    TakeStarted(/*woken=*/tag == &wake_);
    if (tag != &wake_) Advance(static_cast<Call*>(FailoverCall::Handle(tag)));
  }
}

void AsyncCalls::TakeStarted(bool woken) {
  std::vector<Call*> started;
  {
    absl::MutexLock lock(&mutex_);
    if (woken) wake_is_set_ = false;
    started.swap(started_);
  }
  for (Call* call : started) Advance(call);
}

void AsyncCalls::Advance(Call* call) {
  SetDue(call, call->Advance());
  if (call->decided() && call->done != nullptr) {
    {
      absl::MutexLock lock(&mutex_);
      undecided_.erase(call);
    }
    call->Abandon();
    std::exchange(call->done, nullptr)(*call);
  }
  if (!call->decided() || !call->over()) return;
  absl::MutexLock lock(&mutex_);
  --calls_;
  bytes_ -= call->bytes;
  delete call;
}

void AsyncCalls::SetDue(Call* call, MonotonicTime due) {
  if (call->due != MonotonicTime::InfiniteFuture()) due_.erase({call->due, call});
  call->due = due;
  if (due != MonotonicTime::InfiniteFuture()) due_.insert({due, call});
}

}  // namespace raftkv::client
