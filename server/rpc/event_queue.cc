#include "server/rpc/event_queue.h"

namespace raftkv {

void EventQueue::Push(absl::Span<const Event> events) {
  if (events.empty()) return;
  bool first;
  {
    absl::MutexLock lock(&mutex_);
    first = pushed_.empty();
    pushed_.insert(pushed_.end(), events.begin(), events.end());
  }
  if (first) wake_();  // otherwise the thread was woken already, and has not called RunNext yet
}

bool EventQueue::empty() {
  absl::MutexLock lock(&mutex_);
  return taken_.empty() && pushed_.empty();
}

bool EventQueue::RunNext() {
  if (taken_.empty()) {
    absl::MutexLock lock(&mutex_);
    taken_.swap(pushed_);
  }
  if (taken_.empty()) return false;
  const Event event = taken_.front();
  taken_.pop_front();
  event.completion->OnComplete(event.ok);
  return true;
}

}  // namespace raftkv
