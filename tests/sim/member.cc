#include "tests/sim/member.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

namespace {

std::string NewStoreId(Rng* rng) {
  std::string id;
  while (id.size() < 16) id.push_back(static_cast<char>(rng->Below(256)));
  return id;
}

}  // namespace

Member::Member(World* world, int number)
    : world_(world), number_(number), store_id_(NewStoreId(&world->rng())) {}

Member::~Member() = default;

// --- lives
// ------------------------------------------------------------------------------------------

ReplicaOptions Member::Options() const {
  const Profile& profile = world_->profile();
  ReplicaOptions options;
  options.store_id = store_id_;
  options.boot_id = world_->rng().Next();
  options.raft = profile.raft;
  options.raft.id = number_ + 1;
  options.raft.seed = world_->rng().Next();
  for (int i = 0; i < world_->size(); ++i) options.configuration.voters.push_back(i + 1);
  options.tick = absl::Microseconds(profile.tick);
  options.request_timeout = absl::Microseconds(profile.request_timeout);
  options.pending_max = profile.pending_max;
  return options;
}

void Member::Start() {
  ends_.resize(++life_ + 1, -1);
  auto process = std::make_unique<Process>();
  Process& p = *process;
  p.fuse.on_blow = [this] { OnBlow(/*by_send=*/sending_); };
  auto log = LogStore::Open(disk_.OpenLog(&p.fuse, [this] { OnSync(); }), nullptr);
  auto state_machine = StateMachine::Open(disk_.OpenState(&p.fuse), SmallOptions());
  if (!log.ok() || !state_machine.ok()) {
    world_->verdict().Fail(
        "I8", absl::StrCat("n", number_ + 1, " cannot open what it wrote: ",
                           log.status().ToString(), " / ", state_machine.status().ToString()));
    return;
  }
  p.log = *std::move(log);
  p.state_machine = *std::move(state_machine);
  world_->raft_checker().OnStart(number_, *p.log);
  world_->ledger().OnStart(number_, *p.state_machine);
  if (world_->verdict().failed()) return;
  if (p.state_machine->applied().index < applied_before_) world_->marks().Hit(Mark::kReplayed);
  if (p.state_machine->compacted_revision() < compacted_before_) {
    world_->marks().Hit(Mark::kCompactionLost);
  }

  p.applier = std::make_unique<Applier>(p.state_machine.get());
  p.replica = std::make_unique<Replica>(
      Options(), p.log.get(), p.state_machine.get(), this,
      [this, &p](ApplyTask task) {
        if (const auto* committed = std::get_if<CommittedTask>(&task)) {
          p.handed_over.insert(p.handed_over.end(), committed->entries.begin(),
                               committed->entries.end());
        } else if (!p.applier->empty()) {
          world_->marks().Hit(Mark::kReadWaitedForApply);
        }
        p.applier->Post(std::move(task));
      },
      [this](const ReplicaEvent& event) { OnEvent(event); });
  process_ = std::move(process);
  ScheduleCompaction();
  world_->network().OnUp(number_);
  world_->ScheduleTick(number_, world_->rng().Between(0, world_->profile().tick));
}

void Member::EndLife() {
  applied_before_ = process_->state_machine->applied().index;
  compacted_before_ = process_->state_machine->compacted_revision();
  world_->raft_checker().OnDown(number_);
  world_->history().OnDown(number_);
  ends_[life_] = world_->now();
  process_.reset();
  world_->network().OnDown(number_);
}

void Member::Crash() {
  if (!process_->log->may_vote()) world_->marks().Hit(Mark::kCrashFirstStart);
  if (!process_->fuse.blown()) disk_.NoteCrashPoint();
  if (process_->compact_steps > 0) world_->marks().Hit(Mark::kCrashCompacting);
  EndLife();
  if (disk_.Crash(&world_->rng())) world_->marks().Hit(Mark::kStateLost);
}

