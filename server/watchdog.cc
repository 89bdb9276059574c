#include "server/watchdog.h"

#include <cstdlib>
#include <utility>

#include "glog/logging.h"
#include "server/clock.h"
#include "server/log_writer.h"

namespace raftkv {

Watchdog::Watchdog(WatchdogOptions options, const PhaseValue* phase,
                   std::function<uint64_t()> rounds)
    : options_(std::move(options)), phase_(phase), rounds_(std::move(rounds)) {}

void Watchdog::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Watchdog::Join() {
  Wake();
  if (thread_.joinable()) thread_.join();
  while (health_.RunNext()) {
  }
}

void Watchdog::Run() {
  while (!phase_->AtLeast(Phase::kStopped)) {
    ServeHealth();
    if (task_) task_();
    Check();
  }
}

// Lasts one interval.
void Watchdog::ServeHealth() {
  const MonotonicTime end = MonotonicNow() + options_.interval;
  for (MonotonicTime now = MonotonicNow(); now < end && !phase_->AtLeast(Phase::kStopped);
       now = MonotonicNow()) {
    if (health_.empty()) {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&woken_), end - now);
      woken_ = false;
    }
    health_.RunNext();
  }
}

void Watchdog::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

void Watchdog::Check() {
  const int64_t disk_checks = disk_.Check();
  if (const uint64_t rounds = rounds_(); rounds != seen_rounds_) {
    if (hangs_.exchange(false)) LOG(WARNING) << "the I/O loop runs again";
    seen_rounds_ = rounds;
    loop_checks_ = 0;
    return;
  }
  const int64_t hang_checks = options_.election_timeout / options_.interval;
  const int64_t end_checks = options_.disk_stall_timeout / options_.interval;
  if (++loop_checks_ >= hang_checks && !hangs_.exchange(true)) {
    if (disk_checks >= hang_checks) {
      LOG(WARNING) << "the disk has not answered for "
                   << absl::FormatDuration(options_.election_timeout)
                   << ": only health checks are answered; the process ends if it takes "
                   << absl::FormatDuration(options_.disk_stall_timeout)
                   << " (limits.disk_stall_timeout)";
    } else {
      LOG(WARNING) << "the I/O loop has been busy with one turn for "
                   << absl::FormatDuration(options_.election_timeout)
                   << ", and not because of the disk: only health checks are answered until it "
                      "goes on";
    }
  }
  if (loop_checks_ >= end_checks && disk_checks >= end_checks) EndProcess();
}

void Watchdog::EndProcess() {
  LOG(ERROR) << "the disk has not answered for "
             << absl::FormatDuration(options_.disk_stall_timeout)
             << " (limits.disk_stall_timeout): this disk cannot be trusted, the process ends; "
                "check the disk under data_dir";
  LogWriter::FlushInstalled();
  if (options_.end_process) return options_.end_process();
  abort();
}

}  // namespace raftkv
