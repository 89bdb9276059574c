#include "server/space_watch.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "server/clock.h"
#include "server/log_writer.h"
#include "storage/base/exit_code.h"

namespace raftkv {

SpaceWatch::SpaceWatch(SpaceWatchOptions options, std::function<uint64_t()> state_bytes,
                       std::function<void(SpaceReport)> report)
    : options_(std::move(options)),
      state_bytes_(std::move(state_bytes)),
      report_(std::move(report)),
      reserve_(options_.dir) {}

void SpaceWatch::Start() {
  thread_ = std::thread([this] { Run(); });
}

void SpaceWatch::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void SpaceWatch::Run() {
  for (;;) {
    if (!options_.lock->InPlace()) return EndProcess();
    const absl::Duration pause = Measure();
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopped_), pause)) return;
  }
}

void SpaceWatch::EndProcess() {
  LOG(ERROR)
      << options_.dir
      << ": this data directory was removed, moved or replaced while the member used it: the "
         "process ends, because what it stores would be lost; if the directory was moved, move "
         "it back and start again; if it is lost, replace the member: raftkv member replace";
  LogWriter::FlushInstalled();
  if (options_.end_process) return options_.end_process();
  _exit(kExitDamaged);
}

absl::Duration SpaceWatch::Measure() {
  const absl::StatusOr<DiskSpace> space = ReadDiskSpace(options_.dir);
  if (!space.ok()) {
    if (!std::exchange(failed_, true)) LOG(WARNING) << space.status().message();
    return options_.interval;
  }
  failed_ = false;
  const uint64_t low = LowBytes(options_.low_bytes, space->volume_bytes);
  // Free space is reported as if the reserve had its full size, whether it has or not.
  const uint64_t wanted = ReserveBytes(space->volume_bytes), held = reserve_.bytes();
  const uint64_t missing = wanted - std::min(wanted, held);
  const uint64_t free = space->free_bytes - std::min(space->free_bytes, missing);
  KeepReserve(free, low, space->volume_bytes);
  report_({.volume_bytes = space->volume_bytes, .free_bytes = free, .state_bytes = state_bytes_()});
  return free < 4 * low ? options_.interval_if_short : options_.interval;
}

// RESERVE is created again only once the level has had the time to fall. Otherwise it would take
// the space that a flush or compaction has freed for a moment.
void SpaceWatch::KeepReserve(uint64_t free, uint64_t low, uint64_t volume) {
  const MonotonicTime now = MonotonicNow();
  if (free < low || reserve_.bytes() == ReserveBytes(volume)) {
    enough_since_ = MonotonicTime::InfiniteFuture();
  } else if (now < enough_since_) {
    enough_since_ = now;
  }
  if (free < FullBytes(low)) {
    if (reserve_.Release()) {
      LOG(WARNING) << options_.dir << ": the disk is full: removed the file RESERVE, so that there "
                   << "is room to write what is in memory";
    }
  } else if (now >= enough_since_ + Space::kSettle) {
    const absl::Status created = reserve_.Create(ReserveBytes(volume));
    if (created.ok()) return;
    enough_since_ = now;  // do not try it at each measurement
    if (!std::exchange(cannot_reserve_, true)) {
      LOG(WARNING) << created.message() << ": the member goes on without a reserve";
    }
  }
}

}  // namespace raftkv
