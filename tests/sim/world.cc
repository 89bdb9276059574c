#include "tests/sim/world.h"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <variant>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace raftkv::sim {

namespace {

constexpr Micros kWatchEvery = LeaseChecker::kLookEvery;

Profile ProfileOf(uint64_t seed) {
  Rng rng(seed);
  return DrawProfile(&rng);
}

}  // namespace

World::World(const RunOptions& options) : World(options, ProfileOf(options.seed)) {}

World::World(const RunOptions& options, const Profile& profile)
    : options_(options),
      rng_(Mix(options.seed, 1)),
      profile_(profile),
      faults_(profile),
      verdict_(options.ignored),
      lease_checker_(profile.machines(), profile.clock_skew, election_timeout(), &result_.marks,
                     &verdict_),
      ledger_(
          profile.machines(),
          [this](const auto& id, const auto& command, const auto& before, const auto& model) {
            if (command.has_change_members()) {
              const proto::ChangeMembers& change = command.change_members();
              NoteChange(change);
              raft_checker_.OnConfiguration(id.index,
                                            {{change.voters().begin(), change.voters().end()},
                                             {change.learners().begin(), change.learners().end()}});
            }
            lease_checker_.OnEntry(id, command, before, model, now_);
            const proto::ChangeAlarm& alarm = command.change_alarm();
            if (alarm.by_member() &&
                alarm.request().action() == etcdserverpb::AlarmRequest::ACTIVATE) {
              marks().Hit(Mark::kAlarmOfDisk);
            }
          },
          &verdict_),
      raft_checker_(profile.machines(), profile.members, absl::Microseconds(profile.TransferMin()),
                    &ledger_, &result_.marks, &verdict_),
      history_(&ledger_, &result_.marks, &verdict_),
      requests_(&rng_, &history_, profile.keys, profile.lease, profile.search),
      search_(&result_.marks, &verdict_),
      network_(this),
      watchers_(this, profile.watch_clients),
      clients_(profile.clients),
      probes_(profile.machines()),
      proven_(profile.machines()),
      gone_(profile.machines()),
      configured_at_(profile.machines()) {
  for (int i = 0; i < size(); ++i) {
    const int64_t skew = profile.clock_skew;
    clock_rates_.push_back(1'000'000 + (skew > 0 ? rng_.Between(-skew, skew) : 0));
  }
  for (int i = 0; i < size(); ++i) members_.push_back(std::make_unique<Member>(this, i));
}

// The clocks of members run at different rates, but never go back. Safety must not depend on them.
MonotonicTime World::clock_of(int member) const {
  return MonotonicTime(absl::Microseconds(profile_.clock_start) +
                       absl::Microseconds(now_ / 1000 * clock_rates_[member] / 1000));
}

RunResult World::Run() {
  Begin();
  while (!verdict_.failed() && phase_ != Phase::kOver) {
    std::pop_heap(queue_.begin(), queue_.end(), Later());
    Event event = std::move(queue_.back());
    queue_.pop_back();
    now_ = event.at;
    Trace(event);
    ++result_.events;
    Handle(std::move(event));
  }
  if (profile_.clock_start > 3600 * kSecond) marks().Hit(Mark::kClockPassedEnd);
  if (!verdict_.failed()) history_.Finish();
  if (!verdict_.failed()) search_.Check();
  for (const auto& member : members_) {
    if (!verdict_.failed() && member->up()) member->CloseAndCheckStored();
  }
  result_.invariant = verdict_.invariant();
  result_.what = verdict_.what();
  result_.time = now_;
  watchers_.CountMarks();
  result_.acknowledged_writes = history_.acknowledged_writes();
  result_.reads = history_.reads();
  result_.committed = ledger_.size();
  result_.trace_hash =
      Mix(result_.trace_hash, ledger_.size() > 0 ? ledger_.chain(ledger_.size()) : 0);
  return result_;
}

// --- the queue

