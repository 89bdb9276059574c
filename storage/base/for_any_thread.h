#ifndef RAFTKV_STORAGE_BASE_FOR_ANY_THREAD_H_
#define RAFTKV_STORAGE_BASE_FOR_ANY_THREAD_H_

// A shared object that any thread may get, and that one thread replaces at times. Threads that got
// the old object keep it.

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace raftkv {

template <typename T>
class ForAnyThread {
 public:
  explicit ForAnyThread(std::shared_ptr<T> object) : object_(std::move(object)) {}

  std::shared_ptr<T> Get() const {
    absl::MutexLock lock(&mutex_);
    return object_;
  }
  void Set(std::shared_ptr<T> object) {
    absl::MutexLock lock(&mutex_);
    object_.swap(object);  // parameters are destroyed after locals: the old one outlives the lock
  }

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<T> object_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_FOR_ANY_THREAD_H_
