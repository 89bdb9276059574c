#ifndef RAFTKV_STORAGE_BASE_PUBLISHED_H_
#define RAFTKV_STORAGE_BASE_PUBLISHED_H_

// What any thread may look at of something that one thread changes: `State`, a plain value, as of
// the last Publish, and a `Pin` made of it by whoever first asks.
//
// A pin cannot be made amid a change, so whoever changes asks for it first and keeps it until
// Publish. In between everybody gets that one, and nobody waits longer than making a pin takes.

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace raftkv {

template <typename State, typename Pin>
class Published {
 public:
  // `make(state)` makes the pin if there is none; it runs under the lock.
  template <typename Make>
  std::shared_ptr<const Pin> Get(Make make) {
    absl::MutexLock lock(&mutex_);
    if (pin_ == nullptr) pin_ = make(state_);
    return pin_;
  }

  void Publish(const State& state) {
    std::shared_ptr<const Pin> before;  // let go of outside the lock
    absl::MutexLock lock(&mutex_);
    state_ = state;
    before.swap(pin_);
  }

 private:
  absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const Pin> pin_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_PUBLISHED_H_
