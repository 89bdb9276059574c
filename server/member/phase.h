#ifndef RAFTKV_SERVER_MEMBER_PHASE_H_
#define RAFTKV_SERVER_MEMBER_PHASE_H_

// The phases of a member's stop. The server owns one value, which only moves forward. Every class
// that behaves differently during a stop reads it.

#include <atomic>

namespace raftkv {

enum class Phase {
  // Normal operation.
  kServing,
  // A stop has begun. New calls of clients, and proposals that peers forward, are declined, so that
  // clients and peers turn to another member. Running requests may finish. Health checks are
  // answered NOT_SERVING.
  kDeclining,
  // The grace period is over. Requests that are still running are answered "server stopped", and
  // the workers end their work for clients.
  kDraining,
  // Nothing is sent to peers any more, and streams with them end.
  kStopped,
};

// From any thread.
class PhaseValue {
 public:
  Phase get() const { return phase_.load(std::memory_order_acquire); }
  void Set(Phase phase) { phase_.store(phase, std::memory_order_release); }
  bool AtLeast(Phase phase) const { return get() >= phase; }

 private:
  std::atomic<Phase> phase_{Phase::kServing};
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_PHASE_H_
