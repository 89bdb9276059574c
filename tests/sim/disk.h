#ifndef RAFTKV_TESTS_SIM_DISK_H_
#define RAFTKV_TESTS_SIM_DISK_H_

// A member's two disks (log and state machine), which outlive its process, and the fuse that makes
// a process die in the middle of what it does.
//
// A crash inside a turn or an apply cannot unwind the product's code, which never throws. So the
// process is split instead: when the fuse blows, what the disks hold at that instant is what will
// survive, and the rest of the call goes on as a *ghost*: it sees its own writes, but they are not
// synced, its messages are swallowed, its answers reach nobody. As soon as the call returns, the
// member is destroyed and its disks crash to what they held when the fuse blew.
//
// An *effect* is what another member or a restart could see: a message that leaves, a batch
// written, a flush. Arm(n) makes the process die right before its n-th effect from now.

#include <cstdint>
#include <functional>
#include <memory>

#include "storage/engine/memory_engine.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

class Fuse {
 public:
  void Arm(int effects) { left_ = effects; }
  void Disarm() { left_ = -1; }
  bool armed() const { return left_ >= 0; }
  bool blown() const { return blown_; }

  // An effect is about to happen. False: the process is dead already, swallow it.
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

  // Opened once per life of the process; the fuse outlives the engines. `on_sync` is told of each
  // synced batch of the log, which is where a member waits for its disk.
  std::unique_ptr<Engine> OpenLog(Fuse* fuse, std::function<void()> on_sync);
  struct StateHooks {
    std::function<bool()> would_stall;       // answers for the engine; empty: it never would
    std::function<void()> on_flush_started;  // may be empty
  };
  std::unique_ptr<Engine> OpenState(Fuse* fuse, StateHooks hooks = {});

  // Where a crash would cut, were it now.
  void NoteCrashPoint();

  // Everything in the log's engine has been synced.
  bool log_synced() const { return log_->batches_at_risk() == 0; }

  // After the engines are gone. Keeps what was durable at the crash point and, of the batches at
  // risk there, a prefix. Returns whether state was lost.
  bool Crash(Rng* rng);
  // An orderly end: the operating system writes everything in the end.
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
  CrashPoint crash_point_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_DISK_H_
