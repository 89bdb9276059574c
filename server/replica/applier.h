#ifndef RAFTKV_SERVER_REPLICA_APPLIER_H_
#define RAFTKV_SERVER_REPLICA_APPLIER_H_

// Runs the apply queue: committed entries into the state machine, answers to whoever waits, reads
// when their turn comes. A plain single-threaded object; the simulator calls it directly, the
// server runs it on the loop, or on a worker when a write would stall (server/loop.h).

#include <deque>

#include "absl/time/time.h"
#include "server/replica/replica.h"
#include "storage/state_machine.h"

namespace raftkv {

class Applier {
 public:
  explicit Applier(StateMachine* state_machine);

  void Post(ApplyTask task);
  bool empty() const { return queue_.empty(); }

  // Runs tasks until the queue is empty or `entries_max` entries were applied. Adjacent committed
  // tasks share one batch of the state machine. Returns the applied index.
  raft::Index Run(size_t entries_max);

 private:
  StateMachine* const state_machine_;
  std::deque<ApplyTask> queue_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_REPLICA_APPLIER_H_
