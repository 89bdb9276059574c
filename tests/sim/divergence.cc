#include "tests/sim/divergence.h"

#include <string>

#include "absl/strings/str_format.h"
#include "tests/member/cluster.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

namespace {

using raft::MemberId;

constexpr int64_t kLease = 7;

// Every member that has the lease rejects a second grant of it.
void Grant(Cluster& c) {
  proto::Command command;
  command.mutable_lease_grant()->set_id(kLease);
  command.mutable_lease_grant()->set_ttl(100'000);
  c.Propose(c.leader(), command);
}

// Writes entries. About a third of them concern the changed key or the lost lease.
void Write(Cluster& c, Rng& rng, bool lease, int count) {
  for (int i = 0; i < count; ++i) {
    const bool changed = rng.Chance(30 * kPercent);
    if (c.leader() != raft::kNobody) {
      changed&& lease ? Grant(c) : void(c.Put(c.leader(), changed ? "k" : "other", "v"));
    }
    c.Run(absl::Milliseconds(rng.Between(10, 60)));
  }
}

// Restarts a member, transfers the leadership, or does nothing. Then waits.
void Disturb(Cluster& c, Rng& rng, MemberId size) {
  const MemberId id = 1 + rng.Below(size);
  switch (rng.Below(4)) {
    case 0:
      c.Stop(id);
      c.Start(id);
      break;
    case 1:
      c.Crash(id);
      c.Start(id);
      break;
    case 2:
      if (c.leader() != raft::kNobody) c.Transfer(c.leader(), id);
      break;
    default:
      break;
  }
  c.Run(absl::Milliseconds(rng.Between(100, 3000)));
}

}  // namespace

void RunDivergence(uint64_t seed, Marks* marks, Verdict* verdict) {
  Rng rng(Mix(seed, 8));
  const MemberId size = rng.Chance(70 * kPercent) ? 3 : 5;
  const LogTail tail = rng.Chance(50 * kPercent) ? LogTail{} : LogTail{.entries_max = 4};
  Cluster c(static_cast<int>(size), 16384, 128 << 20, tail);
  const bool lease = rng.Chance(30 * kPercent);
  c.Run(absl::Seconds(5));
  Write(c, rng, lease, static_cast<int>(rng.Between(4, 40)));
  const MemberId wrong = 1 + rng.Below(size);
  lease ? Grant(c) : void(c.Put(c.leader(), "k", "v"));
  c.Run(absl::Seconds(2));
  c.Stop(wrong);
  lease ? c.LoseLease(wrong, kLease) : c.ChangeNewestVersion(wrong, "k");
  c.Start(wrong);
  c.Run(absl::Milliseconds(rng.Between(10, 4000)));
  for (int i = 0; i < 3; ++i) {
    Write(c, rng, lease, static_cast<int>(rng.Between(1, 12)));
    Disturb(c, rng, size);
  }
  // Two intervals of digests, while all members run.
  c.Run(absl::Seconds(5));
  Write(c, rng, lease, 40);
  c.Run(absl::Seconds(5));
  for (MemberId id = 1; id <= size; ++id) {
    const Fault& fault = c[id].member->replica().fault();
    if (static_cast<bool>(fault) != (id == wrong)) {
      verdict->Fail("divergence", absl::StrFormat("n%d %s, and the state of n%d was changed", id,
                                                  fault ? "has halted" : "has not halted", wrong));
    }
  }
  if (c.leader() == raft::kNobody) verdict->Fail("divergence", "the others do not serve");
  if (!verdict->failed()) marks->Hit(lease ? Mark::kLostLeaseFound : Mark::kDivergenceFound);
}

}  // namespace raftkv::sim
