#ifndef RAFTKV_SERVER_MEMBER_MEMBER_H_
#define RAFTKV_SERVER_MEMBER_MEMBER_H_

// One life of one member, from the start of its process to its end. It owns the replica (Raft), the
// applier (state machine) and the decisions between them: when to apply and on which thread, when
// to flush, when to compact. A deterministic value without threads or clocks. The I/O loop
// (server/loop.h), the simulator (tests/sim) and tests drive the same class:
//
//   Post(input)      what has arrived for the next turn; bounded (inbox.h)
//   Turn(now)        one turn of the replica over all of it: sends messages, saves once
//   PlanApply(now)   decides whether to apply now, and on which thread
//   Apply(plan)      applies
//
//     member.Turn(now);
//     switch (member.PlanApply(now)) {
//       case ApplyPlan::kNothing: break;
//       case ApplyPlan::kHere: member.Apply(ApplyPlan::kHere, budget); break;
//       case ApplyPlan::kElsewhere:
//         worker.Run([&] { member.Apply(ApplyPlan::kElsewhere); });
//         break;
//     }
//
// Threads: one thread calls everything, except that
//   - Apply(kElsewhere) may run on another thread. Meanwhile the first thread may call Post,
//     Turn and PlanApply (which answers kNothing until Apply has returned);
//   - Snapshot, DiskBytes, StartDefragment, term, cluster_version, has_leader and rejected_by_peers
//     may be called from any thread.
//
// The path of a request: API -> Post -> Turn (replica -> Raft -> log -> peers) -> PlanApply ->
// Apply (applier -> state machine) -> the request's `done`, which returns to the API.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "server/member/applier.h"
#include "server/member/inbox.h"
#include "server/member/outbox.h"
#include "server/member/replica.h"
#include "server/member/requests.h"
#include "storage/base/monotonic_time.h"
#include "storage/log/log_store.h"
#include "storage/state_machine.h"

namespace raftkv {

struct MemberOptions {
  ReplicaOptions replica;

  // The work of one step of the physical compaction, in steps of the meter (storage/meter.h). The
  // state machine limits it too.
  int64_t compact_events_max = INT64_MAX;
  // The state machine is flushed at least this often, also if little was written.
  absl::Duration flush_interval = absl::Seconds(30);
};

// What an Apply on the thread of the turns may do before the network is served again: usually about
// two milliseconds of entries, or of reads of single keys. In the worst case, when every entry or
// read is as large as this budget allows, it takes a tenth of a second.
inline ApplyBudget BudgetBetweenTurns(std::function<bool()> out_of_time) {
  return {.items_max = 512, .steps_max = 2048, .out_of_time = std::move(out_of_time)};
}

enum class ApplyPlan {
  kNothing,
  // Apply with a budget, on the thread of the turns.
  kHere,
  // Apply without a limit, until the applier has caught up, on another thread, so that heartbeats
  // continue. Chosen if the next entry is expensive (it visits very many keys, or large ones), or
  // if the engine would make writes wait for its compactions.
  kElsewhere,
};

struct MemberStatus {
  raft::Status raft;
  bool may_vote = false;
  bool rejected_by_peers = false;  // first_start.h
  size_t pending = 0;              // requests that wait for a leader or a majority
  uint64_t rejected_messages = 0;  // from peers
  WaitingForPeers waiting_for;     // at the first start (first_start.h)
};

class Member {
 public:
  // All arguments must outlive the member. While it lives, only the member changes `log` and
  // `state_machine`. From Phase::kDeclining on, it declines proposals that peers forward.
  Member(const MemberOptions& options, LogStore* log, StateMachine* state_machine,
         const PhaseValue* phase, Transport* transport);

  // Call it before the first turn. The observer must outlive the member.
  void AddObserver(MemberObserver* observer) { outbox_.Add(observer); }

  // --- turns
  void Post(Input input) { inbox_.Post(std::move(input)); }
  // Enough has arrived for one turn: stop collecting.
  bool has_enough() const { return inbox_.enough(); }
  // Nothing has arrived, and nothing has to be applied or compacted on this thread: the driver may
  // wait for input.
  bool idle() const;
  // Committed entries or confirmed reads wait for PlanApply.
  bool has_to_apply() const;

  void Turn(MonotonicTime now);

  // --- applying
  // Call it after each turn. It also runs a step of the physical compaction and starts a flush, if
  // they are due.
  ApplyPlan PlanApply(MonotonicTime now);
  // `budget` applies to kHere only.
  void Apply(ApplyPlan plan, const ApplyBudget& budget = {});
  // True from the PlanApply that returned kElsewhere until a PlanApply finds that Apply has
  // returned.
  bool applying_elsewhere() const { return applying_elsewhere_; }

  // Answers all pending requests with Fate::Kind::kStopped, because the member stops.
  void StopRequests() { replica_.Stop(); }

  // --- state
  std::shared_ptr<const StateSnapshot> Snapshot() const { return state_machine_->Snapshot(); }
  uint64_t DiskBytes() const { return state_machine_->DiskBytes(); }
  // Returns at once.
  void StartDefragment() { state_machine_->StartDefragment(); }
  MemberStatus Status() const;
  raft::Term term() const { return term_.load(std::memory_order_relaxed); }
  ClusterVersion cluster_version() const {
    return cluster_version_.load(std::memory_order_relaxed);
  }
  bool has_leader() const { return has_leader_.load(std::memory_order_relaxed); }
  bool rejected_by_peers() const { return rejected_by_peers_.load(std::memory_order_relaxed); }
  // This member has applied an entry of the current term, and thereby everything that was committed
  // before this term's leader was elected.
  bool caught_up() const;
  const Replica& replica() const { return replica_; }
  const Applier& applier() const { return applier_; }

 private:
  void HandOver();

  const MemberOptions options_;
  StateMachine* const state_machine_;
  Outbox outbox_;
  Inbox inbox_;
  Replica replica_;

  // What turns handed over since the last PlanApply that could pass it to the applier.
  Replica::HandOver handed_over_;
  // Used by Apply(kElsewhere) alone while applying_elsewhere_ is true and applied_elsewhere_ false.
  Applier applier_;
  bool applying_elsewhere_ = false;
  std::atomic<bool> applied_elsewhere_{false};
  MonotonicTime next_flush_ = MonotonicTime::InfinitePast();
  MonotonicTime next_forget_ = MonotonicTime::InfinitePast();

  std::atomic<raft::Term> term_{0};
  std::atomic<ClusterVersion> cluster_version_;
  std::atomic<bool> has_leader_{false};
  std::atomic<bool> rejected_by_peers_{false};
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_MEMBER_H_