void World::Push(Micros at, What what, int member, int other, uint64_t life,
                 std::unique_ptr<Packet> packet) {
  queue_.push_back(
      {std::max(at, now_), next_event_++, what, member, other, life, std::move(packet)});
  std::push_heap(queue_.begin(), queue_.end(), Later());
}

void World::Every(Micros mean, What what) {
  if (mean > 0) Push(now_ + 1 + rng_.Around(mean), what);
}

void World::ScheduleTick(int member, Micros delay) {
  Push(now_ + delay, What::kTick, member, 0, members_[member]->life());
}

void World::ScheduleTurn(int member, Micros at) {
  Push(at, What::kTurn, member, 0, members_[member]->life());
}

void World::ScheduleApply(int member, Micros at) {
  Push(at, What::kApply, member, 0, members_[member]->life());
}

void World::ScheduleApplyElsewhere(int member, Micros delay) {
  Push(now_ + delay, What::kElsewhere, member, 0, members_[member]->life());
}

void World::ScheduleCatchUp(int member, Micros delay) {
  Push(now_ + delay, What::kCatchUp, member, 0, members_[member]->life());
}

void World::ScheduleWatcher(int client, Micros delay) {
  Push(now_ + delay, What::kWatcher, client);
}

void World::ScheduleArrival(Micros at, Packet packet) {
  const int to = packet.to;
  const int from = packet.from;
  Push(at, What::kArrive, to, from, 0, std::make_unique<Packet>(std::move(packet)));
}

void World::ScheduleNotice(Micros delay, int member, int peer, uint64_t epoch, bool aborted) {
  Push(now_ + delay, aborted ? What::kAborted : What::kClosed, member, peer, epoch);
}

void World::ScheduleSnapshot(Micros at, int member, uint64_t number) {
  Push(at, What::kSnapshot, member, 0, number);
}

void World::Begin() {
  for (int i = 0; i < size(); ++i) {
    Push(rng_.Between(0, 200 * kMillisecond) + (i == 0 ? faults_.late_start : 0), What::kStart, i);
  }
  for (int i = 0; i < profile_.clients; ++i) {
    Push(rng_.Between(0, kSecond), What::kClient, i);
  }
  for (int i = 0; i < profile_.watch_clients; ++i) ScheduleWatcher(i, rng_.Between(0, kSecond));
  Every(faults_.crash_every, What::kCrash);
  Every(faults_.partition_every, What::kPartition);
  Every(faults_.clog_every, What::kClog);
  Every(faults_.disconnect_every, What::kDisconnect);
  Every(faults_.pause_every, What::kPause);
  Every(faults_.space_every, What::kSpace);
  Every(faults_.transfer_every, What::kTransfer);
  Every(faults_.change_every, What::kChange);
  Every(faults_.tear_every, What::kTear);
  if (rng_.Chance(faults_.wipe)) Push(rng_.Between(5, 25) * kSecond, What::kWipe);
  Push(kWatchEvery, What::kWatch);
}

void World::Handle(Event event) {
  Member& member = *members_[std::min<int>(event.member, size() - 1)];
  const bool of_this_life = member.up() && event.life == member.life();
  switch (event.what) {
    case What::kTick:
      if (of_this_life) member.OnTick();
      return;
    case What::kTurn:
      if (of_this_life) member.OnTurn();
      return;
    case What::kApply:
      if (of_this_life) member.OnApply();
      return;
    case What::kElsewhere:
      if (of_this_life) member.OnApplyElsewhere();
      return;
    case What::kCatchUp:
      if (of_this_life) member.OnCatchUp();
      return;
    case What::kArrive:
      network_.Arrive(std::move(*event.packet));
      return;
    case What::kAborted:
    case What::kClosed:
      network_.Notice(event.member, event.other, event.life, event.what == What::kAborted);
      return;
    case What::kSnapshot:
      network_.OnSnapshotDue(event.life);
      return;
    case What::kClient:
      OnClientDue(event.member, event.life);
      return;
    case What::kWatcher:
      watchers_.Serve(event.member);
      return;
    case What::kStart:
      if (!member.up() && !gone_[event.member] && !member.retired()) {
        configured_at_[event.member] = 0;
        member.Start();
      }
      return;
    case What::kRetire:
      if (of_this_life) OnRetire(event.member, /*removed=*/event.other == 0);
      return;
    case What::kWatch:
      Push(now_ + kWatchEvery, What::kWatch);
      LookAtLeases();
      OnWatch();
      if (event.number % 16 == 0) CompareHashes();
      return;
    default:
      if (phase_ == Phase::kSafety) HandleMisfortune(event);
  }
}

