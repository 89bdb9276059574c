#ifndef RAFTKV_TESTS_SIM_DISK_H_
#define RAFTKV_TESTS_SIM_DISK_H_

// A member's two disks (log and state machine), which outlive its process, and the fuse that
// simulates a crash in the middle of a call.
//
// The simulator cannot stop the product's code inside a turn or an apply, because that code never
// throws. Instead, when the fuse blows, the contents of the disks at that moment are recorded. The
// call then continues without any effect: its writes are not synced, its messages are dropped, and
// its answers are ignored. When the call returns, the member is destroyed and its disks go back to
// the recorded contents.
//
// An *effect* is what another member or a restart can see: a message sent, a batch written, a
// flush. After Arm(n), the process dies before effect n, counted from 0.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "storage/engine/memory_engine.h"
#include "storage/log/log_store.h"
#include "storage/log/watermark.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

class Fuse {
 public:
  void Arm(int effects) { left_ = effects; }
  void Disarm() { left_ = -1; }
  bool armed() const { return left_ >= 0; }
  bool blown() const { return blown_; }

  // Called before each effect. False: the process is dead, so the caller must skip the effect.
  bool Burn() {
    if (blown_) return false;
    if (left_ < 0) return true;
    if (left_-- > 0) return true;
    blown_ = true;
    if (on_blow) on_blow();
    return false;
  }

  std::function<void()> on_blow;

 private:
  int left_ = -1;
  bool blown_ = false;
};

class Disk {
 public:
  Disk() { Wipe(); }

  // Call these once for each start of the process. The fuse must outlive the engines. `on_sync` is
  // called after each synced batch of the log, where a real member waits for its disk.
  std::unique_ptr<Engine> OpenLog(Fuse* fuse, std::function<void()> on_sync);
  // The watermark of the log.
  std::unique_ptr<Watermark> OpenMark(Fuse* fuse);
  struct StateHooks {
    std::function<bool()> would_stall;       // answers for the engine; empty: it never would
    std::function<void()> on_flush_started;  // may be empty
  };
  std::unique_ptr<Engine> OpenState(Fuse* fuse, StateHooks hooks = {});

  // The steps of an install (storage/snapshot.h). Replace returns an engine on the new state
  // machine, also if the process is dead, when nothing changes on the disk.
  std::unique_ptr<Engine> Replace(std::shared_ptr<MemoryDisk> state, const LogStore::Tip& base,
                                  Fuse* fuse, StateHooks hooks);
  void Replaced(Fuse* fuse);
  const std::optional<LogStore::Tip>& resume() const { return resume_; }

  // Records what is durable and what is at risk now, for a later Crash.
  void NoteCrashPoint();

  // Whether everything in the log's engine is synced.
  bool log_synced() const { return log_->batches_at_risk() == 0; }

  // Call it after the engines are destroyed. Keeps what was durable at the crash point, and a
  // random prefix of the batches that were at risk there. Returns whether batches of the state were
  // lost.
  bool Crash(Rng* rng);
  // From now on the log may lose batches that were synced, by Tear.
  void SetTearable();
  // Call it while the process is down. The disk loses some of the last synced batches of the log,
  // such that the state machine, which has applied `applied`, can still continue with it. In some
  // cases the watermark is an older one, as after a power failure. Returns whether entries were
  // lost.
  bool Tear(raft::EntryId applied, Rng* rng);
  // An orderly end: the operating system writes all batches to disk.
  void Close();

  void Wipe();

 private:
  struct CrashPoint {
    bool noted = false;
    uint64_t log_at_risk = 0;
    uint64_t state_at_risk = 0;
  };

  std::shared_ptr<MemoryDisk> log_;
  std::shared_ptr<MemoryDisk> state_;
  std::shared_ptr<Watermark::Mark> mark_;
  std::deque<Watermark::Mark> older_marks_;  // recorded since the last sync of the mark, before it
  bool tearable_ = false;
  std::optional<LogStore::Tip> resume_;  // from Replace to Replaced
  CrashPoint crash_point_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_DISK_H_
