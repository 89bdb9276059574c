#include "tests/sim/member.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

void Member::Pause(Micros duration) {
  process_->busy_until = std::max(process_->busy_until, world_->now() + duration);
}

void Member::Resume() {
  process_->fuse.Disarm();
  process_->dies_compacting = false;
  process_->busy_until = std::min(process_->busy_until, world_->now());
  process_->turn_at.reset();
  process_->apply_at.reset();
  process_->stalled_until = 0;
  ScheduleTurn(0);
  ScheduleApply();
}

void Member::FlushState() { process_->state_machine->Flush(); }

bool Member::busy() const { return world_->now() < process_->busy_until; }

void Member::Post(Input input) {
  process_->leader_watch->OnInput(raft(), input, world_->clock_of(number_));
  process_->member->Post(std::move(input));
  process_->has_input = true;
  ScheduleTurn(world_->rng().Between(0, kMillisecond));
}

void Member::Receive(PeerMessage message) {
  if (const auto* m = std::get_if<raft::Message>(&message.body)) {
    Marks& marks = world_->marks();
    const raft::Raft& raft = this->raft();
    if (const auto* append = std::get_if<raft::AppendEntries>(&m->body)) {
      if (m->term < raft.term()) marks.Hit(Mark::kStaleAppend);
      if (m->term == raft.term() && !append->entries.empty() &&
          append->entries.back().id.index >= log().first_index() &&
          append->entries.back().id.index <= log().last_index() &&
          append->entries.back().id.term == log().TermAt(append->entries.back().id.index)) {
        marks.Hit(Mark::kDuplicateAppend);
      }
    } else if (std::holds_alternative<raft::ReadIndexRequest>(m->body)) {
      if (leads() &&
          (raft.commit_index() == 0 || log().TermAt(raft.commit_index()) != raft.term())) {
        marks.Hit(Mark::kReadBeforeOwnTerm);
      }
    }
  }
  Post(std::move(message));
}

void Member::ScheduleTurn(Micros delay) {
  if (process_->turn_at) return;
  process_->turn_at = std::max(world_->now() + delay, process_->busy_until);
  world_->ScheduleTurn(number_, *process_->turn_at);
}

// Called after each turn and after each apply, as long as there is something to apply or compact.
void Member::ScheduleApply() {
  Process& p = *process_;
  const bool only_compacts = !p.member->has_to_apply() && !p.member->applying_elsewhere();
  if (p.elsewhere || (only_compacts && !must_compact())) return;
  if (p.apply_at && (only_compacts || !p.compact_only)) return;  // scheduled already
  p.compact_only = only_compacts;
  const Micros delay =
      only_compacts ? world_->faults().compact_delay : world_->faults().apply_delay;
  p.apply_at = std::max(world_->now() + world_->rng().Around(delay), p.busy_until);
  world_->ScheduleApply(number_, *p.apply_at);
}

void Member::OnTick() {
  world_->ScheduleTick(number_, world_->profile().tick);
  if (!busy()) Turn();
}

void Member::OnTurn() {
  if (process_->turn_at != world_->now()) return;  // rescheduled
  process_->turn_at.reset();
  if (busy()) {
    ScheduleTurn(0);
  } else if (process_->has_input || raft().HasReady()) {
    Turn();
  }
}

