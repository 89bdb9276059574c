#ifndef RAFTKV_SERVER_LOOP_H_
#define RAFTKV_SERVER_LOOP_H_

// The I/O loop: one thread that collects what has arrived on gRPC's completion queues, runs one
// turn of the member for all of it, applies, and starts again (docs/architecture.md). The batch is
// what makes it fast: one fsync, one message to each peer and one state-machine batch a turn,
// however many requests it serves.
//
// What may be slow runs elsewhere: the member decides when to apply on a thread of its own, the API
// gives large reads to workers, and a watchdog (watchdog.h) sees when the loop hangs.
//
// Threads: everything is called on the loop's thread, unless it says otherwise.

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/member/member.h"
#include "server/workers.h"

namespace raftkv {

struct LoopOptions {
  absl::Duration tick = absl::Milliseconds(10);
  // Called about once a second.
  std::function<void(MonotonicTime now)> each_second;
  // Called once: there is a leader, and everything that was decided before it led is applied here.
  std::function<void()> on_ready;
};

// The completion queues that the loop polls.
struct LoopQueues {
  grpc::CompletionQueue* calls = nullptr;          // everything but the next one
  grpc::CompletionQueue* peer_arrivals = nullptr;  // new calls of peers; polled once a turn
};

class Loop {
 public:
  // `member` outlives it.
  Loop(LoopOptions options, Member* member);
  ~Loop() { Stop(); }

  void Start(const LoopQueues& queues);

  // From any thread: `work` runs on the loop's thread between two turns.
  void RunOnLoop(std::function<void()> work);
  // From any thread: runs `work` on the loop's thread and returns when it has run.
  void RunAndWait(const std::function<void()>& work);

  // From any thread: no more turns; returns when all work has ended. Then the queues may be
  // drained.
  void Stop();

  // From any thread: changes at least once a tick, unless the loop hangs.
  uint64_t rounds() const { return rounds_; }

 private:
  void Run();
  void Collect();
  void RunPosted();
  void RunApply();
  void MaybeReportReady();

  const LoopOptions options_;
  Member* const member_;
  LoopQueues queues_;
  bool reported_ready_ = false;
  MonotonicTime next_second_ = MonotonicTime::InfinitePast();

  absl::Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> has_posted_{false};

  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> rounds_{0};
  Workers applying_;  // a thread of its own, so that large reads never hold up applying
  std::thread thread_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_LOOP_H_
