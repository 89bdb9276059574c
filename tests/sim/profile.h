#ifndef RAFTKV_TESTS_SIM_PROFILE_H_
#define RAFTKV_TESTS_SIM_PROFILE_H_

// What one seed is like: the size of the cluster, its limits (tiny, so that edges are met every
// second), and which faults happen how often. Each class of faults is on in about half of the seeds
// ("swarm"), its magnitude drawn, so that seeds differ in kind and not only in timing.
//
// Rates are parts of a million; durations virtual microseconds; 0 means never.

#include <cstdint>
#include <string>

#include "server/raft/config.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

struct Profile {
  int members = 3;
  Micros tick = 50 * kMillisecond;
  Micros request_timeout = 3 * kSecond;
  size_t pending_max = 64;
  raft::Config raft;  // limits and ticks; id and seed are each member's

  // Network.
  uint32_t loss = 0;
  uint32_t duplication = 0;
  Micros delay = 1 * kMillisecond;
  Micros clog_every = 0;  // a directed link stands still for up to 2 s
  Micros partition_every = 0;
  Micros partition_for = 2 * kSecond;
  Micros disconnect_every = 0;  // a connection between two members breaks

  // Disk.
  Micros save_time = 0;
  uint32_t stall = 0;  // of saves that take stall_for instead
  Micros stall_for = 0;
  uint32_t flush = 2 * kPercent;  // of applies that are followed by a flush of the state machine
  Micros flush_interval = 30 * kSecond;  // of the member's own flushes
  uint32_t write_stall = 0;    // of applies before which the state machine's engine begins
  Micros write_stall_for = 0;  // to say that its writes would wait, for so long

  // Members.
  Micros crash_every = 0;
  uint32_t crash_inside = 0;   // of crashes that happen inside a turn or an apply
  uint32_t crash_all = 0;      // of crashes that take everyone down
  uint32_t stop_in_order = 0;  // of crashes that are orderly stops instead
  uint32_t wipe = 0;           // of seeds in which one member loses its data directory
  Micros late_start = 0;       // one member's first start comes that late
  Micros down_for = 500 * kMillisecond;
  uint32_t clock_skew = 0;  // how much faster or slower a member's clock may run
  Micros pause_every = 0;
  Micros pause_for = 0;
  Micros apply_delay = 0;
  size_t apply_entries = 64;             // in one run of the applier on the thread of the turns
  int64_t visited_keys_max = INT64_MAX;  // and keys
  uint32_t out_of_time = 0;              // of batches after which such a run is out of time
  Micros compact_delay = kMillisecond;   // before each step of the physical compaction
  int64_t compact_events = 1000;         // in one step
  uint32_t old_version = 0;              // of members that start as an older release...
  uint32_t upgrade = 50 * kPercent;      // ...and of restarts at which such a member is upgraded
  int asleep = -1;                       // the member that makes no such step

  // Clients.
  int clients = 4;
  int keys = 8;
  uint32_t compact = 0;               // of requests
  Micros think = 100 * kMillisecond;  // between two requests of a client
  Micros patience = 2 * kSecond;      // then it asks elsewhere, while its request lives on
  uint32_t gives_up = 0;              // of writes that end with their client's patience

  // What a seed must have met before its liveness phase may begin.
  Micros time_min = 30 * kSecond;
  uint64_t events_min = 2000;
  uint64_t crashes_min = 2;
  uint64_t partitions_min = 1;
  uint64_t acknowledged_min = 100;
};

Profile DrawProfile(Rng* rng);

std::string Describe(const Profile& profile);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_PROFILE_H_
