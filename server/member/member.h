#ifndef RAFTKV_SERVER_MEMBER_MEMBER_H_
#define RAFTKV_SERVER_MEMBER_MEMBER_H_

// One life of one member, from the start of its process to its end: the replica that agrees, the
// applier that applies, and the decisions between them: when to apply, where, when to flush and
// when to compact. A deterministic value without threads or clocks. The I/O loop (server/loop.h),
// the simulator (tests/sim) and tests drive the same class:
//
//   Post(input)      what has arrived for the next turn; bounded (inbox.h)
//   Turn(now)        one turn of the replica over all of it; sends, and saves once
//   PlanApply(now)   what the applier should do now, and where
//   Apply(plan)      does it
//
//     member.Turn(now);
//     switch (member.PlanApply(now)) {
//       case ApplyPlan::kNothing: break;
//       case ApplyPlan::kHere: member.Apply(ApplyPlan::kHere, budget); break;
//       case ApplyPlan::kElsewhere: worker.Run([&] { member.Apply(ApplyPlan::kElsewhere); });
//       break;
//     }
//
// Threads: one thread calls everything, except that
//   - Apply(kElsewhere) may run on another thread. Meanwhile the first thread goes on with Post,
//     Turn and PlanApply (which answers kNothing until Apply has returned);
//   - Snapshot, DiskBytes, StartDefragment, term, cluster_version, has_leader and
//     rejected_by_peers may be called
//     from any thread.
//
// A request goes: API -> Post -> Turn (replica -> Raft -> log -> peers) -> PlanApply -> Apply
// (applier -> state machine) -> the request's `done`, which is the API again.

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

  int64_t compact_events_max = INT64_MAX;  // in one step; the state machine has a limit too
  // The state machine is flushed at least so often, beside its own limits of bytes and entries.
  absl::Duration flush_interval = absl::Seconds(30);
};

// What an Apply on the thread of the turns may do at once, before the network is served again:
// about two milliseconds of entries, or of reads of single keys. With all entries or reads as large
// as they may be here, it is a tenth of a second.
inline ApplyBudget BudgetBetweenTurns(std::function<bool()> out_of_time) {
  return {.items_max = 512, .steps_max = 2048, .out_of_time = std::move(out_of_time)};
}

enum class ApplyPlan {
  kNothing,
  kHere,  // with a budget, on the thread of the turns
  // The next entry is expensive (it visits very many keys, or large ones), or the engine would make
  // writes wait for its compactions: without a limit, until the applier has caught up. On a thread
  // of its own, so that heartbeats go on.
  kElsewhere,
};

// What can be told about a member at one moment.
struct MemberStatus {
  raft::Status raft;
  bool may_vote = false;
  bool rejected_by_peers = false;  // first_start.h
  size_t pending = 0;              // requests that wait for a leader or a majority
  uint64_t rejected_messages = 0;  // of peers
  WaitingForPeers waiting_for;     // first start
};

class Member {
 public:
  // All outlive it. `log` and `state_machine` belong to the member's data directory; while the
  // member lives, only it changes them. From Phase::kDeclining on, proposals that peers forward are
  // declined.
  Member(const MemberOptions& options, LogStore* log, StateMachine* state_machine,
         const PhaseValue* phase, Transport* transport);

  // Before the first turn.
  void AddObserver(MemberObserver* observer) { outbox_.Add(observer); }

  // --- turns
  void Post(Input input) { inbox_.Post(std::move(input)); }
  // There is as much as one turn takes.
  bool has_enough() const { return inbox_.enough(); }
  // Nothing has arrived, and nothing is to be applied or compacted here: the driver may wait.
  bool idle() const;
  // Committed entries or confirmed reads wait for PlanApply.
  bool has_to_apply() const;

  void Turn(MonotonicTime now);

  // --- applying
  // After each turn. Does a step of the physical compaction, if one is due, and starts a flush.
  ApplyPlan PlanApply(MonotonicTime now);
  // `budget` is for kHere; elsewhere there is none.
  void Apply(ApplyPlan plan, const ApplyBudget& budget = {});
  // An Apply(kElsewhere) was planned and has not been taken note of.
  bool applying_elsewhere() const { return applying_elsewhere_; }

  // Answers every request that is not answered: the member stops.
  void StopRequests() { replica_.Stop(); }

  // --- what can be seen
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
  // Everything that was decided before this term's leader led is applied here.
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

  // Handed over by turns while another thread applies.
  Replica::HandOver handed_over_;
  // Belongs to Apply(kElsewhere) while applying_elsewhere_ and not applied_elsewhere_.
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
