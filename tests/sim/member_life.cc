// The lives of a simulated member: how a process starts and with what options, and how it ends: by
// a crash, an orderly stop, or the loss of its disk.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/member.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

namespace {

std::string NewStoreId(Rng* rng) {
  std::string id;
  while (id.size() < 16) id.push_back(static_cast<char>(rng->Below(256)));
  return id;
}

etcdserverpb::Member Info(raft::MemberId id, uint64_t url) {
  etcdserverpb::Member info;
  info.set_id(id);
  info.set_name(absl::StrCat("n", id));
  info.add_peerurls(PeerUrl(id, 0));
  info.add_clienturls(absl::StrCat("http://c", id, ":", url + 1));
  return info;
}

}  // namespace

Member::Member(World* world, int number)
    : world_(world),
      number_(number),
      store_id_(NewStoreId(&world->rng())),
      id_(static_cast<raft::MemberId>(number) + 1),
      retired_(number >= world->profile().members) {
  if (world->rng().Chance(world->profile().old_version)) {
    newest_version_ = world->rng().Between(kFirstVersion, kNewestVersion - 1);
  }
  if (world->profile().tear_every > 0) disk_.SetTearable();
}

Member::~Member() = default;

MemberOptions Member::Options() {
  const Profile& profile = world_->profile();
  MemberOptions options;
  options.replica.store_id = store_id_;
  options.replica.boot_id = world_->rng().Next();
  options.replica.newest_version = newest_version_;
  options.replica.raft = profile.raft;
  options.replica.raft.id = id_;
  options.replica.raft.seed = world_->rng().Next();
  options.replica.self = Info(id_, url_);
  for (int i = 1; i <= profile.members && !joins_; ++i) {
    options.replica.configuration.voters.push_back(i);
    options.replica.first_members.push_back(Info(i, 0));
  }
  options.replica.tick = absl::Microseconds(profile.tick);
  options.replica.request_timeout = absl::Microseconds(profile.request_timeout);
  options.replica.pending_max = profile.pending_max;
  options.replica.large_bytes = profile.large_bytes;
  options.replica.tail = profile.tail;
  options.replica.space.low_bytes = kLowSpace;
  AutoCompactionOptions& compaction = options.replica.auto_compaction;
  compaction.period = absl::Microseconds(profile.auto_compact_period);
  compaction.hour = compaction.revision_interval = absl::Microseconds(profile.auto_compact_hour);
  compaction.revisions = profile.auto_compact_revisions;
  options.compact_steps_max = asleep() ? 0 : profile.compact_steps;
  options.flush_interval = absl::Microseconds(profile.flush_interval);
  if (profile.parallel_reads) options.parallel_reads = &reads_;
  return options;
}

StateMachineOptions Member::StateOptions() {
  StateMachineOptions options = SmallOptions();
  options.newest_version = newest_version_;
  options.not_understood = [this](const std::string& line) {
    if (!dead()) world_->verdict().Fail("version", absl::StrCat("n", number_ + 1, ": ", line));
  };
  return options;
}

Disk::StateHooks Member::StateHooks(Process* process) {
  return {.would_stall = [this, process] { return world_->now() < process->stalled_until; },
          .on_flush_started = [this] { world_->marks().Hit(Mark::kFlushDue); }};
}

void Member::Rejoin(raft::MemberId id) {
  world_->raft_checker().OnReplaced(number_, id);
  Wipe();
  wiped_ = false;
  retired_ = false;
  joins_ = true;
  newest_version_ = kNewestVersion;
  id_ = id;
}

void Member::Retire() {
  Crash();
  retired_ = true;
}

