#include "tests/sim/profile.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_format.h"

namespace raftkv::sim {

namespace {

// Clocks that pass the end of a signed or unsigned 32-bit number of milliseconds, or of a signed
// 64-bit number of nanoseconds.
constexpr Micros kClockEnds[] = {(int64_t{1} << 31) * kMillisecond,
                                 (int64_t{1} << 32) * kMillisecond, INT64_MAX / 1000};

void DrawLimits(Rng* rng, Profile* p) {
  p->members = rng->Chance(35 * kPercent) ? 5 : rng->Chance(10 * kPercent) ? 7 : 3;
  p->tick = rng->Between(40, 60) * kMillisecond;
  p->request_timeout = rng->Between(1, 5) * kSecond;
  p->pending_max = rng->Chance(30 * kPercent) ? rng->Between(1, 4) : 64;

  raft::Config& raft = p->raft;
  raft.election_timeout_ticks = static_cast<int>(rng->Between(8, 14));
  raft.heartbeat_ticks = static_cast<int>(rng->Between(2, 3));
  raft.fast_campaign_ticks = static_cast<int>(rng->Between(1, 3));
  raft.append_entries_max = rng->Chance(70 * kPercent) ? rng->Between(1, 3) : 64;
  raft.append_bytes_max = rng->Chance(30 * kPercent) ? rng->Between(1, 300) : 1 << 16;
  raft.inflight_messages_max = rng->Chance(70 * kPercent) ? rng->Between(1, 4) : 64;
  raft.inflight_bytes_max = rng->Chance(30 * kPercent) ? rng->Between(1, 600) : 1 << 20;
  raft.uncommitted_bytes_max = rng->Chance(20 * kPercent) ? rng->Between(200, 800) : 1 << 20;
  raft.committed_bytes_max = rng->Chance(40 * kPercent) ? rng->Between(1, 400) : 1 << 20;
  raft.pending_reads_max = rng->Chance(20 * kPercent) ? rng->Between(1, 3) : 1024;
  raft.log_cache_bytes_max = rng->Chance(60 * kPercent) ? rng->Between(0, 500) : 1 << 20;
}

void DrawNetwork(Rng* rng, Profile* p) {
  const auto on = [rng] { return rng->Chance(50 * kPercent); };
  if (on()) p->loss = rng->Below(on() ? 30 * kPercent : 5 * kPercent);
  if (on()) p->duplication = rng->Below(50 * kPercent);
  p->delay = on() ? rng->Between(100, 5000) : rng->Between(5, 60) * kMillisecond;
  if (on()) p->clog_every = rng->Between(1, 8) * kSecond;
  p->partition_every = rng->Between(4, 14) * kSecond;
  p->partition_for = rng->Between(500, 5000) * kMillisecond;
  if (on()) p->disconnect_every = rng->Between(500, 6000) * kMillisecond;
}

void DrawMembers(Rng* rng, Profile* p) {
  const auto on = [rng] { return rng->Chance(50 * kPercent); };
  p->save_time = on() ? rng->Between(0, 1000) : rng->Between(1, 30) * kMillisecond;
  if (on()) {
    p->stall = rng->Below(kPercent);
    p->stall_for = rng->Between(300, 4000) * kMillisecond;
  }
  p->flush = rng->Below(10 * kPercent);
  p->crash_every = rng->Between(1500, 10000) * kMillisecond;
  p->crash_inside = 60 * kPercent;
  if (on()) p->crash_all = rng->Below(25 * kPercent);
  if (on()) p->stop_in_order = rng->Below(30 * kPercent);
  if (on()) p->hand_over_for = rng->Between(50, 1000) * kMillisecond;
  if (on()) p->transfer_every = rng->Between(500, 8000) * kMillisecond;
  if (rng->Chance(30 * kPercent)) {
    p->space_every = rng->Between(500, 8000) * kMillisecond;
    p->space_for = rng->Between(100, 4000) * kMillisecond;
  }
  p->wipe = 8 * kPercent;
  if (rng->Chance(20 * kPercent)) p->late_start = rng->Between(1, 10) * kSecond;
  p->down_for =
      on() ? rng->Between(10, 500) * kMillisecond : rng->Between(500, 5000) * kMillisecond;
  if (on()) p->clock_skew = rng->Below(30 * kPercent);
  if (rng->Chance(20 * kPercent)) {
    p->clock_start = kClockEnds[rng->Below(std::size(kClockEnds))] - rng->Between(2, 25) * kSecond;
  }
  if (on()) {
    p->pause_every = rng->Between(2, 10) * kSecond;
    p->pause_for = rng->Between(100, 4000) * kMillisecond;
  }
  if (on()) p->apply_delay = rng->Between(1, 40) * kMillisecond;
  if (on()) p->apply_entries = rng->Between(1, 4);
  if (on()) p->visited_keys_max = rng->Between(1, 6);
  if (on()) p->compact_delay = rng->Between(1, 2000) * kMillisecond;
  if (rng->Chance(70 * kPercent)) p->compact_steps = rng->Between(1, 8);
  if (rng->Chance(30 * kPercent)) p->asleep = static_cast<int>(rng->Below(p->members));
  if (on()) p->old_version = rng->Between(20, 100) * kPercent;
  if (on()) p->out_of_time = rng->Below(50 * kPercent);
  if (on()) p->flush_interval = rng->Between(50, 5000) * kMillisecond;
  if (on()) {
    p->write_stall = rng->Below(5 * kPercent);
    p->write_stall_for = rng->Between(1, 1500) * kMillisecond;
  }
}

void DrawLogs(Rng* rng, Profile* p) {
  const auto on = [rng] { return rng->Chance(50 * kPercent); };
  if (!rng->Chance(80 * kPercent)) return;
  p->tail.entries_max = on() ? rng->Between(1, 6) : rng->Between(1, 60);
  if (on()) p->tail.bytes_max = rng->Between(1, 3 * LogStore::kSizeStep);
  p->tail.step_entries = rng->Between(1, 8);
  p->tail.held_bytes_max = on() ? 0 : rng->Between(0, 4 * LogStore::kSizeStep);
  p->snapshot_time =
      on() ? rng->Between(1, 100) * kMillisecond : rng->Between(100, 4000) * kMillisecond;
  if (on()) p->snapshot_loss = rng->Below(50 * kPercent);
  if (on()) p->install_crash = rng->Between(20, 80) * kPercent;
}

void DrawClients(Rng* rng, Profile* p) {
  p->clients = static_cast<int>(rng->Between(2, 6));
  p->keys = static_cast<int>(rng->Between(2, 12));
  if (rng->Chance(80 * kPercent)) p->compact = rng->Between(1, 8) * kPercent;
  if (rng->Chance(60 * kPercent)) p->lease = rng->Between(5, 50) * kPercent;
  if (rng->Chance(20 * kPercent)) p->alarm = rng->Between(1, 6) * kPercent;
  if (rng->Chance(25 * kPercent)) p->search = rng->Between(20, 70) * kPercent;
  if (rng->Chance(15 * kPercent)) {
    p->auto_compact_period = rng->Between(200, 8000) * kMillisecond;
    p->auto_compact_hour = rng->Between(200, 4000) * kMillisecond;
  } else if (rng->Chance(15 * kPercent)) {
    p->auto_compact_revisions = rng->Between(1, 40);
    p->auto_compact_hour = rng->Between(200, 4000) * kMillisecond;
  }
  p->think = rng->Between(40, 250) * kMillisecond;
  p->patience = rng->Between(200, 4000) * kMillisecond;
  if (rng->Chance(50 * kPercent)) p->gives_up = rng->Below(80 * kPercent);
}

void DrawWatches(Rng* rng, Profile* p) {
  const auto on = [rng] { return rng->Chance(50 * kPercent); };
  p->watch_think =
      on() ? rng->Between(1, 50) * kMillisecond : rng->Between(50, 1000) * kMillisecond;
  p->watch_leaves = rng->Below(4 * kPercent);
  if (on()) p->watch_steps = rng->Between(1, 8);
  if (on()) p->watch_stream_bytes = rng->Between(300, 2000);
  if (on()) p->watch_fragment_bytes = rng->Between(300, 1000);
  if (on()) p->watch_inline = rng->Between(0, 4);
  if (on()) p->watch_jump = rng->Between(2, 20);
  if (on()) p->catch_up_delay = rng->Between(1, 200) * kMillisecond;
}

// A wiped member never comes back. So members are wiped only in runs without changes of the
// members.
void DrawChanges(Rng* rng, Profile* p) {
  if (!rng->Chance(40 * kPercent)) return;
  p->change_every = rng->Chance(50 * kPercent) ? rng->Between(200, 2000) * kMillisecond
                                               : rng->Between(1, 15) * kSecond;
  p->spares = static_cast<int>(rng->Between(1, 3));
  if (rng->Chance(30 * kPercent)) p->members = static_cast<int>(rng->Between(1, 2));
  // A single voter sends entries to learners before it has saved them. So there are learners and
  // many crashes.
  if (p->members == 1) {
    p->spares = std::max(p->spares, 2);
    p->crash_every = rng->Between(500, 2000) * kMillisecond;
    p->crash_inside = 100 * kPercent;
  }
  p->wipe = 0;
}

// Not while members may leave: two members, of which one does not vote, elect no leader. The
// generator is a copy, so that the other seeds stay what they were.
void DrawTears(Rng rng, Profile* p) {
  if (p->change_every > 0 || !rng.Chance(30 * kPercent)) return;
  p->tear_every = rng.Between(500, 8000) * kMillisecond;
}

void DrawSessions(Rng rng, Profile* p) {
  for (int i = 0; i < 4; ++i) rng.Below(2);  // so that it does not depend on DrawTears
  // Not all writes: before cluster version 4 there are no sessions.
  if (rng.Chance(40 * kPercent)) p->session = rng.Between(20, 80) * kPercent;
}

void DrawLarge(Rng rng, Profile* p) {
  for (int i = 0; i < 7; ++i) rng.Below(2);  // so that it does not depend on the others
  if (rng.Chance(50 * kPercent)) p->large_bytes = rng.Between(40, 200);
}

void DrawReads(Rng rng, Profile* p) {
  for (int i = 0; i < 9; ++i) rng.Below(2);  // so that it does not depend on the others
  p->parallel_reads = rng.Chance(50 * kPercent);
}

}  // namespace

Profile DrawProfile(Rng* rng) {
  Profile p;
  DrawLimits(rng, &p);
  DrawNetwork(rng, &p);
  DrawMembers(rng, &p);
  DrawClients(rng, &p);
  DrawWatches(rng, &p);
  DrawLogs(rng, &p);
  DrawChanges(rng, &p);
  DrawTears(*rng, &p);
  DrawSessions(*rng, &p);
  DrawLarge(*rng, &p);
  DrawReads(*rng, &p);
  return p;
}

std::string Describe(const Profile& p) {
  return absl::StrFormat(
      "members %d, spares %d, changed every %d us, tick %d us, election %d ticks, batch %d entries "
      "%d bytes, window %d messages %d "
      "bytes, cache %d bytes\n"
      "loss %d ppm, duplication %d ppm, delay %d us, partition every %d us for %d us\n"
      "save %d us, stall %d ppm of %d us, crash every %d us (inside %d ppm, all %d ppm), down %d "
      "us, "
      "pause every %d us for %d us, transfer every %d us, hand over for %d us, disk full every %d "
      "us for %d us, log torn every %d us\n"
      "apply delay %d us, %d entries, %d keys, parallel reads %d, out of time %d ppm, stalls %d "
      "ppm of %d us; flush "
      "every %d us; compaction every %d us, %d events, asleep n%d\n"
      "log %d entries %d bytes in steps of %d, %d bytes held; snapshots take %d us, loss %d ppm\n"
      "%d clients, %d keys, think %d us, patience %d us, gives up %d ppm, compact %d ppm, leases "
      "%d ppm, sessions %d ppm, alarms %d ppm, searched %d ppm; compaction by itself: period %d "
      "us, hour %d us, %d "
      "revisions\n"
      "watches: look every %d us, leave %d ppm, run %d events, stream %d bytes, fragments %d "
      "bytes, "
      "inline %d, jump %d, catch up in %d us\n"
      "commands of %d bytes are large",
      p.members, p.spares, p.change_every, p.tick, p.raft.election_timeout_ticks,
      p.raft.append_entries_max, p.raft.append_bytes_max, p.raft.inflight_messages_max,
      p.raft.inflight_bytes_max, p.raft.log_cache_bytes_max, p.loss, p.duplication, p.delay,
      p.partition_every, p.partition_for, p.save_time, p.stall, p.stall_for, p.crash_every,
      p.crash_inside, p.crash_all, p.down_for, p.pause_every, p.pause_for, p.transfer_every,
      p.hand_over_for, p.space_every, p.space_for, p.tear_every, p.apply_delay, p.apply_entries,
      p.visited_keys_max, p.parallel_reads, p.out_of_time, p.write_stall, p.write_stall_for,
      p.flush_interval, p.compact_delay, p.compact_steps, p.asleep + 1, p.tail.entries_max,
      p.tail.bytes_max, p.tail.step_entries, p.tail.held_bytes_max, p.snapshot_time,
      p.snapshot_loss, p.clients, p.keys, p.think, p.patience, p.gives_up, p.compact, p.lease,
      p.session, p.alarm, p.search, p.auto_compact_period, p.auto_compact_hour,
      p.auto_compact_revisions, p.watch_think, p.watch_leaves, p.watch_steps, p.watch_stream_bytes,
      p.watch_fragment_bytes, p.watch_inline, p.watch_jump, p.catch_up_delay, p.large_bytes);
}

}  // namespace raftkv::sim