void Member::Turn() {
  Process& p = *process_;
  p.doing = Doing::kTurn;
  p.saved_in_turn = p.sent_in_turn = false;
  p.lag = 0;
  const bool led = leads();
  p.has_input = false;
  const MonotonicTime clock = world_->clock_of(number_);
  p.leader_watch->BeforeTurn(raft(), clock);
  if (!p.member->applying_elsewhere()) {
    world_->lease_checker().OnTurn(number_, life_, p.state_machine->applied().index,
                                   world_->ledger().model(), world_->now());
  }
  p.member->Turn(clock);
  if (p.elsewhere) p.turned_beside = true;
  p.doing = Doing::kNothing;
  if (p.fuse.blown()) {
    world_->OnDied(number_);
    return;
  }
  p.leader_watch->AfterTurn(raft(), clock);
  if (std::exchange(p.learns_installed, false) && p.member->replica().lessor().size() > 0) {
    world_->marks().Hit(Mark::kInstalledUnderLease);
  }
  if (p.lag > 0) p.busy_until = std::max(p.busy_until, world_->now() + p.lag);
  if (p.lag > world_->election_timeout()) world_->marks().Hit(Mark::kSaveStalled);
  if (led && !leads() && raft().term() == world_->raft_checker().term(number_)) {
    world_->marks().Hit(Mark::kLeaderStepsDown);
  }
  Check();
  RunHub();
  ScheduleApply();
}

void Member::Check() {
  Process& p = *process_;
  world_->raft_checker().AfterTurn(number_, raft(), world_->clock_of(number_));
  if (p.installed != 0) {
    world_->ledger().OnInstalled(number_, p.installed);
    world_->ledger().AfterApply(number_, *p.state_machine);
    if (p.hub->watches() > 0) world_->marks().Hit(Mark::kInstalledUnderWatch);
    p.learns_installed = true;
    p.installed = 0;
    p.compact_steps = 0;
  }
  if (!p.committed.empty()) {
    world_->ledger().OnHandOver(number_, p.committed);
    p.committed.clear();
  }
  if (p.member->replica().large_waits()) world_->marks().Hit(Mark::kLargeWaits);
  Verdict& verdict = world_->verdict();
  verdict.FailEach("I15", number_, p.invariants.CheckBounds(raft()));
  if (p.member->replica().pending() > world_->profile().pending_max) {
    verdict.FailEach("I15", number_, {"pending requests are bounded"});
  }
  if (world_->check_core()) verdict.FailEach("core", number_, p.invariants.Check(raft()));
}

// What the I/O loop does after a turn.
void Member::RunHub() {
  Process& p = *process_;
  p.hub->Run(*p.member->Snapshot(), world_->clock_of(number_),
             {.steps_max = world_->profile().watch_steps});
  while (std::optional<watch::CatchUp> order = p.hub->TakeCatchUp()) {
    p.catch_ups.push_back(*std::move(order));
    world_->ScheduleCatchUp(number_, world_->rng().Around(world_->faults().catch_up_delay));
  }
}

void Member::OnCatchUp() {
  Process& p = *process_;
  if (dead()) return;
  world_->marks().Hit(Mark::kWatchCaughtUp);
  p.hub->OnCaughtUp(watch::RunCatchUp(p.catch_ups.front(), *p.member->Snapshot()));
  p.catch_ups.pop_front();
}

void Member::OnApply() {
  Process& p = *process_;
  if (p.apply_at != world_->now()) return;  // rescheduled
  p.apply_at.reset();
  if (busy()) {
    ScheduleApply();
    return;
  }
  const Profile& faults = world_->faults();
  Rng& rng = world_->rng();
  if (rng.Chance(faults.write_stall)) {
    p.stalled_until = world_->now() + rng.Around(faults.write_stall_for);
  }
  const ApplyPlan plan = Plan();
  if (std::exchange(p.first_index, log().first_index()) < log().first_index()) {
    world_->marks().Hit(Mark::kLogCut);
  }
  if (p.member->applier().reads_wait()) world_->marks().Hit(Mark::kReadWaitedForApply);
  if (plan == ApplyPlan::kElsewhere) {
    p.elsewhere = true;
    p.turned_beside = false;
    const bool large = p.member->applier().large_next();
    world_->marks().Hit(large ? Mark::kLargeEntry : Mark::kApplyStalled);
    const Micros takes = large ? 5 * kMillisecond : faults.write_stall_for / 4;
    world_->ScheduleApplyElsewhere(number_, rng.Around(faults.apply_delay + takes));
  } else if (plan == ApplyPlan::kHere) {
    p.doing = Doing::kApply;
    p.member->Apply(plan, {.items_max = faults.apply_entries,
                           .steps_max = faults.visited_keys_max,
                           .out_of_time = [&] { return rng.Chance(faults.out_of_time); }});
    p.doing = Doing::kNothing;
  }
  if (!AfterApplying()) return;
  p.member->SendNews();
  ScheduleApply();
}