void Member::Start() {
  if (world_->profile().change_every > 0 && world_->rng().Chance(20 * kPercent)) ++url_;
  ends_.resize(++life_ + 1, -1);
  if (newest_version_ < kNewestVersion && life_ > 1 &&
      world_->rng().Chance(world_->profile().upgrade)) {
    newest_version_ = kNewestVersion;
    world_->marks().Hit(Mark::kUpgraded);
    world_->OnUpgraded();
  }
  auto process = std::make_unique<Process>();
  Process& p = *process;
  p.fuse.on_blow = [this] { OnBlow(/*by_send=*/sending_); };
  auto log = LogStore::Open(disk_.OpenLog(&p.fuse, [this] { OnSync(); }), disk_.OpenMark(&p.fuse));
  std::unique_ptr<Engine> engine = disk_.OpenState(&p.fuse, StateHooks(&p));
  p.engine = engine.get();
  auto state_machine = StateMachine::Open(std::move(engine), StateOptions());
  if (!log.ok() || !state_machine.ok()) {
    world_->verdict().Fail(
        "I8", absl::StrCat("n", number_ + 1, " cannot open what it wrote: ",
                           log.status().ToString(), " / ", state_machine.status().ToString()));
    return;
  }
  p.log = *std::move(log);
  p.state_machine = *std::move(state_machine);
  world_->raft_checker().OnStart(number_, *p.log);
  if (disk_.resume()) {
    world_->marks().Hit(Mark::kInstallResumed);
    CheckSnapshot(*disk_.resume(), p.state_machine->members().configuration(), *p.state_machine);
    ResumeInstall(*disk_.resume(), p.log.get());
    disk_.Replaced(&p.fuse);
    world_->raft_checker().OnSynced(number_, *p.log);
  }
  if (p.log->lost()) {
    if (!p.log->ContinueAfter(p.state_machine->applied())) {
      world_->verdict().Fail("I8", absl::StrCat("n", number_ + 1, " cannot repair its log"));
      return;
    }
    world_->raft_checker().OnSynced(number_, *p.log);
    if (!p.log->lost()) world_->marks().Hit(Mark::kLostEndApplied);
  }
  if (p.log->first_index() > 1) world_->marks().Hit(Mark::kStartFromCutLog);
  p.first_index = p.log->first_index();
  world_->ledger().OnStart(number_, *p.state_machine);
  if (world_->verdict().failed()) return;
  if (p.state_machine->applied().index < applied_before_) world_->marks().Hit(Mark::kReplayed);
  if (p.state_machine->compacted_revision() < compacted_before_) {
    world_->marks().Hit(Mark::kCompactionLost);
  }

  p.told_revision = p.state_machine->revision();
  p.member = std::make_unique<raftkv::Member>(Options(), p.log.get(), p.state_machine.get(),
                                              &p.phase, this, this);
  p.member->AddObserver(this);
  p.leader_watch.emplace(&world_->profile(), static_cast<int>(id_ - 1), &world_->marks(),
                         &world_->verdict());
  p.hub = std::make_unique<watch::Hub>(WatchOptions());
  process_ = std::move(process);
  ScheduleApply();
  if (free_space_ < kVolume) SetFreeSpace(free_space_);
  world_->network().OnUp(number_);
  world_->ScheduleTick(number_, world_->rng().Between(0, world_->profile().tick));
}

watch::HubOptions Member::WatchOptions() const {
  const Profile& profile = world_->profile();
  watch::HubOptions options;
  options.progress_interval = absl::Seconds(1);
  options.stream_bytes_max = profile.watch_stream_bytes;
  options.stream_bytes_min = profile.watch_stream_bytes / 2;
  options.all_bytes_max = 4 * profile.watch_stream_bytes;
  options.stream_answers_max = 8;
  options.fragment_bytes = profile.watch_fragment_bytes;
  options.open_bytes_max = profile.watch_stream_bytes;
  options.inline_revisions = profile.watch_inline;
  options.inline_events = static_cast<size_t>(profile.watch_inline) + 1;
  options.inline_runs_max = 2;
  options.catch_up_events = 20;
  options.catch_up_watches = 3;
  options.jump = profile.watch_jump;
  return options;
}

void Member::EndLife(bool in_order) {
  applied_before_ = process_->state_machine->applied().index;
  compacted_before_ = process_->state_machine->compacted_revision();
  world_->raft_checker().OnDown(number_);
  world_->history().OnDown(number_);
  world_->watchers().OnDown(number_);
  ends_[life_] = world_->now();
  process_.reset();
  world_->network().OnDown(number_, in_order);
}

