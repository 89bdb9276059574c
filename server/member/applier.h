#ifndef RAFTKV_SERVER_MEMBER_APPLIER_H_
#define RAFTKV_SERVER_MEMBER_APPLIER_H_

// The half of a member that applies. It applies committed entries to the state machine in order,
// answers the requests that wait for them, answers linearizable reads once their index is applied,
// and runs the state machine's flushes and physical compaction. Single-threaded and deterministic.
// Member (member.h) owns it and decides on which thread it runs.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "server/member/outbox.h"
#include "server/member/pending.h"
#include "storage/base/monotonic_time.h"
#include "storage/base/parallel_reads.h"
#include "storage/state_machine.h"

namespace raftkv {

// Contiguous committed entries, and the requests that wait for them, in ascending order of index.
struct CommittedTask {
  std::vector<raft::Entry> entries;
  std::vector<std::pair<raft::Index, PendingRequestPtr>> requests;

  // A snapshot contains these entries, so their results are never known here.
  void AnswerUnknown() {
    for (auto& [index, request] : requests) request->Answer(Fate::kUnknownConnection);
  }
};
// A read that is answered once everything up to `index` is applied.
struct ReadTask {
  raft::Index index = 0;
  PendingRequestPtr request;
};

// How much one run of the applier may do. The defaults are "no limit".
struct ApplyBudget {
  size_t items_max = SIZE_MAX;  // entries applied and reads answered
  // What the entries may cost together, in steps of about a microsecond (storage/rules/meter.h). An
  // entry that alone costs more is not applied; large_next() is then true.
  int64_t steps_max = INT64_MAX;
  // Asked between entries and between reads; true ends the run. Empty: never.
  std::function<bool()> out_of_time = {};
};

class Applier {
 public:
  // The first two must outlive the applier, and `reads` each Run. `reads` may be null: then the
  // heads that entries need are read one after the other.
  Applier(StateMachine* state_machine, Outbox* outbox, ParallelReads* reads = nullptr)
      : state_machine_(state_machine), outbox_(outbox), parallel_reads_(reads) {}

  void Post(CommittedTask task);
  void Post(ReadTask task) { reads_.emplace(task.index, std::move(task.request)); }
  // Whether there is something to do now.
  bool empty() const { return queue_.empty() && !HasDueRead(); }
  // Whether reads wait for entries that are not applied.
  bool reads_wait() const { return !reads_.empty() && !HasDueRead(); }

  // Applies and answers until there is nothing to do or the budget is used up. Adjacent committed
  // tasks share one batch of the state machine. Returns the applied index.
  raft::Index Run(const ApplyBudget& budget);
  // The next entry alone costs more than the last run's budget: apply it with a run without a limit
  // of steps.
  bool large_next() const { return large_next_; }

  // Runs one step of the physical compaction, if there is something to compact and the engine would
  // not make writes wait. Then answers the requests that waited for a compaction that is done.
  void MaybeCompact(int64_t steps_max = INT64_MAX);
  bool can_compact() const { return state_machine_->compacting() && !state_machine_->WouldStall(); }

  // Replaces the state by `state`, a snapshot that contains the effects of all queued entries.
  void Install(std::unique_ptr<StateMachine> state);

  // Forgets requests that were answered at their deadline.
  void ForgetAnswered();

 private:
  bool HasDueRead() const {
    return !reads_.empty() && reads_.begin()->first <= state_machine_->applied().index;
  }
  // How many reads were answered.
  size_t RunReads(const ApplyBudget& budget, size_t reads_max);
  // False: the budget does not suffice for the next entry.
  bool RunCommitted(const ApplyBudget& budget, size_t entries_max);
  void Answer(PendingRequestPtr request, ApplyResult result);

  StateMachine* const state_machine_;
  Outbox* const outbox_;
  ParallelReads* const parallel_reads_;
  std::deque<CommittedTask> queue_;
  std::multimap<raft::Index, PendingRequestPtr> reads_;
  bool large_next_ = false;

  // Applied compactions whose answers wait until the physical compaction is done, by the compacted
  // revision.
  struct Compaction {
    PendingRequestPtr request;
    ApplyResult result;
  };
  std::multimap<Revision, Compaction> compactions_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_APPLIER_H_
