#include "server/event_thread.h"

#include <utility>

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

void EventThread::RunTaskSoon() {
  absl::MutexLock lock(&mutex_);
  task_is_due_ = woken_ = true;
}

void EventThread::Run() {
  MonotonicTime next = MonotonicNow() + interval_;
  while (!phase_->AtLeast(Phase::kStopped)) {
    const bool due = Wait(next);
    events_.RunNext();
    const MonotonicTime now = MonotonicNow();
    if (!due && now < next) continue;
    next = now + interval_;
    if (task_) task_();
  }
}

bool EventThread::Wait(MonotonicTime until) {
  const bool idle = events_.empty();
  absl::MutexLock lock(&mutex_);
  if (idle) mutex_.AwaitWithTimeout(absl::Condition(&woken_), until - MonotonicNow());
  woken_ = false;
  return std::exchange(task_is_due_, false);
}

void EventThread::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

}  // namespace raftkv
