// The methods of World that inject faults.

#include <algorithm>
#include <vector>

#include "tests/sim/world.h"

namespace raftkv::sim {

namespace {

// The longest times of the phases kDeclining and kDraining of an orderly stop.
constexpr Micros kStopGrace = kSecond;
constexpr Micros kDrainTime = 200 * kMillisecond;

}  // namespace

int World::SomeMember(bool up) {
  const int first = static_cast<int>(rng_.Below(size()));
  for (int i = 0; i < size(); ++i) {
    const int number = (first + i) % size();
    if (members_[number]->up() == up && !gone_[number]) return number;
  }
  return -1;
}

// Returns a leader half of the time, if there is one, because faults at a leader have more effects.
// Otherwise `member`.
int World::LeaderOr(int member) {
  if (rng_.Chance(50 * kPercent)) return member;
  const int leader = SomeLeader();
  return leader >= 0 ? leader : member;
}

int World::SomeLeader() {
  for (int i = 0; i < size(); ++i) {
    if (members_[i]->leads()) return i;
  }
  return -1;
}

void World::OnCrashDue() {
  if (rng_.Chance(faults_.crash_all)) {
    marks().Hit(Mark::kCrashAll);
    for (int i = 0; i < size(); ++i) {
      if (members_[i]->up()) CrashNow(i);
    }
    return;
  }
  const int some = SomeMember(/*up=*/true);
  if (some < 0) return;
  const int victim = LeaderOr(some);
  if (rng_.Chance(faults_.stop_in_order)) {
    Member& member = *members_[victim];
    if (member.stops()) return;
    if (member.leads() && faults_.hand_over_for > 0) {
      member.HandOverLeadership();
      Push(now_ + 1 + rng_.Around(faults_.hand_over_for), What::kStop, victim, 0, member.life());
    } else {
      member.Decline();
      Push(now_ + rng_.Between(0, kStopGrace), What::kStop, victim, 0, member.life());
    }
  } else if (rng_.Chance(faults_.crash_inside)) {
    members_[victim]->CrashSoon();
    Push(now_ + 500 * kMillisecond, What::kCrashLate, victim, 0, members_[victim]->life());
  } else {
    CrashNow(victim);
  }
}

void World::CrashNow(int member) {
  ++result_.crashes;
  members_[member]->Crash();
  Push(now_ + 1 + rng_.Around(faults_.down_for), What::kStart, member);
}

// The next step of an orderly stop.
void World::OnStopDue(int number) {
  Member& member = *members_[number];
  if (member.busy()) {
    Push(now_ + kMillisecond, What::kStop, number, 0, member.life());
  } else if (member.phase() == raftkv::Phase::kServing) {
    member.Decline();
    Push(now_ + rng_.Between(0, kStopGrace), What::kStop, number, 0, member.life());
  } else if (member.phase() == raftkv::Phase::kDeclining) {
    const uint64_t life = member.life();
    member.Drain();
    Push(now_ + rng_.Between(0, kDrainTime), What::kStop, number, 0, life);
  } else {
    member.EndStop();
    Push(now_ + 1 + rng_.Around(faults_.down_for), What::kStart, number);
  }
}

// Usually a leader gets the request, and usually the target is another member, which may be down,
// cut off or behind.
void World::OnTransferDue() {
  const int some = SomeMember(/*up=*/true);
  if (some < 0) return;
  const int asked = LeaderOr(LeaderOr(some));
  const auto machine = static_cast<int>(rng_.Below(size() + 1));
  const raft::MemberId target = machine < size() ? members_[machine]->id() : 1 << 20;
  Member& member = *members_[asked];
  if (!member.leads()) marks().Hit(Mark::kTransferAskedOfFollower);
  member.Transfer(target);
}

void World::OnDied(int member) { CrashNow(member); }

// Cuts the links between the members that are `inside` and the others. Shape 0: in both directions.
// Shape 1: the inside receives nothing. Shape 2: the inside sends nothing.
void World::Isolate(const std::vector<bool>& inside, int shape) {
  for (int from = 0; from < size(); ++from) {
    for (int to = 0; to < size(); ++to) {
      if (inside[from] == inside[to]) continue;
      if (shape == 1 && !inside[to]) continue;
      if (shape == 2 && !inside[from]) continue;
      network_.Cut(from, to, true);
    }
  }
}

void World::OnPartitionDue() {
  ++result_.partitions;
  network_.HealAll();
  const int shape = rng_.Chance(60 * kPercent) ? 0 : static_cast<int>(rng_.Between(1, 2));
  marks().Hit(shape == 0 ? Mark::kPartitionSymmetric : Mark::kPartitionOneWay);
  std::vector<bool> inside(size());
  switch (rng_.Below(4)) {
    case 0: {  // one member alone
      const int alone = LeaderOr(static_cast<int>(rng_.Below(size())));
      inside[alone] = true;
      if (members_[alone]->leads()) marks().Hit(Mark::kPartitionLeader);
      Isolate(inside, shape);
      break;
    }
    case 1: {  // a random split
      for (int i = 0; i < size(); ++i) inside[i] = rng_.Chance(50 * kPercent);
      Isolate(inside, shape);
      break;
    }
    case 2: {  // two sides, and one member that is connected to both
      const int bridge = static_cast<int>(rng_.Below(size()));
      for (int from = 0; from < size(); ++from) {
        for (int to = 0; to < size(); ++to) {
          if (from == bridge || to == bridge || from % 2 == to % 2) continue;
          network_.Cut(from, to, true);
        }
      }
      break;
    }
    default:  // random links, each in one direction
      for (int from = 0; from < size(); ++from) {
        for (int to = 0; to < size(); ++to) {
          if (from != to && rng_.Chance(30 * kPercent)) network_.Cut(from, to, true);
        }
      }
  }
  Push(now_ + 1 + rng_.Around(faults_.partition_for), What::kHeal);
}

void World::OnClogDue() {
  const int from = static_cast<int>(rng_.Below(size()));
  const int to = static_cast<int>((from + 1 + rng_.Below(size() - 1)) % size());
  network_.Clog(from, to, now_ + rng_.Between(0, 2 * kSecond));
}

void World::OnPauseDue() {
  const int some = SomeMember(/*up=*/true);
  if (some < 0) return;
  const int number = LeaderOr(some);
  const Micros duration = rng_.Around(faults_.pause_for);
  marks().Hit(Mark::kPaused);
  if (members_[number]->leads() && duration > election_timeout()) marks().Hit(Mark::kPausedLeader);
  members_[number]->Pause(duration);
}

// The disk of one member becomes short of space, or full, and gets space again later.
void World::OnSpaceDue() {
  const int number = LeaderOr(static_cast<int>(rng_.Below(size())));
  const bool full = rng_.Chance(40 * kPercent);
  if (full && members_[number]->leads()) marks().Hit(Mark::kFullLeader);
  members_[number]->SetFreeSpace(rng_.Below(full ? Member::kLowSpace / 4 : Member::kLowSpace));
  Push(now_ + 1 + rng_.Around(faults_.space_for), What::kSpaceBack, number);
}

// A member comes back with an empty data directory. raftkv handles this only if all other members
// have recorded the store id of the old directory, durably, and may vote without this member. So
// wait until then.
void World::OnWipeDue() {
  const int victim = static_cast<int>(rng_.Below(size()));
  bool known = members_[victim]->up();
  for (int i = 0; i < size() && known; ++i) {
    if (i == victim) continue;
    known = members_[i]->up() && !members_[i]->doomed() && members_[i]->status().may_vote;
    if (!known) break;
    const auto store_ids = members_[i]->state_machine().store_ids();
    const auto it = store_ids.find(members_[victim]->id());
    known = it != store_ids.end() && it->second == members_[victim]->store_id();
  }
  if (!known) {
    Push(now_ + kSecond, What::kWipe);
    return;
  }
  for (int i = 0; i < size(); ++i) {
    if (i != victim) members_[i]->FlushState();
  }
  ++result_.crashes;
  members_[victim]->Crash();
  members_[victim]->Wipe();
  Push(now_ + 1 + rng_.Around(faults_.down_for), What::kStart, victim);
}

// The log of a member loses its end. At least a majority must be able to elect a leader without
// that member, so all other members must be up and may vote. The same member may be torn again
// before its log is repaired.
void World::OnTearDue() {
  const int victim = LeaderOr(static_cast<int>(rng_.Below(size())));
  for (int i = 0; i < size(); ++i) {
    const bool up = members_[i]->up() && !members_[i]->doomed() && !members_[i]->wiped();
    if (!up || (i != victim && !members_[i]->status().may_vote)) return;
  }
  ++result_.crashes;
  members_[victim]->CrashAndTear();
  Push(now_ + 1 + rng_.Around(faults_.down_for), What::kStart, victim);
}

}  // namespace raftkv::sim
