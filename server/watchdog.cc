#include "server/watchdog.h"

#include <cstdlib>
#include <utility>

#include "glog/logging.h"
#include "server/log_writer.h"

namespace raftkv {

Watchdog::Watchdog(WatchdogOptions options, const PhaseValue* phase,
                   std::function<uint64_t()> rounds)
    : options_(std::move(options)), rounds_(std::move(rounds)), thread_(phase) {
  thread_.Each(options_.interval, [this] {
    if (task_) task_();
    Check();
  });
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
                   << ": only health checks are answered; the process ends when this has lasted "
                   << absl::FormatDuration(options_.disk_stall_timeout)
                   << " (limits.disk_stall_timeout)";
    } else {
      LOG(WARNING) << "the I/O loop has been busy with one turn for "
                   << absl::FormatDuration(options_.election_timeout)
                   << ", and not because of the disk: only health checks are answered until the "
                      "turn ends";
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
