#include "server/space_watch.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"

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
    Measure();
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopped_), options_.interval)) return;
  }
}

void SpaceWatch::Measure() {
  const absl::StatusOr<DiskSpace> space = ReadDiskSpace(options_.dir);
  if (!space.ok()) {
    if (!std::exchange(failed_, true)) LOG(WARNING) << space.status().message();
    return;
  }
  failed_ = false;
  const uint64_t low = LowBytes(options_.low_bytes, space->volume_bytes);
  // Free space is reported as if the reserve had its full size, whether it has or not.
  const uint64_t wanted = ReserveBytes(low), held = reserve_.bytes();
  const uint64_t missing = wanted - std::min(wanted, held);
  const uint64_t free = space->free_bytes - std::min(space->free_bytes, missing);
  KeepReserve(free, low);
  report_({.volume_bytes = space->volume_bytes, .free_bytes = free, .state_bytes = state_bytes_()});
}

void SpaceWatch::KeepReserve(uint64_t free, uint64_t low) {
  if (free < FullBytes(low)) {
    if (reserve_.Release()) {
      LOG(WARNING) << options_.dir << ": the disk is full: removed the file RESERVE, so that there "
                   << "is room to flush and to compact";
    }
  } else if (free >= low && reserve_.bytes() != ReserveBytes(low)) {
    const absl::Status created = reserve_.Create(ReserveBytes(low));
    if (!created.ok() && !std::exchange(cannot_reserve_, true)) {
      LOG(WARNING) << created.message() << ": the member goes on without a reserve";
    }
  }
}

}  // namespace raftkv