void World::HandleMisfortune(const Event& event) {
  Member& member = *members_[std::min<int>(event.member, size() - 1)];
  switch (event.what) {
    case What::kCrash:
      OnCrashDue();
      Every(faults_.crash_every, What::kCrash);
      return;
    case What::kPartition:
      OnPartitionDue();
      Every(faults_.partition_every, What::kPartition);
      return;
    case What::kCrashLate:
      if (member.up() && event.life == member.life()) CrashNow(event.member);
      return;
    case What::kStop:
      if (member.up() && event.life == member.life()) OnStopDue(event.member);
      return;
    case What::kTransfer:
      OnTransferDue();
      Every(faults_.transfer_every, What::kTransfer);
      return;
    case What::kChange:
      OnChangeDue();
      Every(faults_.change_every, What::kChange);
      return;
    case What::kHeal:
      network_.HealAll();
      return;
    case What::kClog:
      OnClogDue();
      Every(faults_.clog_every, What::kClog);
      return;
    case What::kDisconnect: {
      const int a = LeaderOr(static_cast<int>(rng_.Below(size())));
      const int b = static_cast<int>((a + 1 + rng_.Below(size() - 1)) % size());
      network_.Break(a, b);
      Every(faults_.disconnect_every, What::kDisconnect);
      return;
    }
    case What::kPause:
      OnPauseDue();
      Every(faults_.pause_every, What::kPause);
      return;
    case What::kSpace:
      OnSpaceDue();
      Every(faults_.space_every, What::kSpace);
      return;
    case What::kSpaceBack:
      member.SetFreeSpace(Member::kVolume);
      return;
    case What::kWipe:
      OnWipeDue();
      return;
    case What::kTear:
      OnTearDue();
      Every(faults_.tear_every, What::kTear);
      return;
    default:
      return;
  }
}

// --- what is seen

void World::Trace(const Event& event) {
  uint64_t& hash = result_.trace_hash;
  hash = Mix(hash, static_cast<uint64_t>(event.at));
  hash = Mix(hash, static_cast<uint64_t>(event.what) << 16 | event.member << 8 | event.other);
  if (event.packet != nullptr) hash = Mix(hash, event.packet->number);
  if (!options_.trace) return;
  static constexpr std::string_view kNames[] = {
      "tick",   "turn",     "apply",  "elsewhere", "catchup", "arrive", "aborted",
      "closed", "snap",     "client", "watcher",   "start",   "crash",  "crash",
      "stop",   "transfer", "change", "retire",    "cut",     "heal",   "clog",
      "break",  "pause",    "full",   "space",     "wipe",    "watch",  "tear"};
  if (event.what == What::kTick || event.what == What::kWatch || event.what == What::kTurn) return;
  Say(absl::StrFormat("%-7s %s", kNames[static_cast<int>(event.what)],
                      event.packet != nullptr
                          ? Describe(event.packet->message)
                          : absl::StrFormat("%d %d", event.member + 1, event.other + 1)));
}

void World::Say(std::string_view what) const {
  if (options_.trace) absl::PrintF("%12.6f %s\n", now_ / 1e6, what);
}

