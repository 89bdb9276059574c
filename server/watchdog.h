#ifndef RAFTKV_SERVER_WATCHDOG_H_
#define RAFTKV_SERVER_WATCHDOG_H_

// A thread that notices when the I/O loop hangs. It also serves the health service and pages
// (api/pages.cc), because the loop cannot do that while it hangs. Once the loop has hung for an
// election timeout, health checks are answered NOT_SERVING: by then other members may have elected
// a new leader.
//
// Once the loop has hung for disk_stall_timeout, the process ends, so that its supervisor can act,
// but only if a system call on the data directory has hung for that long too: then the disk cannot
// be trusted any more. If the loop hangs for another reason, it is busy with a long piece of work.
// Ending the process would not help, because the next start would do the same work again.
//
// A write that waits because the disk is full counts as a system call that hangs.
//
// Time is counted in intervals of this thread, not by a clock, so that a process that was stopped
// for a while does not conclude that its disk has hung.

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "server/event_thread.h"
#include "server/phase.h"
#include "server/rpc/event_queue.h"
#include "storage/base/disk_operations.h"

namespace raftkv {

struct WatchdogOptions {
  absl::Duration election_timeout = absl::Seconds(1);
  absl::Duration disk_stall_timeout = absl::Seconds(5);
  absl::Duration interval = absl::Milliseconds(100);  // between two checks (Check)
  std::function<void()> end_process;                  // empty: abort()
};

class Watchdog {
 public:
  // `rounds` is called on the watchdog's thread. It returns a number that changes at least once in
  // an election timeout unless the loop hangs. `phase` must outlive the watchdog.
  Watchdog(WatchdogOptions options, const PhaseValue* phase, std::function<uint64_t()> rounds);

  // Call it before Start. `task` is called on the watchdog's thread once in each interval.
  void EachCheck(std::function<void()> task) { task_ = std::move(task); }

  void Start() { thread_.Start(); }
  // The events of the health service and the pages. They are served until Join returns.
  EventQueue* health() { return thread_.events(); }
  // Returns when the thread has ended, which it does in Phase::kStopped.
  void Join() { thread_.Join(); }

  // From any thread.
  bool loop_hangs() const { return hangs_; }

 private:
  void Check();
  void EndProcess();

  const WatchdogOptions options_;
  const std::function<uint64_t()> rounds_;
  std::function<void()> task_;

  DiskOperationsWatch disk_;
  uint64_t seen_rounds_ = 0;
  int64_t loop_checks_ = 0;  // consecutive checks that found no new round of the loop
  std::atomic<bool> hangs_{false};
  EventThread thread_;  // last, because it uses the others until it has ended
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_WATCHDOG_H_
