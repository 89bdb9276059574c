#include "server/workers.h"

#include <string>
#include <utility>

namespace raftkv {

Workers::Workers(int threads, size_t waiting_max) : waiting_max_(waiting_max) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

void Workers::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

bool Workers::Run(std::function<void()> work, const std::string& owner) {
  absl::MutexLock lock(&mutex_);
  if (closed_ || waiting_ >= waiting_max_) return false;
  const auto queue = queues_.find(owner);
  if (queue == queues_.end()) {
    queues_[owner].push_back(std::move(work));
    turns_.push_back(owner);
  } else if (owner.empty() || queue->second.size() < waiting_max_ / 4) {
    queue->second.push_back(std::move(work));
  } else {
    return false;
  }
  ++waiting_;
  return true;
}

void Workers::Loop() {
  for (;;) {
    std::function<void()> work;
    {
      absl::MutexLock lock(&mutex_);
      auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return closed_ || waiting_ > 0; };
      mutex_.Await(absl::Condition(&ready));
      if (waiting_ == 0) return;
      --waiting_;
      std::string owner = std::move(turns_.front());
      turns_.pop_front();
      Queue& queue = queues_[owner];
      work = std::move(queue.front());
      queue.pop_front();
      if (queue.empty()) {
        queues_.erase(owner);
      } else {
        turns_.push_back(std::move(owner));
      }
    }
    work();
  }
}

}  // namespace raftkv
