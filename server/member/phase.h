#ifndef RAFTKV_SERVER_MEMBER_PHASE_H_
#define RAFTKV_SERVER_MEMBER_PHASE_H_

// How far the stop of a member has come. The server keeps one value; whoever behaves differently
// during a stop reads it. It only moves forward.

#include <atomic>

namespace raftkv {

enum class Phase {
  // Requests are admitted.
  kServing,
  // A stop has begun. New calls of clients, and proposals that peers forward, are declined, so that
  // clients and peers turn to another member. Requests that are running finish. Health says
  // NOT_SERVING.
  kDeclining,
  // The grace period is over. Requests that are still running are answered "server stopped", and
  // work for clients on other threads ends.
  kDraining,
  // Nothing is sent to peers any more. Their streams have ended.
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
