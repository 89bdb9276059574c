#ifndef RAFTKV_SERVER_MEMBER_MEMBER_H_
#define RAFTKV_SERVER_MEMBER_MEMBER_H_

// One member, from the start of its process to its end. It owns the replica (Raft) and the applier
// (state machine), and decides when and on which thread to apply, when to flush, and when to
// compact. It is deterministic: it creates no thread and reads no clock. The I/O loop
// (server/loop.h), the simulator (tests/sim) and tests call the same class:
//
//   Post(input)      adds an input for the next turn, to a bounded queue (inbox.h)
//   Turn(now)        handles all inputs: one turn of the replica, which sends messages and saves
//   PlanApply(now)   decides whether to apply now, and on which thread
//   Apply(plan)      applies committed entries and answers confirmed reads
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
// Threads: one thread ("the thread of the turns") calls everything, except that
//   - Apply(kElsewhere) may run on another thread. Meanwhile the usual thread may call Post,
//     Turn and PlanApply (which returns kNothing until Apply has returned);
//   - Snapshot, DiskBytes, StartDefragment, term, newest_version, cluster_version, has_leader,
//     lost_entries, rejected_by_peers, halted, diverged, is_learner and out_of_space may be called
//     from any thread.
//
// The path of a request: API -> Post -> Turn (replica -> Raft -> log -> peers) -> PlanApply ->
// Apply (applier -> state machine) -> the request's `done`, which returns to the API.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "server/member/applier.h"
#include "server/member/catch_up_pace.h"
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

  // The maximum cost of one CompactStep of the state machine, in steps (storage/rules/meter.h). The
  // state machine has its own limit too; the lower one applies.
  int64_t compact_steps_max = INT64_MAX;
  // The state machine is flushed at least this often, even if little was written.
  absl::Duration flush_interval = absl::Seconds(30);
  // Runs the reads of entries while they wait for the disk. Null: they run one after the other.
  ParallelReads* parallel_reads = nullptr;
};

// The budget of an Apply on the thread of the turns, after which the network is served again. It is
// usually used up by about two milliseconds of entries, or of reads of single keys. `out_of_time`
// is called between two entries or reads. If it returns true, the Apply ends early.
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
  std::optional<LogStore::Lost> lost;  // what the log has lost, until the leader has sent it again
  bool rejected_by_peers = false;      // first_start.h
  Fault fault;                         // why it has halted
  uint64_t log_bytes = 0;              // on disk
  size_t pending = 0;                  // requests that wait for a leader or a majority
  uint64_t rejected_messages = 0;      // from peers
  WaitingForPeers waiting_for;         // at the first start (first_start.h)
  // Without a leader: the other voters that have not answered for some election timeouts.
  std::vector<raft::MemberId> silent;
  size_t voters = 0;
};

class Member {
 public:
  // All pointers must outlive the member. While it lives, only the member changes `log` and
  // `state_machine`. From Phase::kDeclining on, it declines proposals that peers forward.
  Member(const MemberOptions& options, LogStore* log, StateMachine* state_machine,
         const PhaseValue* phase, StateStore* states, Transport* transport);

  // Call it before the first turn. The observer must outlive the member.
  void AddObserver(MemberObserver* observer) { outbox_.Add(observer); }

  // --- turns
  void Post(Input input) { inbox_.Post(std::move(input)); }
  // True: the inbox holds enough for one turn, so the caller should stop collecting inputs.
  bool has_enough() const { return inbox_.enough(); }
  // True: the inbox is empty, there is nothing to apply on this thread, and there are no entries to
  // send. So the caller may wait for input, but not longer than a tick: PlanApply may have
  // something to do.
  bool idle() const;
  // True: committed entries or confirmed reads wait for PlanApply.
  bool has_to_apply() const;

  void Turn(MonotonicTime now);

  // Call it after each Apply, when the answers were sent (Replica::SendNews).
  void SendNews() { replica_.SendNews(); }

  // After a turn. True: the member catches up, and should rest for twice as long as it has worked
  // (catch_up_pace.h).
  bool rests() const { return pace_.rests() && has_leader(); }

  // --- applying
  // Call it after each turn. It also runs a step of the physical compaction, and starts a flush, if
  // they are due.
  ApplyPlan PlanApply(MonotonicTime now);
  // The next PlanApply would run a step of the physical compaction.
  bool compaction_due(MonotonicTime now) const {
    return now >= next_compaction_ && applier_.can_compact();
  }
  // `budget` applies to kHere only.
  void Apply(ApplyPlan plan, const ApplyBudget& budget = {});
  // True from the PlanApply that returned kElsewhere until the first PlanApply after Apply has
  // returned.
  bool applying_elsewhere() const { return applying_elsewhere_; }

