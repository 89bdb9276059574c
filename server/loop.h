#ifndef RAFTKV_SERVER_LOOP_H_
#define RAFTKV_SERVER_LOOP_H_

// The loop: one thread that collects events, runs one turn of the member for all of them, applies,
// and starts again. Batching makes it fast: a turn needs one fsync, one message to each peer and
// one batch of the state machine, however many requests it serves. The loop serves the connections
// that this member opens to peers (server/peer/channel.h). Those that clients and peers open have
// threads of their own (server/port), which pass events to it.
//
// Slow work runs on other threads: the member decides when to apply on the apply worker, and the
// API gives large reads to workers. The watchdog (watchdog.h) notices when the loop hangs.
//
// Threads: a function is called on the loop's thread, unless its comment says otherwise.

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/member/member.h"
#include "server/phase.h"
#include "server/rpc/event_queue.h"
#include "server/rpc/poller.h"
#include "server/workers.h"

namespace raftkv {

struct LoopOptions {
  absl::Duration tick = absl::Milliseconds(10);
  // Called before each turn, when what has arrived was collected.
  std::function<void(MonotonicTime now)> before_turn;
  // Called after each turn and what it applied. True: it has more to do, so the loop does not wait
  // for input.
  std::function<bool(MonotonicTime now)> after_turn;
  // Called after each part of a turn that may have answered calls (Port::SendAnswers).
  std::function<void()> send_answers = [] {};
  // Called after each run of the applier that had something to do, on the thread that ran it.
  std::function<void(absl::Duration took)> on_applied = [](absl::Duration) {};
};

class Loop {
 public:
  // All pointers must outlive the loop. `poller` watches the sockets of the loop's thread.
  Loop(LoopOptions options, Member* member, const PhaseValue* phase, Poller* poller);
  ~Loop() { Join(); }

  void Start();

  // The queues for events of clients' calls and of peers' calls. The loop takes from both in turn,
  // so that a long queue does not delay the other one. They are served until Join returns.
  EventQueue* client_calls() { return &client_calls_; }
  EventQueue* peer_calls() { return &peer_calls_; }

  // From any thread: runs `work` on the loop's thread, at once if called on that thread, else after
  // the next turn. Work that has not run when the turns end is discarded.
  void OnLoop(std::function<void()> work);
  // From another thread: returns once `condition`, which is called on the loop's thread after each
  // turn, is true, or `deadline` has passed.
  void Await(MonotonicTime deadline, const std::function<bool()>& condition);

  // From another thread: returns when all work has ended. The turns end in Phase::kStopped. Then
  // the events that are left are served.
  void Join();

  // From any thread: changes at least once a tick, unless the loop hangs.
  uint64_t rounds() const { return rounds_; }

 private:
  void RunTurns();
  void Collect();
  // Calls `work` after each turn until it returns true.
  void Repeat(std::function<bool()> work);
  void RunPosted();
  void RunApply();

  const LoopOptions options_;
  Member* const member_;
  const PhaseValue* const phase_;
  Poller* const poller_;
  EventQueue client_calls_{[this] { poller_->Wake(); }};
  EventQueue peer_calls_{[this] { poller_->Wake(); }};
  std::atomic<bool> has_new_work_{false};  // posted_ has work that was never run
  bool more_after_turn_ = false;           // what options_.after_turn returned

  absl::Mutex mutex_;
  std::list<std::function<bool()>> posted_ ABSL_GUARDED_BY(mutex_);

  std::atomic<uint64_t> rounds_{0};
  Workers applying_;  // one thread, separate from the read workers, so that reads never delay it
  std::thread thread_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_LOOP_H_