void World::OnSend(int member, const PeerMessage& message) {
  if (options_.trace) Say(absl::StrFormat("        %s", Describe(message)));
  result_.trace_hash = Mix(result_.trace_hash, static_cast<uint64_t>(member));
  if (std::holds_alternative<ForwardedProposalReply>(message.body)) {
    marks().Hit(Mark::kForwardDeclined);
    if (members_[member]->phase() >= raftkv::Phase::kDeclining) marks().Hit(Mark::kStopDeclined);
    return;
  }
  const auto* m = std::get_if<raft::Message>(&message.body);
  if (m == nullptr) return;
  result_.trace_hash = Mix(result_.trace_hash, m->term << 4 | m->body.index());
  if (const auto* vote = std::get_if<raft::RequestVoteReply>(&m->body)) {
    if (!vote->granted) marks().Hit(vote->pre_vote ? Mark::kPreVoteDeclined : Mark::kVoteDeclined);
    if (vote->granted && !vote->pre_vote && members_[member]->life() > 1) {
      marks().Hit(Mark::kVoteAfterRestart);
    }
  } else if (const auto* append = std::get_if<raft::AppendEntriesReply>(&m->body)) {
    if (!append->success) marks().Hit(Mark::kRejectedAppend);
  } else if (const auto* read = std::get_if<raft::ReadIndexReply>(&m->body)) {
    if (read->index == 0) marks().Hit(Mark::kReadDeclined);
  } else if (const auto* entries = std::get_if<raft::AppendEntries>(&m->body)) {
    const raft::Index last = entries->prev.index + entries->entries.size();
    result_.trace_hash = Mix(result_.trace_hash, last << 32 | entries->commit);
  }
}

