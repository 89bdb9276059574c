#ifndef RAFTKV_STORAGE_BASE_PUBLISHED_H_
#define RAFTKV_STORAGE_BASE_PUBLISHED_H_

// Lets any thread read an object that one thread, the writer, changes. The writer publishes
// `State`, a plain value, after each change. The first reader after that makes a `Pin` from it: an
// immutable snapshot, for example a view of the database. Later readers share the same pin.
//
// A pin cannot be made in the middle of a change. So the writer calls Get before it begins a change
// and keeps the pin until it calls Publish. Meanwhile all readers get that pin. A reader waits at
// most while one pin is being made.

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace raftkv {

template <typename State, typename Pin>
class Published {
 public:
  // Returns the current pin. If there is none, `make(state)` makes it, under the lock.
  template <typename Make>
  std::shared_ptr<const Pin> Get(Make make) {
    absl::MutexLock lock(&mutex_);
    if (pin_ == nullptr) pin_ = make(state_);
    return pin_;
  }

  void Publish(const State& state) {
    std::shared_ptr<const Pin> before;  // destroyed after the lock is released
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
