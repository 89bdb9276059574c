#include "tests/sim/long_tail.h"

#include <string>

#include "absl/strings/str_format.h"
#include "tests/member/cluster.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

namespace {

using raft::MemberId;

constexpr LogTail kShortLog = {.entries_max = 1, .step_entries = 1, .held_bytes_max = 0};
constexpr MemberId kSize = 3;

void Write(Cluster& c, MemberId at, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    c.Put(at, "k", std::to_string(i));
    c.Run(absl::Milliseconds(10));
  }
}

}  // namespace

void RunLongTail(uint64_t seed, Marks* marks, Verdict* verdict) {
  Rng rng(Mix(seed, 9));
  Cluster c(kSize, 16384, 128 << 20, kShortLog);
  c.Run(kElection);
  Write(c, c.leader(), rng.Below(5));
  const MemberId old = c.leader();
  c.Cut(old);
  Write(c, old, 20 + rng.Below(20));
  c.Run(kElection);
  if (c.leader() == raft::kNobody) return;
  Write(c, c.leader(), 1 + rng.Below(5));
  const raft::Index tail = c[old].log->last_index();
  for (MemberId id = 1; id <= kSize; ++id) {
    if (id != old) c[id].state->Flush();
  }
  c.Run(absl::Milliseconds(100));
  c.Heal();
  for (int i = 0; i < 500 && c[old].log->last_index() == tail; ++i) c.Run(absl::Milliseconds(10));
  const raft::Index base = c[old].log->first_index() - 1, last = c[old].log->last_index();
  if (base < last || base >= tail) return;  // something else than a snapshot was first
  marks->Hit(Mark::kInstalledOverALongerLog);
  c.Crash(old);
  c.Start(old);
  if (c[old].log->last_index() != base) {
    verdict->Fail("I2", absl::StrFormat("n%d installed a snapshot that ends at %d over a log that "
                                        "ended at %d, and after a crash its log ends at %d",
                                        old, base, tail, c[old].log->last_index()));
    return;
  }
  c.Run(kElection);
  Write(c, c.leader(), 3);
  c.Run(kElection);
  for (MemberId id = 1; id <= kSize; ++id) {
    if (c[id].raft().halted() || c[id].state->digest() != c[c.leader()].state->digest()) {
      verdict->Fail("I13", absl::StrFormat("n%d has halted or differs", id));
    }
  }
}

}  // namespace raftkv::sim
