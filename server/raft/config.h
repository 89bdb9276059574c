#ifndef RAFTKV_SERVER_RAFT_CONFIG_H_
#define RAFTKV_SERVER_RAFT_CONFIG_H_

// The settings of the Raft core. Time is counted in ticks. A tick is 10 ms in the server, but the
// core does not depend on that.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/raft/types.h"

namespace raftkv::raft {

struct Config {
  MemberId id = kNobody;

  int election_timeout_ticks = 100;  // each timeout is random in [1x, 2x) of this (§5.2)
  int heartbeat_ticks = 10;
  // After the connection to the leader broke (Raft::OnPeerLost), the first round of pre-votes
  // begins after a random time in [0, 1x] of this, and each retry after another one in [1x, 3x).
  int fast_campaign_ticks = 5;

  size_t append_entries_max = 1024;  // entries in one AppendEntries
  // Bounds in bytes. A single entry or message may be larger, if nothing else is in the same place.
  size_t append_bytes_max = 1 << 20;        // EntryBytes in one AppendEntries
  size_t inflight_messages_max = 64;        // unacknowledged appends to one peer
  size_t inflight_bytes_max = 16 << 20;     // the same in bytes
  size_t uncommitted_bytes_max = 64 << 20;  // beyond: Propose returns kTooManyRequests
  size_t committed_bytes_max = 16 << 20;    // committed entries handed out but not OnApplied
  size_t pending_reads_max = 16384;         // reads that wait for an index; beyond: they get 0
  size_t log_cache_bytes_max = 64 << 20;    // entries kept in memory for lagging followers

  // Reads the configuration in the payload of an entry of type kConfiguration. The payload of each
  // entry that reaches the core must have one.
  Configuration (*configuration_of)(std::string_view payload) = nullptr;

  // Seeds the core's random generator, which chooses the election timeouts and the first id of the
  // read index requests that this member sends as a follower. Those ids must not repeat after a
  // restart, so each start needs another seed.
  uint64_t seed = 1;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_CONFIG_H_