void Member::OnApplyElsewhere() {
  Process& p = *process_;
  if (!p.elsewhere) return;
  p.elsewhere = false;
  if (p.turned_beside) world_->marks().Hit(Mark::kTurnBesideApply);
  p.doing = Doing::kApply;
  p.member->Apply(ApplyPlan::kElsewhere);
  p.doing = Doing::kNothing;
  if (AfterApplying()) ScheduleApply();
}

// Calls PlanApply, which may run a step of the physical compaction and start a flush.
ApplyPlan Member::Plan() {
  Process& p = *process_;
  const MonotonicTime now = world_->clock_of(number_);
  const bool compacts = !asleep() && p.member->compaction_due(now);
  if (compacts) {
    p.doing = Doing::kCompact;
    if (p.dies_compacting) p.fuse.Arm(static_cast<int>(world_->rng().Below(2)));
  }
  const ApplyPlan plan = p.member->PlanApply(now);
  p.doing = Doing::kNothing;
  if (!compacts || p.fuse.blown()) return plan;
  if (++p.compact_steps == 2) world_->marks().Hit(Mark::kCompactSteps);
  if (!p.state_machine->compacting()) p.compact_steps = 0;
  return plan;
}

// False: the process died while it applied.
bool Member::AfterApplying() {
  Process& p = *process_;
  if (!p.fuse.blown() && world_->rng().Chance(world_->faults().flush)) p.state_machine->Flush();
  if (p.fuse.blown()) {
    world_->OnDied(number_);
    return false;
  }
  world_->ledger().AfterApply(number_, *p.state_machine);
  if (p.told_revision != p.state_machine->revision()) {
    world_->verdict().Fail(
        "observer", absl::StrCat("n", number_ + 1, " told its observers of revision ",
                                 p.told_revision, " and is at ", p.state_machine->revision()));
  }
  RunHub();
  if (raft().HasReady()) ScheduleTurn(0);
  return true;
}

bool Member::asleep() const { return world_->profile().asleep == number_; }

// --- what the product calls

void Member::Send(PeerMessage message) {
  Process& p = *process_;
  sending_ = true;
  const bool alive = p.fuse.Burn();
  sending_ = false;
  if (!alive) return;
  if (const auto* m = std::get_if<raft::Message>(&message.body)) {
    world_->raft_checker().OnSend(number_, *p.log, disk_.log_synced(), *m);
    const auto* append = std::get_if<raft::AppendEntries>(&m->body);
    p.sent_in_turn |= append != nullptr && !append->entries.empty();
  }
  world_->OnSend(number_, message);
  world_->network().Send(number_, life_, world_->now() + p.lag, std::move(message));
}

void Member::SendSnapshot(raft::MemberId to, raft::Term term) {
  Process& p = *process_;
  if (!p.fuse.Burn()) return;
  const std::optional<LogStore::Tip> base = p.member->replica().TipAt(p.state_machine->applied());
  CHECK(base.has_value()) << "the log holds the applied entry";
  CheckSnapshot(*base, p.state_machine->members().configuration(), *p.state_machine);
  auto contents = std::make_shared<WriteBatch>();
  const absl::Status read =
      p.engine->Scan({}, {}, [&](std::string_view key, std::string_view value) {
        contents->Put(key, value);
        return absl::OkStatus();
      });
  CHECK(read.ok()) << read;
  world_->network().SendSnapshot(number_, to, term, *base, std::move(contents));
}

