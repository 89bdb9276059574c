// The methods of World about the phases of a run: when the faults stop, and what the cluster must
// do then.

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

namespace {

constexpr Micros kSoftenAfter = 45 * kSecond;
constexpr Micros kSafetyMax = 120 * kSecond;

}  // namespace

void World::Enter(Phase phase, Micros at_most) {
  Say(absl::StrFormat("-- phase %d", static_cast<int>(phase)));
  phase_ = phase;
  deadline_ = now_ + at_most;
}

void World::FailLiveness(std::string_view what) {
  std::string text(what);
  for (int i = 0; i < size(); ++i) {
    if (!members_[i]->up()) {
      absl::StrAppend(&text, "; n", i + 1, " down");
      continue;
    }
    const MemberStatus status = members_[i]->status();
    const raft::Status& s = status.raft;
    absl::StrAppendFormat(
        &text, "; n%d%s %s term %d leader n%d last %d commit %d applied %d pending %d%s", i + 1,
        gone_[i]       ? " (gone)"
        : TakesPart(i) ? ""
                       : " (no member)",
        raft::RoleName(s.role), s.term, s.leader, s.last_index, s.commit_index,
        members_[i]->state_machine().applied().index, status.pending,
        status.may_vote ? "" : " no vote");
  }
  for (const auto& [id, by_member] : ledger_.model().alarms()) {
    absl::StrAppendFormat(&text, "; alarm %d of id %d%s", id.first, id.second,
                          by_member ? " by the member" : "");
  }
  verdict_.Fail("liveness", text);
}

// The longest random timeout (twice the configured one), on the slowest clock.
Micros World::longest_election_timeout() const {
  return 2 * election_timeout() * 1'000'000 / (1'000'000 - profile_.clock_skew);
}

bool World::MinimaMet() {
  return now_ >= profile_.time_min && result_.events >= profile_.events_min &&
         result_.crashes >= profile_.crashes_min && result_.partitions >= profile_.partitions_min &&
         history_.acknowledged_writes() >= profile_.acknowledged_min;
}

void World::OnWatch() {
  switch (phase_) {
    case Phase::kSafety:
      if (MinimaMet() || now_ >= kSafetyMax) {
        StopFaults();
        Enter(Phase::kSettle, 200 * kMillisecond);
        return;
      }
      if (now_ < profile_.time_min) return;
      if (result_.crashes < profile_.crashes_min) OnCrashDue();
      if (result_.partitions < profile_.partitions_min) OnPartitionDue();
      if (now_ >= kSoftenAfter) Soften();
      return;
    case Phase::kSettle:
      if (now_ < deadline_) return;
      LoseMinority();
      Enter(Phase::kElect, 10 * longest_election_timeout());
      return;
    case Phase::kElect:
      if (OneLeader()) {
        const bool enough = history_.acknowledged_writes() >= profile_.acknowledged_min;
        Enter(Phase::kServe, enough ? 10 * longest_election_timeout() + 2 * profile_.request_timeout
                                    : 300 * kSecond);
      } else if (now_ > deadline_) {
        FailLiveness("no leader within ten election timeouts");
      }
      return;
    case Phase::kServe:
      if (AlarmsLeftToMembers() && EveryoneServes() &&
          history_.acknowledged_writes() >= profile_.acknowledged_min) {
        Enter(Phase::kHandOver, 10 * longest_election_timeout());
      } else if (now_ > deadline_) {
        FailLiveness("a healthy member does not serve");
      }
      return;
    case Phase::kHandOver:
      if (HandsOver()) {
        Enter(Phase::kConverge, 10 * longest_election_timeout() + 2 * profile_.request_timeout);
      } else if (now_ > deadline_) {
        FailLiveness("leadership does not move to the member that is asked to campaign");
      }
      return;
    case Phase::kConverge:
      if (Converged()) {
        Enter(Phase::kOver, 0);
      } else if (now_ > deadline_) {
        FailLiveness(
            absl::StrFormat("members did not become equal and compacted, or requests are "
                            "unanswered: %d pending, %d entries committed, watches: %s",
                            history_.pending(), ledger_.size(), watchers_.CheckComplete()));
      }
      return;
    case Phase::kOver:
      return;
  }
}

