#ifndef RAFTKV_TESTS_SIM_PROFILE_H_
#define RAFTKV_TESTS_SIM_PROFILE_H_

// The settings of one seed's run: the size of the cluster, its limits (tiny, so that they are
// reached every second), and how often each fault happens. Each class of faults is on in about half
// of the seeds, with a random magnitude (swarm testing), so that seeds differ in the kinds of their
// faults and not only in timing.
//
// Rates are in parts per million, durations in virtual microseconds; 0 means never.

#include <cstdint>
#include <string>

#include "server/member/log_tail.h"
#include "server/raft/config.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

struct Profile {
  int members = 3;  // at the start
  int spares = 0;   // further machines, which join as members
  Micros tick = 50 * kMillisecond;
  Micros request_timeout = 3 * kSecond;
  size_t pending_max = 64;
  size_t large_bytes = 64 << 10;  // ReplicaOptions::large_bytes; by default, nothing is large
  raft::Config raft;              // limits and ticks; id and seed are each member's

  // Network.
  uint32_t loss = 0;
  uint32_t duplication = 0;
  Micros delay = 1 * kMillisecond;
  Micros clog_every = 0;  // one direction of a link delivers nothing for up to 2 s
  Micros partition_every = 0;
  Micros partition_for = 2 * kSecond;
  Micros disconnect_every = 0;  // a connection between two members breaks

  // Disk.
  Micros save_time = 0;
  uint32_t stall = 0;  // the rate of saves that take stall_for instead of save_time
  Micros stall_for = 0;
  uint32_t flush = 2 * kPercent;  // the rate of applies after which the state machine is flushed
  Micros flush_interval = 30 * kSecond;  // MemberOptions::flush_interval
  // The rate of applies before which the state machine's engine starts to report that writes would
  // wait, and for how long it reports that.
  uint32_t write_stall = 0;
  Micros write_stall_for = 0;

  // Members.
  Micros crash_every = 0;
  uint32_t crash_inside = 0;   // the rate of crashes that happen inside a turn or an apply
  uint32_t crash_all = 0;      // the rate of crashes of all members at once
  uint32_t stop_in_order = 0;  // the rate of crashes that are orderly stops instead
  Micros hand_over_for = 0;    // a leader that stops has this time to hand its leadership over
  Micros transfer_every = 0;   // a leader is asked to hand its leadership over
  uint32_t wipe = 0;           // the rate of seeds in which one member loses its data directory
  Micros tear_every = 0;       // the log of a member loses synced entries at its end
  Micros change_every = 0;     // a member joins, is promoted, is updated, or leaves
  Micros space_every = 0;      // the disk of a member becomes short of space, or full
  Micros space_for = 0;        // how long that lasts
  Micros late_start = 0;       // delay of the first start of one member
  Micros down_for = 500 * kMillisecond;
  uint32_t clock_skew = 0;              // how much faster or slower a member's clock may run
  Micros clock_start = 3600 * kSecond;  // what the clocks show when the run starts
  Micros pause_every = 0;
  Micros pause_for = 0;
  Micros apply_delay = 0;
  size_t apply_entries = 64;             // ApplyBudget::items_max of Apply(kHere)
  int64_t visited_keys_max = INT64_MAX;  // ApplyBudget::steps_max of Apply(kHere)
  bool parallel_reads = false;           // MemberOptions::parallel_reads
  uint32_t out_of_time = 0;              // the rate of batches after which its time is over
  Micros compact_delay = kMillisecond;   // before each step of the physical compaction
  int64_t compact_steps = 1000;          // MemberOptions::compact_steps_max
  uint32_t old_version = 0;              // the rate of members that start as older releases
  uint32_t upgrade = 50 * kPercent;      // the rate of their restarts at which they are upgraded
  int asleep = -1;                       // this member never compacts physically

  // Logs and snapshots.
  LogTail tail{.entries_max = 1 << 20};       // by default, nothing is cut
  Micros snapshot_time = 100 * kMillisecond;  // how long sending one takes
  uint32_t snapshot_loss = 0;                 // the rate of those that break off
  uint32_t install_crash = 0;                 // the rate of installs in which the member dies

  // Clients.
  int clients = 4;
  int keys = 8;
  uint32_t compact = 0;  // the rate of requests that are compactions
  uint32_t lease = 0;    // the rate of requests about leases
  uint32_t session = 0;  // the rate of writes of keys that belong to a session
  uint32_t alarm = 0;    // the rate of requests that raise or end an alarm
  uint32_t search = 0;   // the rate of those about the key that is searched (register_search.h)
  // Compactions by the leader (AutoCompactionOptions); an "hour" is auto_compact_hour.
  Micros auto_compact_period = 0;
  Micros auto_compact_hour = kSecond;
  int64_t auto_compact_revisions = 0;
  Micros think = 100 * kMillisecond;  // between two requests of a client
  Micros patience = 2 * kSecond;      // after that, a client asks another member
  uint32_t gives_up = 0;              // the rate of writes that the client then cancels

  // Watches. The limits are those of watch::HubOptions.
  int watch_clients = 2;
  Micros watch_think = 50 * kMillisecond;  // between two looks of a client at its stream
  uint32_t watch_leaves = kPercent;        // the rate of looks after which it changes the member
  uint32_t watch_creates = 30 * kPercent;  // chance that it creates a watch when it looks
  size_t watch_steps = 64;                 // RunBudget::steps_max
  size_t watch_stream_bytes = 4096;
  size_t watch_fragment_bytes = 1 << 20;
  int64_t watch_inline = 16;  // revisions and events
  int64_t watch_jump = 1000;
  Micros catch_up_delay = kMillisecond;

  // What the run must reach before its liveness phase may begin.
  Micros time_min = 60 * kSecond;
  uint64_t events_min = 2000;
  uint64_t crashes_min = 2;
  uint64_t partitions_min = 1;
  uint64_t acknowledged_min = 100;

  int machines() const { return members + spares; }
  // A leader does not give up a transfer of its leadership sooner, by the simulator's time. It
  // waits for an election timeout in ticks. The first tick may count up to heartbeat_ticks that
  // passed before the transfer began, and a further one has partly passed.
  Micros TransferMin() const {
    return tick * (raft.election_timeout_ticks - raft.heartbeat_ticks - 1);
  }
};

Profile DrawProfile(Rng* rng);

std::string Describe(const Profile& profile);

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_PROFILE_H_
