#include "server/watchdog.h"

#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
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
    if (disk_checks >= hang_checks && WaitForSpace::Any()) {
      LOG(WARNING) << "the disk is full, and a write waits for space: only health checks are "
                      "answered; the process ends when this has lasted "
                   << absl::FormatDuration(options_.disk_stall_timeout)
                   << " (limits.disk_stall_timeout); free space on the volume of data_dir";
    } else if (disk_checks >= hang_checks) {
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
  const std::string timeout = absl::StrCat(absl::FormatDuration(options_.disk_stall_timeout),
                                           " (limits.disk_stall_timeout)");
  if (WaitForSpace::Any()) {
    LOG(ERROR) << "the disk is full, and a write has waited for space for " << timeout
               << ": the process ends; nothing that was acknowledged is lost; free space on the "
                  "volume of data_dir, and start again";
  } else {
    LOG(ERROR) << "the disk has not answered for " << timeout
               << ": this disk cannot be trusted, the process ends; check the disk under data_dir";
  }
  LogWriter::FlushInstalled();
  if (options_.end_process) return options_.end_process();
  abort();
}

}  // namespace raftkv
