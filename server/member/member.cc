#include "server/member/member.h"

#include <iterator>
#include <utility>

#include "storage/base/check.h"

namespace raftkv {

namespace {

// How often the applier forgets requests that were answered at their deadline.
constexpr absl::Duration kForgetInterval = absl::Seconds(1);
// The pause between two steps of the physical compaction. A step takes one to three milliseconds of
// this thread, and clients must not wait for several in a row (docs/decisions/0033).
constexpr absl::Duration kCompactPause = absl::Milliseconds(40);
// Without a pause if nothing was applied or read for so long.
constexpr absl::Duration kQuiet = absl::Seconds(1);

template <typename T>
void Append(std::vector<T> more, std::vector<T>* to) {
  std::move(more.begin(), more.end(), std::back_inserter(*to));
}

}  // namespace

Member::Member(const MemberOptions& options, LogStore* log, StateMachine* state_machine,
               const PhaseValue* phase, StateStore* states, Transport* transport)
    : options_(options),
      state_machine_(state_machine),
      outbox_({.id = options.replica.raft.id,
               .store_id = options.replica.store_id,
               .newest_version = options.replica.newest_version,
               .boot_id = options.replica.boot_id},
              log, transport),
      replica_(options.replica, log, *state_machine, phase, states, &outbox_),
      applier_(state_machine, &outbox_, options.parallel_reads),
      cluster_version_(state_machine->cluster_version()) {}

bool Member::has_to_apply() const {
  return !handed_over_.committed.empty() || !handed_over_.reads.empty() ||
         (!applying_elsewhere_ && !applier_.empty());
}

bool Member::idle() const {
  return inbox_.empty() && !replica_.raft().HasReady() &&
         (applying_elsewhere_ || (!has_to_apply() && !compacts_on_));
}

void Member::Turn(MonotonicTime now) {
  LearnLeases(now);
  if (!applying_elsewhere_) {
    replica_.OnState(state_machine_->alarms(), state_machine_->revision());
    replica_.OnDigests(state_machine_->digests());
  }
  replica_.Turn(inbox_.Take(), now, /*may_install=*/!applying_elsewhere_);
  Replica::HandOver more = replica_.TakeHandOver();
  if (more.installed != nullptr) {
    for (CommittedTask& task : std::exchange(handed_over_.committed, {})) task.AnswerUnknown();
    applier_.Install(std::move(more.installed));
  }
  Append(std::move(more.committed), &handed_over_.committed);
  Append(std::move(more.reads), &handed_over_.reads);
  if (applying_elsewhere_ && now >= next_forget_) {  // another thread uses the applier now
    next_forget_ = now + kForgetInterval;
    std::erase_if(handed_over_.reads,
                  [](const ReadTask& read) { return read.request->answered(); });
  }
  pace_.OnTurn(replica_.raft().last_index(), replica_.raft().leader_commit());
  term_.store(replica_.raft().term(), std::memory_order_relaxed);
  cluster_version_.store(replica_.cluster_version(), std::memory_order_relaxed);
  has_leader_.store(replica_.raft().leader() != raft::kNobody, std::memory_order_relaxed);
  const Members::Member* self = replica_.members().Find(options_.replica.raft.id);
  is_learner_.store(self != nullptr && self->info.islearner(), std::memory_order_relaxed);
  fault_kind_.store(replica_.fault().kind, std::memory_order_relaxed);
  out_of_space_.store(replica_.space().level() == Space::Level::kFull, std::memory_order_relaxed);
  rejected_by_peers_.store(replica_.first_start().rejected_by_peers(), std::memory_order_relaxed);
  lost_entries_.store(replica_.lost().has_value(), std::memory_order_relaxed);
}

void Member::LearnLeases(MonotonicTime now) {
  if (!applying_elsewhere_) replica_.OnLeases(state_machine_->TakeLeaseChanges(), now);
}

std::optional<absl::Duration> Member::LeaseRemaining(int64_t id, MonotonicTime now) {
  LearnLeases(now);
  return replica_.lessor().Remaining(id, now);
}

void Member::HandOver() {
  Replica::HandOver all = std::exchange(handed_over_, {});
  for (CommittedTask& task : all.committed) applier_.Post(std::move(task));
  for (ReadTask& task : all.reads) applier_.Post(std::move(task));
}

ApplyPlan Member::PlanApply(MonotonicTime now) {
  if (applying_elsewhere_) {
    if (!applied_elsewhere_.exchange(false, std::memory_order_acq_rel)) return ApplyPlan::kNothing;
    applying_elsewhere_ = false;
    replica_.OnApplied(state_machine_->applied().index);
  }
  HandOver();
  if (!applier_.empty()) last_work_ = now;
  Compact(now);
  if (now >= next_forget_) {
    next_forget_ = now + kForgetInterval;
    applier_.ForgetAnswered();
  }
  if (now >= next_flush_) {
    if (next_flush_ != MonotonicTime::InfinitePast()) state_machine_->StartFlush();
    next_flush_ = now + options_.flush_interval;
  }
  replica_.MaybeCut(*state_machine_);
  if (applier_.empty()) return ApplyPlan::kNothing;
  if (!state_machine_->WouldStall() && !applier_.large_next()) return ApplyPlan::kHere;
  applying_elsewhere_ = true;
  return ApplyPlan::kElsewhere;
}

void Member::Compact(MonotonicTime now) {
  if (now < next_compaction_) return;
  const bool quiet = now >= last_work_ + kQuiet;
  if (!quiet && applier_.can_compact()) next_compaction_ = now + kCompactPause;
  applier_.MaybeCompact(options_.compact_steps_max);
  compacts_on_ = quiet && applier_.can_compact();
}

void Member::Apply(ApplyPlan plan, const ApplyBudget& budget) {
  CHECK(plan != ApplyPlan::kNothing);
  if (plan == ApplyPlan::kHere) {
    replica_.OnApplied(applier_.Run(budget));
  } else {
    applier_.Run({});
    applied_elsewhere_.store(true, std::memory_order_release);
  }
}

MemberStatus Member::Status() const {
  return {.raft = replica_.raft().status(),
          .may_vote = replica_.may_vote(),
          .lost = replica_.lost(),
          .rejected_by_peers = replica_.first_start().rejected_by_peers(),
          .fault = replica_.fault(),
          .log_bytes = replica_.log_disk_bytes(),
          .pending = replica_.pending(),
          .rejected_messages = replica_.rejected_messages(),
          .waiting_for = replica_.first_start().waiting_for(),
          .silent = replica_.Silent(),
          .voters = replica_.raft().membership().voters().size()};
}

// A new leader's first entry comes after everything that was committed before its term.
bool Member::caught_up() const {
  return !applying_elsewhere_ && replica_.raft().leader() != raft::kNobody &&
         state_machine_->applied().term == replica_.raft().term();
}

}  // namespace raftkv