namespace {

struct EventText {
  std::string operator()(const raft::BecameFollower& e) const {
    return absl::StrFormat("follower in term %d of n%d", e.term, e.leader);
  }
  std::string operator()(const raft::BecamePreCandidate& e) const {
    return absl::StrFormat("pre-candidate for term %d%s", e.term, e.fast ? ", early" : "");
  }
  std::string operator()(const raft::BecameCandidate& e) const {
    return absl::StrFormat("candidate in term %d", e.term);
  }
  std::string operator()(const raft::BecameLeader& e) const {
    return absl::StrFormat("LEADER of term %d, last %d", e.term, e.last_index);
  }
  std::string operator()(const raft::LeaderChanged& e) const {
    return absl::StrFormat("leader of term %d is n%d", e.term, e.leader);
  }
  std::string operator()(const raft::VoteGranted& e) const {
    return absl::StrFormat("grants n%d its %svote in term %d", e.candidate,
                           e.pre_vote ? "pre-" : "", e.term);
  }
  std::string operator()(const raft::VoteReceived& e) const {
    return absl::StrFormat("%svote of n%d: %s", e.pre_vote ? "pre-" : "", e.voter,
                           e.granted ? "yes" : "no");
  }
  std::string operator()(const raft::SteppedDown& e) const {
    return absl::StrFormat("stepped down in term %d", e.term);
  }
  std::string operator()(const raft::Truncated& e) const {
    return absl::StrFormat("removed entries from %d/%d on", e.first_removed.term,
                           e.first_removed.index);
  }
  std::string operator()(const raft::SnapshotNeeded& e) const {
    return absl::StrFormat("n%d needs a snapshot instead of entry %d", e.peer, e.next_index);
  }
  std::string operator()(const raft::SnapshotInstalled& e) const {
    return absl::StrFormat("installs a snapshot up to %d/%d", e.last.term, e.last.index);
  }
  std::string operator()(const raft::ConfigurationChanged& e) const {
    return absl::StrFormat("configuration of %d: n%s, learning n%s", e.index,
                           absl::StrJoin(e.configuration.voters, " n"),
                           absl::StrJoin(e.configuration.learners, " n"));
  }
  std::string operator()(const raft::Halted& e) const {
    return absl::StrFormat("HALTED by n%d at %d/%d", e.peer, e.entry.term, e.entry.index);
  }
  std::string operator()(const raft::PeerLostEntries& e) const {
    return absl::StrFormat("n%d lost what it acknowledged, %d", e.peer, e.acknowledged);
  }
  std::string operator()(const raft::MessageRejected& e) const {
    return absl::StrFormat("rejects a message of n%d: %s", e.from, e.why);
  }
  std::string operator()(const raft::Event& e) const { return std::visit(*this, e); }
  std::string operator()(const PeerRejected& e) const {
    return absl::StrFormat("rejects n%d: %s", e.peer,
                           e.why == PeerRejected::Why::kStoreId ? "another data directory"
                           : e.why == PeerRejected::Why::kOlderCopy
                               ? "an older copy of its data directory"
                           : e.why == PeerRejected::Why::kRemoved ? "a removed member"
                                                                  : "a process that was replaced");
  }
  std::string operator()(const Divergence& e) const {
    return absl::StrFormat("finds different states after entry %d", e.index);
  }
  std::string operator()(const Fault& e) const {
    return Describe(e, [](raft::MemberId id) { return absl::StrFormat("n%d", id); });
  }
  std::string operator()(const VotingAllowed& e) const {
    using Why = VotingAllowed::Why;
    return absl::StrFormat("may vote%s", e.why == Why::kCaughtUp   ? ", caught up"
                                         : e.why == Why::kRepaired ? ", repaired"
                                                                   : "");
  }
  std::string operator()(const WaitingForRepair& e) const {
    return absl::StrFormat("waits for entries %d to %d", e.lost.first, e.lost.last.index);
  }
  std::string operator()(const WaitingForPeers& e) const {
    return absl::StrFormat("waits for %d of %d peers", e.needed, e.missing.size());
  }
  std::string operator()(const LeaderStepsDown& e) const {
    return absl::StrFormat("steps down in term %d after a pause of %s", e.term,
                           absl::FormatDuration(e.pause));
  }
  std::string operator()(const VersionRaised& e) const {
    return absl::StrFormat("cluster version %d", e.version);
  }
  std::string operator()(const MembersChanged& e) const {
    return absl::StrFormat("knows %d members", e.members->all().size());
  }
  std::string operator()(const RemovedFromCluster&) const { return "was removed"; }
  std::string operator()(const SpaceChanged& e) const {
    static constexpr const char* kLevels[] = {"has space", "is short of space", "is out of space"};
    return kLevels[static_cast<size_t>(e.space->level())];
  }
  std::string operator()(const AlarmsChanged& e) const {
    return absl::StrFormat("knows %d alarms", e.alarms->all().size());
  }
  std::string operator()(const CompactionProposed& e) const {
    return absl::StrFormat("compacts up to %d by itself", e.revision);
  }
  std::string operator()(const RejectedByPeer& e) const {
    return absl::StrFormat("is rejected by n%d", e.peer);
  }
};

}  // namespace

void World::OnEvent(int member, const ReplicaEvent& event) {
  Say(absl::StrFormat("n%d      %s", member + 1, std::visit(EventText{}, event)));
  Marks& marks = result_.marks;
  if (const auto* rejected = std::get_if<PeerRejected>(&event)) {
    if (rejected->why == PeerRejected::Why::kStoreId) marks.Hit(Mark::kWiped);
    if (rejected->why == PeerRejected::Why::kReplaced) marks.Hit(Mark::kHeardAReplacedProcess);
    if (rejected->why == PeerRejected::Why::kOlderCopy) {
      verdict_.Fail("fault", absl::StrFormat("n%d takes the directory of n%d for an older copy",
                                             member + 1, rejected->peer));
    }
  }
  // Here every disk keeps what was saved (tests/sim/old_copy.h has the other runs).
  if (std::holds_alternative<Fault>(event) || std::holds_alternative<Divergence>(event)) {
    verdict_.Fail("fault", absl::StrFormat("n%d %s", member + 1, std::visit(EventText{}, event)));
  }
  if (std::holds_alternative<VersionRaised>(event)) {
    marks.Hit(upgraded_ ? Mark::kVersionRaised : Mark::kVersionRaisedAtOnce);
  }
  if (const auto* allowed = std::get_if<VotingAllowed>(&event)) {
    if (allowed->why == VotingAllowed::Why::kCaughtUp) marks.Hit(Mark::kCaughtUpToVote);
    if (allowed->why == VotingAllowed::Why::kRepaired) marks.Hit(Mark::kLostEndRepaired);
  }
  if (const auto* space = std::get_if<SpaceChanged>(&event)) {
    const Space::Level level = space->space->level();
    if (level == Space::Level::kFull) marks.Hit(Mark::kOutOfSpace);
    if (level == Space::Level::kEnough) marks.Hit(Mark::kSpaceBack);
  }
  if (std::holds_alternative<CompactionProposed>(event)) marks.Hit(Mark::kCompactedByItself);
  if (std::holds_alternative<RemovedFromCluster>(event)) {
    Push(now_, What::kRetire, member, 0, members_[member]->life());
  }
  if (const auto* raft_event = std::get_if<raft::Event>(&event)) OnEvent(member, *raft_event);
}