// Reduces the faults. Used when there are so many that the cluster makes no progress.
void World::Soften() {
  if (softened_) return;
  softened_ = true;
  faults_.loss /= 4;
  faults_.stall /= 4;
  faults_.write_stall /= 4;
  faults_.crash_every *= 3;
  faults_.partition_every *= 3;
  faults_.pause_every *= 3;
  faults_.clog_every *= 3;
  faults_.crash_all = 0;
}

void World::StopFaults() {
  faults_.loss = 0;
  faults_.duplication = 0;
  faults_.delay = std::min(faults_.delay, 2 * kMillisecond);
  faults_.save_time = std::min(faults_.save_time, 2 * kMillisecond);
  faults_.stall = 0;
  faults_.apply_delay = std::min(faults_.apply_delay, kMillisecond);
  faults_.apply_entries = std::max<size_t>(faults_.apply_entries, 64);
  faults_.compact_delay = std::min(faults_.compact_delay, kMillisecond);
  faults_.out_of_time = 0;
  faults_.write_stall = 0;
  faults_.write_stall_for = 0;
  faults_.watch_think = std::min(faults_.watch_think, 10 * kMillisecond);
  faults_.watch_leaves = 0;
  faults_.watch_creates = 0;
  faults_.catch_up_delay = std::min(faults_.catch_up_delay, kMillisecond);
  faults_.snapshot_time = std::min(faults_.snapshot_time, 20 * kMillisecond);
  faults_.snapshot_loss = 0;
  faults_.install_crash = 0;
  network_.HealAll();
  for (int i = 0; i < size(); ++i) {
    Member& member = *members_[i];
    member.SetFreeSpace(Member::kVolume);
    if (member.wiped()) gone_[i] = true;  // the others reject it for ever
    const bool stopping = member.up() && member.phase() != raftkv::Phase::kServing;
    if (stopping) member.EndStop();
    if (member.up()) {
      member.Resume();
    } else {
      Push(now_, What::kStart, i);
    }
  }
}

// Sometimes crashes a minority for good. Not while a member may not vote yet: such a member must
// hear from all others first (first start).
void World::LoseMinority() {
  if (!ChangesSettled()) return;
  const auto& members = ledger_.model().members();
  const int voters = members.empty() ? profile_.members : static_cast<int>(members.size());
  int losable = (voters - 1) / 2;
  for (int i = 0; i < size(); ++i) {
    if (!TakesPart(i)) {
      losable -= gone_[i];
    } else if (!members_[i]->up() || !members_[i]->status().may_vote) {
      return;
    }
  }
  if (!rng_.Chance(40 * kPercent)) return;
  for (; losable > 0; --losable) {
    const int victim = LeaderOr(SomeMember(/*up=*/true));
    if (!TakesPart(victim)) return;
    members_[victim]->Crash();
    gone_[victim] = true;
  }
}

bool World::OneLeader() {
  raft::MemberId leader = raft::kNobody;
  for (int i = 0; i < size(); ++i) {
    if (!TakesPart(i)) continue;
    const raft::MemberId seen = members_[i]->up() ? members_[i]->raft().leader() : raft::kNobody;
    if (seen == raft::kNobody || (leader != raft::kNobody && leader != seen)) return false;
    leader = seen;
  }
  if (leader == raft::kNobody) return false;
  const Member& led = *members_[MachineOf(leader)];
  return led.id() == leader && led.leads();
}

// Each healthy member must answer a write, then a read. A request that fails is sent again.
bool World::EveryoneServes() {
  bool all = true;
  for (int i = 0; i < size(); ++i) {
    if (!TakesPart(i) || proven_[i] == 2) continue;
    if (!members_[i]->up()) return false;
    all = false;
    if (probes_[i] != 0 && !history_.answered(probes_[i])) continue;
    if (probes_[i] != 0 && history_.succeeded(probes_[i])) ++proven_[i];
    probes_[i] = Ask(i, proven_[i] == 0 ? Wish::kPut : Wish::kRead, -1);
  }
  return all;
}

