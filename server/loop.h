#ifndef RAFTKV_SERVER_LOOP_H_
#define RAFTKV_SERVER_LOOP_H_

// The I/O loop: one thread that collects what has arrived on gRPC's completion queues, runs one
// turn of the member for all of it, applies, and starts again (docs/architecture.md). Batching
// makes it fast: a turn needs one fsync, one message to each peer and one batch of the state
// machine, however many requests it serves.
//
// Slow work runs on other threads: the member decides when to apply on the apply worker, and the
// API gives large reads to workers. The watchdog (watchdog.h) notices when the loop hangs.
//
// Threads: a function is called on the loop's thread, unless its comment says otherwise.

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/member/member.h"
#include "server/phase.h"
#include "server/workers.h"

namespace raftkv {

struct LoopOptions {
  absl::Duration tick = absl::Milliseconds(10);
  // Called about once a second.
  std::function<void(MonotonicTime now)> each_second;
  // Called once, when Member::caught_up() first becomes true.
  std::function<void()> on_ready;
};

// The completion queues that the loop polls.
struct LoopQueues {
  grpc::CompletionQueue* calls = nullptr;          // all operations but those of the next queue
  grpc::CompletionQueue* peer_arrivals = nullptr;  // new calls of peers; polled once a turn
};

class Loop {
 public:
  // `member` and `phase` must outlive the loop.
  Loop(LoopOptions options, Member* member, const PhaseValue* phase);
  ~Loop() { Join(); }

  void Start(const LoopQueues& queues);

  // From another thread: returns once `condition`, which the loop calls on its thread after each
  // turn, is true, or `deadline` has passed.
  void Await(MonotonicTime deadline, const std::function<bool()>& condition);
  // From another thread: runs `work` on the loop's thread, between turns, and returns when it has
  // run.
  void Run(const std::function<void()>& work);

  // From any thread: runs `work` on the loop's thread before a turn, and returns at once. Work that
  // comes after the last turn is dropped.
  void RunLater(std::function<void()> work);

  // From another thread: returns when all work has ended. The turns end in Phase::kStopped. After
  // that the queues may be drained.
  void Join();

  // From any thread: changes at least once a tick, unless the loop hangs.
  uint64_t rounds() const { return rounds_; }

 private:
  struct Waiter {
    MonotonicTime deadline;
    const std::function<bool()>& condition;
    absl::Notification done;
  };

  void RunTurns();
  void Collect();
  void NotifyWaiters();
  void RunWork();
  void RunApply();
  void MaybeReportReady();

  const LoopOptions options_;
  Member* const member_;
  const PhaseValue* const phase_;
  LoopQueues queues_;
  bool reported_ready_ = false;
  MonotonicTime next_second_ = MonotonicTime::InfinitePast();

  absl::Mutex mutex_;
  std::vector<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  std::list<Waiter*> waiters_ ABSL_GUARDED_BY(mutex_);  // each in its thread's Await

  std::atomic<uint64_t> rounds_{0};
  Workers applying_;  // one thread, separate from the read workers, so that reads never delay it
  std::thread thread_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_LOOP_H_
