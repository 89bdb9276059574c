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

void WriterThreads::Run(Write write) {
  {
    absl::MutexLock lock(&mutex_);
    if (!closed_) {
      waiting_.push_back({std::move(write), /*too_many=*/waiting_.size() >= kWaitingMax});
      if (waiting_.size() > idle_ && threads_.size() < kThreadsMax) {
        threads_.emplace_back([this] { Loop(); });
      }
      return;
    }
  }
  write(/*too_many=*/false, closing_.get_token());
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
    mutex_.Unlock();
    item.write(item.too_many, closing_.get_token());
    mutex_.Lock();
  }
  mutex_.Unlock();
}

}  // namespace raftkv::client
