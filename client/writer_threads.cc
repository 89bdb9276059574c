#include "client/writer_threads.h"

#include <utility>

namespace raftkv::client {

void WriterThreads::Stop() {
  closing_.request_stop();
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    threads = std::move(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

bool WriterThreads::Run(size_t bytes, Write write) {
  {
    absl::MutexLock lock(&mutex_);
    if (!closed_) {
      if (waiting_.size() >= kWaitingMax || waiting_bytes_ + bytes > kBytesMax) return false;
      waiting_.push_back({bytes, std::move(write)});
      waiting_bytes_ += bytes;
      if (waiting_.size() > idle_ && threads_.size() < kThreadsMax) {
        threads_.emplace_back([this] { Loop(); });
      }
      return true;
    }
  }
  write(closing_.get_token());
  return true;
}

void WriterThreads::Loop() {
  mutex_.Lock();
  for (;;) {
    ++idle_;
    mutex_.Await(absl::Condition(this, &WriterThreads::HasWork));
    --idle_;
    if (waiting_.empty()) break;
    Item item = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= item.bytes;
    mutex_.Unlock();
    item.write(closing_.get_token());
    item.write = nullptr;  // destroyed without the lock
    mutex_.Lock();
  }
  mutex_.Unlock();
}

}  // namespace raftkv::client
