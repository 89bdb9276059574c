#ifndef RAFTKV_SERVER_PHASE_H_
#define RAFTKV_SERVER_PHASE_H_

// The phases of a member's stop. The server owns one value, which only moves forward (Server::Stop
// lists the steps). Every class that behaves differently during a stop reads it.

#include <atomic>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace raftkv {

enum class Phase {
  // Normal operation.
  kServing,
  // A stop has begun. Clients were told to make new calls elsewhere. New calls of clients, and
  // proposals that peers forward, are declined, so that they are sent to another member. Running
  // requests may finish. Health checks are answered NOT_SERVING.
  kDeclining,
  // The grace period is over. Requests that are still running are answered "server stopped", and
  // the workers end their work for clients.
  kDraining,
  // The ports close: nothing is sent to peers any more, and streams with them end.
  kClosing,
  // Nothing is in flight. The threads end, and calls that still arrive are dropped.
  kStopped,
};

// From any thread.
class PhaseValue {
 public:
  Phase get() const { return phase_.load(std::memory_order_acquire); }
  bool AtLeast(Phase phase) const { return get() >= phase; }

  void Set(Phase phase) {
    absl::MutexLock lock(&mutex_);
    phase_.store(phase, std::memory_order_release);
  }
  // Returns once AtLeast(phase) is true or `timeout` is over.
  void Await(Phase phase, absl::Duration timeout) const {
    const auto reached = [this, phase] { return AtLeast(phase); };
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&reached), timeout);
  }

 private:
  mutable absl::Mutex mutex_;  // only for Await; reading the phase takes no lock
  std::atomic<Phase> phase_{Phase::kServing};
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PHASE_H_
