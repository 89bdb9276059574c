#include "server/event_thread.h"

#include "server/clock.h"

namespace raftkv {

void EventThread::Start() {
  thread_ = std::thread([this] { Run(); });
}

void EventThread::Join() {
  Wake();
  if (thread_.joinable()) thread_.join();
  while (events_.RunNext()) {
  }
}

void EventThread::Run() {
  MonotonicTime next = MonotonicNow() + interval_;
  while (!phase_->AtLeast(Phase::kStopped)) {
    if (events_.empty()) {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&woken_), next - MonotonicNow());
      woken_ = false;
    }
    events_.RunNext();
    if (MonotonicNow() < next) continue;
    next = MonotonicNow() + interval_;
    if (task_) task_();
  }
}

void EventThread::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

}  // namespace raftkv