void World::OnEvent(int member, const raft::Event& event) {
  Marks& marks = result_.marks;
  if (std::holds_alternative<raft::SnapshotNeeded>(event)) marks.Hit(Mark::kSnapshotWanted);
  if (std::holds_alternative<raft::SnapshotInstalled>(event)) {
    marks.Hit(Mark::kSnapshotInstalled);
  }
  const auto* lost = std::get_if<raft::PeerLostEntries>(&event);
  if (lost != nullptr && lost->repairs) marks.Hit(Mark::kLossFoundByLeader);
  if (lost != nullptr && !lost->repairs) {
    verdict_.Fail("fault", absl::StrFormat("n%d: %s", member + 1, EventText{}(event)));
  }
  // Here every peer is correct.
  if (const auto* rejected = std::get_if<raft::MessageRejected>(&event)) {
    verdict_.Fail("core", absl::StrFormat("n%d rejects a message of n%d: %s", member + 1,
                                          rejected->from, rejected->why));
  }
  if (const auto* candidate = std::get_if<raft::BecameCandidate>(&event)) {
    if (candidate->term == result_.terms) marks.Hit(Mark::kVoteSplit);
    result_.terms = std::max<uint64_t>(result_.terms, candidate->term);
  } else if (const auto* leader = std::get_if<raft::BecameLeader>(&event)) {
    lease_checker_.OnLeader(leader->term, now_);
    if (configured_at_[member] > ledger_.size()) marks.Hit(Mark::kConfigurationInherited);
  } else if (const auto* changed = std::get_if<raft::ConfigurationChanged>(&event)) {
    if (changed->index < configured_at_[member]) marks.Hit(Mark::kConfigurationTruncated);
    const raft::Configuration& configuration = changed->configuration;
    if (configuration.voters.size() == 7) marks.Hit(Mark::kSevenVoters);
    if (configuration.voters.size() == 1 && configuration.learners.size() >= 2) {
      marks.Hit(Mark::kSoleVoter);
    }
    configured_at_[member] = changed->index;
  } else if (const auto* down = std::get_if<raft::SteppedDown>(&event)) {
    using Why = raft::SteppedDown::Why;
    if (down->why == Why::kNoQuorum) marks.Hit(Mark::kCheckQuorum);
    if (down->why == Why::kNoVoter) marks.Hit(Mark::kLeaderRemoved);
    if (down->why == Why::kHigherTerm) marks.Hit(Mark::kDeposed);
  } else if (const auto* truncated = std::get_if<raft::Truncated>(&event)) {
    marks.Hit(Mark::kTruncated);
    if (truncated->first_removed.index <= ledger_.size()) marks.Hit(Mark::kTruncatedBehind);
  } else if (const auto* received = std::get_if<raft::VoteReceived>(&event)) {
    if (!received->granted && !received->pre_vote) marks.Hit(Mark::kElectionLost);
  }
}

}  // namespace raftkv::sim
