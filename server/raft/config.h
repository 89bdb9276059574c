#ifndef RAFTKV_SERVER_RAFT_CONFIG_H_
#define RAFTKV_SERVER_RAFT_CONFIG_H_

// The core's settings. Time is counted in ticks (10 ms in the server; the core does not know).

#include <cstddef>
#include <cstdint>

#include "server/raft/types.h"

namespace raftkv::raft {

struct Config {
  MemberId id = kNobody;

  int election_timeout_ticks = 100;  // randomised in [1x, 2x) at each reset (§5.2)
  int heartbeat_ticks = 10;

  size_t append_entries_max = 1024;         // entries in one AppendEntries
  size_t append_bytes_max = 1 << 20;        // EntryBytes in one AppendEntries; one always passes
  size_t inflight_messages_max = 64;        // unacknowledged appends to one peer
  size_t inflight_bytes_max = 16 << 20;     // the same in bytes; one message always passes
  size_t uncommitted_bytes_max = 64 << 20;  // beyond: Propose refuses
  size_t committed_bytes_max = 16 << 20;    // handed out but not OnApplied; one entry passes
  size_t pending_reads_max = 16384;         // ReadIndex waiting for a round; beyond: refused
  size_t log_cache_bytes_max = 64 << 20;    // entries kept in memory for lagging followers

  // Of the one random generator: election jitter, and the first number of the questions that a
  // follower asks its leader. Those must not repeat over restarts: give each start another seed.
  uint64_t seed = 1;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_CONFIG_H_