void Member::Crash() {
  if (process_->log->lost()) {
    world_->marks().Hit(Mark::kCrashRepairing);
  } else if (!process_->log->may_vote()) {
    world_->marks().Hit(Mark::kCrashFirstStart);
  }
  if (!process_->fuse.blown()) disk_.NoteCrashPoint();
  if (process_->compact_steps > 0) world_->marks().Hit(Mark::kCrashCompacting);
  EndLife(/*in_order=*/false);
  if (disk_.Crash(&world_->rng())) world_->marks().Hit(Mark::kStateLost);
}

void Member::CrashAndTear() {
  Crash();
  Fuse fuse;
  raft::EntryId applied;
  {
    auto state_machine = StateMachine::Open(disk_.OpenState(&fuse), StateOptions());
    if (!state_machine.ok()) return;  // the next start reports it
    applied = (*state_machine)->applied();
  }
  if (!disk_.Tear(applied, &world_->rng())) return;
  world_->marks().Hit(Mark::kLogEndLost);
  world_->raft_checker().OnTorn(number_);
}

void Member::CrashSoon() {
  if (must_compact() && world_->rng().Chance(40 * kPercent)) {
    process_->dies_compacting = true;
  } else {
    process_->fuse.Arm(static_cast<int>(world_->rng().Below(12)));
  }
}

void Member::HandOverLeadership() {
  process_->member->HandOverLeadership();
  process_->hands_over = true;
  ScheduleTurn(0);
}

void Member::Transfer(raft::MemberId target) {
  if (leads()) {
    const auto peers = raft().status().peers;
    const auto peer = peers.find(target);
    if (peer != peers.end() && peer->second.match_index < raft().last_index()) {
      world_->marks().Hit(Mark::kTransferBehind);
    }
  }
  const auto done = [world = world_](Fate fate) {
    if (fate == Fate::kApplied) world->marks().Hit(Mark::kTransferred);
    if (fate == Fate::kTimedOut) world->marks().Hit(Mark::kTransferTimedOut);
    if (fate == Fate::kBadTransferee) world->marks().Hit(Mark::kTransferBadTarget);
  };
  Post(TransferRequest{.target = target, .done = done});
}

void Member::Decline() {
  if (process_->hands_over && !leads() && raft().leader() != raft::kNobody) {
    world_->marks().Hit(Mark::kHandedOver);
  }
  process_->phase.Set(Phase::kDeclining);
}

// Posted requests reach the replica in a turn, in which the process may die.
void Member::Drain() {
  Turn();
  if (!up()) return;
  process_->phase.Set(Phase::kDraining);
  process_->member->StopRequests();
}

void Member::EndStop() {
  Resume();
  if (phase() < Phase::kDraining) Drain();
  if (up()) Turn();
  if (!up()) return;
  world_->marks().Hit(Mark::kStopped);
  Process& p = *process_;
  p.phase.Set(Phase::kClosing);
  for (;;) {
    if (p.elsewhere) {
      p.member->Apply(ApplyPlan::kElsewhere);
      p.elsewhere = false;
    }
    const ApplyPlan plan = p.member->PlanApply(world_->clock_of(number_));
    if (plan == ApplyPlan::kNothing) break;
    p.member->Apply(plan);
  }
  world_->ledger().AfterApply(number_, *p.state_machine);
  if (world_->history().Unanswered(number_) > 0) {
    world_->verdict().Fail("I16", absl::StrCat("n", number_ + 1, " stopped without an answer to ",
                                               world_->history().Unanswered(number_), " requests"));
  }
  if (world_->rng().Chance(50 * kPercent)) p.state_machine->Flush();
  EndLife(/*in_order=*/true);
  disk_.Close();
}

void Member::CloseAndCheckStored() {
  const bool compacted = !process_->state_machine->compacting();
  const raft::Index applied = process_->state_machine->applied().index;
  EndLife(/*in_order=*/true);
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

void Member::SetFreeSpace(uint64_t bytes) {
  free_space_ = bytes;
  if (!dead()) Post(SpaceReport{.volume_bytes = kVolume, .free_bytes = bytes, .state_bytes = 0});
}

}  // namespace raftkv::sim