void Member::CrashSoon() {
  if (must_compact() && world_->rng().Chance(40 * kPercent)) {
    process_->dies_compacting = true;
  } else {
    process_->fuse.Arm(static_cast<int>(world_->rng().Below(12)));
  }
}

void Member::StopInOrder() {
  world_->marks().Hit(Mark::kStopped);
  Resume();
  Turn();
  Process& p = *process_;
  p.replica->Stop();
  while (!p.applier->empty()) p.applier->Run(64);
  world_->ledger().AfterApply(number_, *p.state_machine);
  if (world_->history().Unanswered(number_) > 0) {
    world_->verdict().Fail("I16", absl::StrCat("n", number_ + 1, " stopped without an answer to ",
                                               world_->history().Unanswered(number_), " requests"));
  }
  if (world_->rng().Chance(50 * kPercent)) p.state_machine->Flush();
  EndLife();
  disk_.Close();
}

void Member::CloseAndCheckStored() {
  const bool compacted = !process_->state_machine->compacting();
  const raft::Index applied = process_->state_machine->applied().index;
  EndLife();
  disk_.Close();
  Fuse fuse;
  if (compacted) world_->ledger().CheckStored(number_, applied, *disk_.OpenState(&fuse));
}

void Member::Wipe() {
  disk_.Wipe();
  store_id_ = NewStoreId(&world_->rng());
  wiped_ = true;
  applied_before_ = 0;
  compacted_before_ = -1;
  world_->raft_checker().OnWiped(number_);
}

void Member::Pause(Micros duration) {
  process_->busy_until = std::max(process_->busy_until, world_->now() + duration);
}

void Member::Resume() {
  process_->fuse.Disarm();
  process_->dies_compacting = false;
  process_->busy_until = std::min(process_->busy_until, world_->now());
  process_->turn_at.reset();
  process_->apply_at.reset();
  process_->compact_at.reset();
  ScheduleTurn(0);
  ScheduleApply();
  ScheduleCompaction();
}

void Member::FlushState() { process_->state_machine->Flush(); }

bool Member::busy() const { return world_->now() < process_->busy_until; }

// --- events
// -----------------------------------------------------------------------------------------

void Member::Post(ReplicaInput input) {
  process_->inbox.push_back(std::move(input));
  ScheduleTurn(world_->rng().Between(0, kMillisecond));
}

