#include "tests/sim/divergence.h"

#include <string>

#include "absl/strings/str_format.h"
#include "tests/member/cluster.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

namespace {

using raft::MemberId;

// Entries, about a third of them to the changed key.
void Write(Cluster& c, Rng& rng, int count) {
  for (int i = 0; i < count; ++i) {
    const MemberId at = c.leader();
    if (at != raft::kNobody) c.Put(at, rng.Chance(30 * kPercent) ? "k" : "other", "v");
    c.Run(absl::Milliseconds(rng.Between(10, 60)));
  }
}

// A member goes down and up, or leadership moves.
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
  c.Run(absl::Seconds(5));
  Write(c, rng, static_cast<int>(rng.Between(4, 40)));
  const MemberId wrong = 1 + rng.Below(size);
  c.Put(c.leader(), "k", "v");
  c.Run(absl::Seconds(2));
  c.Stop(wrong);
  c.ChangeAByte(wrong, "k");
  c.Start(wrong);
  c.Run(absl::Milliseconds(rng.Between(10, 4000)));
  for (int i = 0; i < 3; ++i) {
    Write(c, rng, static_cast<int>(rng.Between(1, 12)));
    Disturb(c, rng, size);
  }
  // Two intervals of digests, while all members run.
  c.Run(absl::Seconds(5));
  Write(c, rng, 40);
  c.Run(absl::Seconds(5));
  for (MemberId id = 1; id <= size; ++id) {
    const Fault& fault = c[id].member->replica().fault();
    if (static_cast<bool>(fault) != (id == wrong)) {
      verdict->Fail("divergence", absl::StrFormat("n%d %s, and the state of n%d was changed", id,
                                                  fault ? "has halted" : "has not halted", wrong));
    }
  }
  if (c.leader() == raft::kNobody) verdict->Fail("divergence", "the others do not serve");
  if (!verdict->failed()) marks->Hit(Mark::kDivergenceFound);
}

}  // namespace raftkv::sim