// An operator ends the alarms that clients have raised, and those of members that are gone. The
// other members end theirs by themselves.
bool World::AlarmsLeftToMembers() {
  for (const auto& [id, by_member] : ledger_.model().alarms()) {
    if (by_member && TakesPart(MachineOf(id.second))) continue;
    // A member that was removed meanwhile answers nothing any more.
    const bool waits =
        disarming_ != 0 && !history_.answered(disarming_) && TakesPart(asked_to_disarm_);
    const int member = SomeMember(/*up=*/true);
    if (!waits && member >= 0 && TakesPart(member)) {
      asked_to_disarm_ = member;
      disarming_ = Ask(member, Wish::kAlarm, -1);
    }
    return false;
  }
  return true;
}

// A healthy leader hands its leadership over without another election in between.
bool World::HandsOver() {
  if (transfer_.target >= 0) {
    const Member& target = *members_[transfer_.target];
    if (target.leads() && target.raft().term() == transfer_.term + 1) return true;
    if (now_ < transfer_.at + longest_election_timeout()) return false;
  }
  const int leader = SomeLeader();
  if (leader < 0) return false;
  std::vector<int> others;
  for (const raft::MemberId voter : members_[leader]->raft().membership().voters()) {
    const int machine = MachineOf(voter);
    const Member& member = *members_[machine];
    const bool candidate = machine != leader && member.id() == voter && TakesPart(machine);
    if (candidate && member.up() && member.status().may_vote) {
      others.push_back(machine);
    }
  }
  if (others.empty()) return true;
  transfer_ = {others[rng_.Below(others.size())], members_[leader]->raft().term(), now_};
  members_[leader]->Transfer(members_[transfer_.target]->id());
  return false;
}

bool World::Converged() {
  if (history_.pending() > 0) return false;
  if (!ledger_.model().alarms().empty()) return false;
  if (!ledger_.model().leases().empty()) return false;  // all of them expire
  for (int i = 0; i < size(); ++i) {
    if (!TakesPart(i)) continue;
    if (!members_[i]->idle() || ledger_.known() != ledger_.size() ||
        members_[i]->state_machine().applied().index != ledger_.size() ||
        members_[i]->must_compact()) {
      return false;
    }
  }
  for (int i = 0; i < size(); ++i) {
    if (TakesPart(i)) ledger_.CheckWhole(i, members_[i]->state_machine(), &rng_);
  }
  return watchers_.CheckComplete().empty();
}

void World::LookAtLeases() {
  std::optional<LeaseChecker::Leader> leader;
  for (int i = 0; i < size(); ++i) {
    const Member& member = *members_[i];
    if (member.dead() || !member.leads()) continue;
    const raft::Raft& raft = member.raft();
    if (leader && leader->term > raft.term()) continue;
    leader = {.member = i,
              .life = member.life(),
              .term = raft.term(),
              .last_index = raft.last_index(),
              .applied = member.state_machine().applied().index,
              .able = !member.busy() && raft.transferee() == raft::kNobody};
  }
  lease_checker_.Look(leader, ledger_.model(), now_);
}

// Compares the hashes at each member's newest revision, and at one that all members have.
void World::CompareHashes() {
  Revision common = INT64_MAX;
  for (const auto& member : members_) {
    if (member->up()) common = std::min(common, member->state_machine().revision());
  }
  for (int i = 0; i < size(); ++i) {
    if (!members_[i]->up()) continue;
    ledger_.CheckHashes(i, members_[i]->state_machine(), 0);
    ledger_.CheckHashes(i, members_[i]->state_machine(), common);
    if (members_[i]->state_machine().compacting()) marks().Hit(Mark::kAsleep);
  }
}

}  // namespace raftkv::sim