void Member::CheckSnapshot(const LogStore::Tip& base, const raft::Configuration& configuration,
                           const StateMachine& state_machine) {
  world_->raft_checker().CheckSnapshot(number_, base, configuration);
  world_->ledger().CheckSnapshot(number_, base.id, state_machine);
}

void Member::StopSnapshots() {
  if (!dead()) world_->network().StopSnapshots(number_);
}

bool Member::Opens(const std::shared_ptr<MemoryDisk>& disk) {
  return StateMachine::Open(std::make_unique<MemoryEngine>(disk, Durability::kFlushed),
                            StateOptions())
      .ok();
}

std::unique_ptr<StateMachine> Member::Replace(std::unique_ptr<ReceivedSnapshot> snapshot) {
  Process& p = *process_;
  p.doing = Doing::kInstall;
  Rng& rng = world_->rng();
  if (!p.fuse.armed() && rng.Chance(world_->faults().install_crash)) {
    p.fuse.Arm(static_cast<int>(rng.Below(5)));
  }
  std::unique_ptr<Engine> engine =
      disk_.Replace(DiskOf(*snapshot), snapshot->base(), &p.fuse, StateHooks(&p));
  p.engine = engine.get();
  auto state_machine = StateMachine::Open(std::move(engine), StateOptions());
  CHECK(state_machine.ok()) << state_machine.status();
  CheckSnapshot(snapshot->base(), snapshot->configuration(), **state_machine);
  p.installed = snapshot->base().id.index;
  return *std::move(state_machine);
}

void Member::Replaced() {
  disk_.Replaced(&process_->fuse);
  process_->doing = Doing::kTurn;
}

bool Member::MaySpeak() { return process_->fuse.Burn(); }

void Member::OnSync() {
  if (process_ == nullptr) return;
  Process& p = *process_;
  world_->raft_checker().OnSynced(number_, *p.log);
  p.saved_in_turn = true;
  const Profile& faults = world_->faults();
  Rng& rng = world_->rng();
  p.lag += rng.Chance(faults.stall) ? rng.Around(faults.stall_for) : rng.Around(faults.save_time);
}

void Member::OnBlow(bool by_send) {
  disk_.NoteCrashPoint();
  if (process_ == nullptr) return;
  if (process_->member != nullptr) world_->raft_checker().OnDying(number_, raft());
  Marks& marks = world_->marks();
  if (process_->doing == Doing::kInstall) marks.Hit(Mark::kCrashInInstall);
  if (process_->doing == Doing::kApply) marks.Hit(Mark::kCrashInApply);
  if (process_->doing == Doing::kTurn) marks.Hit(Mark::kCrashInTurn);
  if (process_->doing == Doing::kCompact) marks.Hit(Mark::kCrashInCompaction);
  if (process_->sent_in_turn && !process_->saved_in_turn && process_->member != nullptr &&
      leads() && raft().membership().voters().size() == 1) {
    marks.Hit(Mark::kCrashBeforeSave);
  }
  if (by_send && process_->saved_in_turn) marks.Hit(Mark::kCrashInSave);
}

void Member::OnEvent(const ReplicaEvent& event) {
  if (dead()) return;
  world_->OnEvent(number_, event);
  const auto* raft_event = std::get_if<raft::Event>(&event);
  if (raft_event != nullptr) process_->leader_watch->OnEvent(*raft_event);
}

void Member::OnCommitted(absl::Span<const raft::Entry> entries) {
  process_->committed.insert(process_->committed.end(), entries.begin(), entries.end());
}

void Member::OnRevision(Revision newest) {
  Process& p = *process_;
  if (newest <= p.told_revision || p.state_machine->Snapshot()->revision() < newest) {
    world_->verdict().Fail("observer",
                           absl::StrCat("n", number_ + 1, " told of revision ", newest, " after ",
                                        p.told_revision, ", or before it could be read"));
  }
  p.told_revision = newest;
}

}  // namespace raftkv::sim