  // Why PlanApply has returned kElsewhere. True: the next entry is expensive. False: the engine.
  bool large_next() const { return applier_.large_next(); }

  // The remaining time to live of a lease, as measured by this member (lessor.h); none if this
  // member knows no such lease.
  std::optional<absl::Duration> LeaseRemaining(int64_t id, MonotonicTime now);

  // Call it before a stop. If this member leads, it begins to transfer its leadership to the best
  // follower.
  void HandOverLeadership() { replica_.HandOverLeadership(); }
  // Answers all pending requests with Fate::Kind::kStopped, because the member stops.
  void StopRequests() { replica_.Stop(); }

  // --- state
  std::shared_ptr<const StateSnapshot> Snapshot() const { return state_machine_->Snapshot(); }
  uint64_t DiskBytes() const { return state_machine_->DiskBytes(); }  // of the state machine
  // Returns at once.
  void StartDefragment() { state_machine_->StartDefragment(); }
  MemberStatus Status() const;
  raft::Term term() const { return term_.load(std::memory_order_relaxed); }
  ClusterVersion newest_version() const { return options_.replica.newest_version; }
  ClusterVersion cluster_version() const {
    return cluster_version_.load(std::memory_order_relaxed);
  }
  bool has_leader() const { return has_leader_.load(std::memory_order_relaxed); }
  // The log has lost entries, which the leader sends again.
  bool lost_entries() const { return lost_entries_.load(std::memory_order_relaxed); }
  bool rejected_by_peers() const { return rejected_by_peers_.load(std::memory_order_relaxed); }
  // Fault::kind of the status.
  bool halted() const { return fault_kind() != Fault::Kind::kNone; }
  bool diverged() const { return fault_kind() == Fault::Kind::kDiverged; }
  // Its disk is full (space.h).
  bool out_of_space() const { return out_of_space_.load(std::memory_order_relaxed); }
  bool is_learner() const { return is_learner_.load(std::memory_order_relaxed); }
  // True: the last applied entry is of the current term. So this member has applied everything that
  // was committed before this term's leader was elected.
  bool caught_up() const;
  bool handing_over() const { return replica_.raft().transferee() != raft::kNobody; }
  // The members after all committed entries. members().known() is false until the log has members.
  const Members& members() const { return replica_.members(); }
  size_t leases() const { return replica_.lessor().size(); }
  std::optional<LogStore::Tip> TipAt(raft::EntryId id) const { return replica_.TipAt(id); }
  // For tests and the simulator.
  const Replica& replica() const { return replica_; }
  const Applier& applier() const { return applier_; }

 private:
  void HandOver();
  void Compact(MonotonicTime now);
  void LearnLeases(MonotonicTime now);
  Fault::Kind fault_kind() const { return fault_kind_.load(std::memory_order_relaxed); }

  const MemberOptions options_;
  StateMachine* const state_machine_;
  Outbox outbox_;
  Inbox inbox_;
  Replica replica_;
  CatchUpPace pace_;

  // The output of turns that PlanApply has not passed to the applier yet.
  Replica::HandOver handed_over_;
  // While applying_elsewhere_ is true and applied_elsewhere_ is false, only Apply(kElsewhere) uses
  // applier_.
  Applier applier_;
  bool applying_elsewhere_ = false;
  std::atomic<bool> applied_elsewhere_{false};
  MonotonicTime next_compaction_ = MonotonicTime::InfinitePast();
  MonotonicTime last_work_ = MonotonicTime::InfinitePast();  // when there was something to apply
  bool compacts_on_ = false;                                 // without a pause
  MonotonicTime next_flush_ = MonotonicTime::InfinitePast();
  MonotonicTime next_forget_ = MonotonicTime::InfinitePast();

  std::atomic<raft::Term> term_{0};
  std::atomic<ClusterVersion> cluster_version_;
  std::atomic<bool> has_leader_{false};
  std::atomic<bool> rejected_by_peers_{false};
  std::atomic<bool> lost_entries_{false};
  std::atomic<Fault::Kind> fault_kind_{Fault::Kind::kNone};
  std::atomic<bool> is_learner_{false};
  std::atomic<bool> out_of_space_{false};
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_MEMBER_H_
