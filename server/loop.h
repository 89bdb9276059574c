#ifndef RAFTKV_SERVER_LOOP_H_
#define RAFTKV_SERVER_LOOP_H_

// The I/O loop: one thread that collects what has arrived on gRPC's completion queues, runs one
// replica turn for all of it, then applies, then again (docs/architecture.md). The batch is what
// makes it fast: one fsync, one message to each peer and one state-machine batch a turn, however
// many requests it serves.
//
// When the state machine would have to wait for its compactions, or the next entry walks over very
// many keys, applying moves to a worker until it has caught up, so that heartbeats go on. Whatever
// else may be slow (large ranges, hashes of the whole store) goes to workers too.
//
// A watchdog thread sees a loop that hangs in the disk. After an election timeout health says so:
// the watchdog answers those calls, so that they are answered then too. After disk_stall_timeout it
// ends the process; others have taken over by then.
//
// Threads: everything is called on the loop's thread, unless it says otherwise.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "server/member/applier.h"
#include "server/member/inbox.h"
#include "server/member/replica.h"
#include "server/rpc/completion.h"
#include "server/workers.h"
#include "storage/state_machine.h"

namespace raftkv {

struct LoopOptions {
  absl::Duration tick = absl::Milliseconds(10);
  absl::Duration election_timeout = absl::Seconds(1);
  absl::Duration disk_stall_timeout = absl::Seconds(5);
  // Once: there is a leader, and what was decided before it led is applied here.
  std::function<void()> on_ready;
};

// The completion queues of the server, and who polls them.
struct LoopQueues {
  grpc::CompletionQueue* calls = nullptr;          // the loop: everything but the below
  grpc::CompletionQueue* peer_arrivals = nullptr;  // the loop, once a turn: peers' new calls
  grpc::CompletionQueue* health = nullptr;         // the watchdog: calls of the health service
};

class Loop {
 public:
  Loop(LoopOptions options, StateMachine* state_machine);
  ~Loop();

  // Where the replica's tasks go.
  void Apply(ApplyTask task) { apply_inbox_.push_back(std::move(task)); }
  // What the next turn gets.
  void Post(ReplicaInput input) { inbox_.Post(std::move(input)); }
  // Workers for large reads, which the request timeout bounds, and for what walks the whole store
  // and takes the time that it takes: one walk at a time, so that reads never wait behind it.
  Workers& readers() { return readers_; }
  Workers& walker() { return walker_; }

  // `done` runs when the compaction up to `revision` has removed what it made obsolete, or at
  // `deadline`. Called in the apply queue.
  void WhenCompacted(Revision revision, absl::Time deadline, ReadDone done) {
    applier_.WhenCompacted(revision, deadline, std::move(done));
  }
  // The server stops: nobody waits for compactions or large reads any more.
  void StopWaiting() { stop_waiting_ = true; }
  // From any thread.
  bool stopping() const { return stop_waiting_; }

  // Before Start: what the watchdog calls each time it looks, on its thread, ten times a second.
  void EachLook(std::function<void()> look) { look_ = std::move(look); }

  void Start(Replica* replica, const LoopQueues& queues);

  // From any thread: `work` runs on the loop's thread between two turns.
  void RunOnLoop(std::function<void()> work);
  // From any thread: no more turns; returns when all work has ended. Then the queues may be
  // drained.
  void Stop();

  // The term of the last turn, readable from any thread (for response headers).
  raft::Term term() const { return term_.load(std::memory_order_relaxed); }
  // From any thread: there is a leader that this member follows, and the loop does not hang.
  bool healthy() const { return has_leader_ && !refused_by_peers_ && !hangs_; }

  // Monotonic: a wall clock that jumps must not call an election.
  static absl::Time Now();

 private:
  void Run();
  void Collect();
  void RunApply();
  void ApplyElsewhere();
  void RunPosted();
  void MaybeSayReady();
  void Watch();

  const LoopOptions options_;
  StateMachine* const state_machine_;
  Replica* replica_ = nullptr;
  LoopQueues queues_;

  std::function<void()> look_;

  Inbox inbox_;
  std::vector<ApplyTask> apply_inbox_;

  // Owned by the loop, or by a worker while `applying_elsewhere_`.
  Applier applier_;
  bool applying_elsewhere_ = false;
  bool said_ready_ = false;
  std::atomic<bool> applied_elsewhere_{false};
  std::atomic<raft::Index> applied_{0};
  absl::Time next_flush_ = absl::InfinitePast();

  absl::Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> has_posted_{false};

  std::atomic<raft::Term> term_{0};
  std::atomic<bool> has_leader_{false};
  std::atomic<bool> refused_by_peers_{false};
  std::atomic<bool> hangs_{false};
  std::atomic<bool> stop_waiting_{false};
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> rounds_{0};  // of the loop: one a tick at least, unless it hangs

  Workers applying_worker_;  // its own, so that large ranges never hold up applying
  Workers readers_;
  Workers walker_;
  std::thread thread_;
  std::thread watchdog_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_LOOP_H_
