#ifndef RAFTKV_SERVER_MEMBER_APPLIER_H_
#define RAFTKV_SERVER_MEMBER_APPLIER_H_

// Runs the apply queue: committed entries into the state machine, answers to whoever waits, reads
// when their turn comes. A plain single-threaded object; the simulator calls it directly, the
// server runs it on the loop, or on a worker when a write would stall (server/loop.h).

#include <cstdint>
#include <deque>
#include <map>

#include "absl/time/time.h"
#include "server/member/replica.h"
#include "storage/state_machine.h"

namespace raftkv {

class Applier {
 public:
  explicit Applier(StateMachine* state_machine);

  void Post(ApplyTask task);
  bool empty() const { return queue_.empty(); }

  // Runs tasks until the queue is empty, `steps_max` entries were applied or reads answered, or
  // `visited_keys_max` keys were visited by entries. If the next entry visits more than that by
  // itself, large_next() is true: without the limit it goes on. Adjacent committed tasks share one
  // batch of the state machine. Returns the applied index.
  raft::Index Run(size_t steps_max, int64_t visited_keys_max = INT64_MAX);
  bool large_next() const { return large_next_; }

  // One step of the physical compaction, if there is something to do and the engine keeps up: steps
  // write too. `now` never goes back.
  void MaybeCompact(absl::Time now, int64_t events_max = INT64_MAX);
  bool can_compact() const { return state_machine_->compacting() && !state_machine_->WouldStall(); }
  // `done` runs, out of MaybeCompact, when nothing that `revision` made obsolete is stored any
  // more, or at `deadline` with kUnknownTimedOut. The caller bounds how many wait.
  void WhenCompacted(Revision revision, absl::Time deadline, ReadDone done);
  // Whoever waits for a compaction is told that the server stops.
  void StopWaiting();

 private:
  void EndWaiting(absl::Time now);
  // Of the next task, by its kind. How many reads were answered.
  size_t RunReads(size_t reads_max);
  // False: some are left.
  bool RunCommitted(CommittedTask task, size_t entries_max, int64_t visited_keys_max);

  StateMachine* const state_machine_;
  std::deque<ApplyTask> queue_;
  bool large_next_ = false;

  struct Waiting {
    absl::Time deadline;
    ReadDone done;
  };
  std::multimap<Revision, Waiting> when_compacted_;
  absl::Time next_deadline_ = absl::InfiniteFuture();  // of the waiting, or earlier
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_APPLIER_H_