void Member::Receive(PeerMessage message) {
  if (const auto* m = std::get_if<raft::Message>(&message.body)) {
    Marks& marks = world_->marks();
    const raft::Raft& raft = replica().raft();
    if (const auto* append = std::get_if<raft::AppendEntries>(&m->body)) {
      if (m->term < raft.term()) marks.Hit(Mark::kStaleAppend);
      if (m->term == raft.term() && !append->entries.empty() &&
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

void Member::ScheduleApply() {
  if (process_->applier->empty() || process_->apply_at) return;
  process_->apply_at = std::max(world_->now() + world_->rng().Around(world_->faults().apply_delay),
                                process_->busy_until);
  world_->ScheduleApply(number_, *process_->apply_at);
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
  } else if (!process_->inbox.empty() || replica().raft().HasReady()) {
    Turn();
  }
}

void Member::Turn() {
  Process& p = *process_;
  p.doing = Doing::kTurn;
  p.saved_in_turn = false;
  p.lag = 0;
  const bool led = leads();
  p.replica->Turn(std::exchange(p.inbox, {}), world_->wall_clock(number_));
  p.doing = Doing::kNothing;
  if (p.fuse.blown()) {
    world_->OnDied(number_);
    return;
  }
  if (p.lag > 0) p.busy_until = std::max(p.busy_until, world_->now() + p.lag);
  if (p.lag > world_->election_timeout()) world_->marks().Hit(Mark::kSaveStalled);
  if (led && !leads() && p.replica->raft().term() == world_->raft_checker().term(number_)) {
    world_->marks().Hit(Mark::kLeaderMadeWay);
  }
  Check();
  ScheduleApply();
}

void Member::Check() {
  Process& p = *process_;
  world_->raft_checker().AfterTurn(number_, p.replica->raft());
  if (!p.handed_over.empty()) {
    world_->ledger().OnHandOver(number_, p.handed_over);
    p.handed_over.clear();
  }
  if (!world_->check_core()) return;
  for (const std::string& broken : p.invariants.Check(p.replica->raft())) {
    world_->verdict().Fail("core", absl::StrCat("n", number_ + 1, ": ", broken));
  }
}

void Member::OnApply() {
  Process& p = *process_;
  if (p.apply_at != world_->now()) return;  // rescheduled
  p.apply_at.reset();
  if (busy()) {
    ScheduleApply();
    return;
  }
  p.doing = Doing::kApply;
  raft::Index applied =
      p.applier->Run(world_->faults().apply_entries, world_->faults().visited_keys_max);
  if (p.applier->large_next()) {
    world_->marks().Hit(Mark::kLargeEntry);
    applied = p.applier->Run(1);
  }
  p.replica->OnApplied(applied);
  if (world_->rng().Chance(world_->faults().flush)) p.state_machine->Flush();
  p.doing = Doing::kNothing;
  if (p.fuse.blown()) {
    world_->OnDied(number_);
    return;
  }
  world_->ledger().AfterApply(number_, *p.state_machine);
  if (p.replica->raft().HasReady()) ScheduleTurn(0);
  ScheduleApply();
  ScheduleCompaction();
}

bool Member::asleep() const { return world_->profile().asleep == number_; }

void Member::ScheduleCompaction() {
  if (asleep() || process_->compact_at || !process_->applier->can_compact()) return;
  process_->compact_at = std::max(
      world_->now() + world_->rng().Around(world_->faults().compact_delay), process_->busy_until);
  world_->ScheduleCompaction(number_, *process_->compact_at);
}

void Member::OnCompact() {
  Process& p = *process_;
  if (p.compact_at != world_->now()) return;  // rescheduled
  p.compact_at.reset();
  if (busy()) {
    ScheduleCompaction();
    return;
  }
  p.doing = Doing::kCompact;
  if (p.dies_compacting) p.fuse.Arm(static_cast<int>(world_->rng().Below(2)));
  p.applier->MaybeCompact(world_->wall_clock(number_), world_->faults().compact_events);
  if (world_->rng().Chance(world_->faults().flush)) p.state_machine->Flush();
  p.doing = Doing::kNothing;
  if (p.fuse.blown()) {
    world_->OnDied(number_);
    return;
  }
  if (++p.compact_steps == 2) world_->marks().Hit(Mark::kCompactSteps);
  if (!p.state_machine->compacting()) p.compact_steps = 0;
  world_->ledger().AfterApply(number_, *p.state_machine);
  ScheduleCompaction();
}

// --- what the product calls
// -------------------------------------------------------------------------

void Member::Send(PeerMessage message) {
  Process& p = *process_;
  sending_ = true;
  const bool alive = p.fuse.Burn();
  sending_ = false;
  if (!alive) return;
  if (const auto* m = std::get_if<raft::Message>(&message.body)) {
    world_->raft_checker().OnSend(number_, *p.log, disk_.log_synced(), *m);
  }
  world_->OnSend(number_, message);
  world_->network().Send(number_, life_, world_->now() + p.lag, std::move(message));
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
  Marks& marks = world_->marks();
  if (process_->doing == Doing::kApply) marks.Hit(Mark::kCrashInApply);
  if (process_->doing == Doing::kTurn) marks.Hit(Mark::kCrashInTurn);
  if (process_->doing == Doing::kCompact) marks.Hit(Mark::kCrashInCompaction);
  if (by_send && process_->saved_in_turn) marks.Hit(Mark::kCrashInSave);
}

void Member::OnEvent(const ReplicaEvent& event) {
  if (!dead()) world_->OnEvent(number_, event);
}

}  // namespace raftkv::sim
