#ifndef RAFTKV_SERVER_SPACE_WATCH_H_
#define RAFTKV_SERVER_SPACE_WATCH_H_

// A thread that measures the free space on the volume of the data directory, because asking for it
// may wait for the disk. It tells the member (server/member/space.h), which decides what follows,
// and keeps the reserve file (storage/base/disk_space.h).
//
// If the data directory was removed, moved or replaced, the thread ends the process, because what
// the member acknowledges would be lost.

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/member/space.h"
#include "storage/base/disk_space.h"
#include "storage/data_dir/data_dir.h"

namespace raftkv {

struct SpaceWatchOptions {
  std::string dir;
  const DirLock* lock;     // of `dir`
  uint64_t low_bytes = 0;  // SpaceOptions::low_bytes
  absl::Duration interval = absl::Milliseconds(100);
  // While there is less free space than four times the limit. The engines can write much in 100 ms.
  absl::Duration interval_if_short = absl::Milliseconds(10);
  std::function<void()> end_process = nullptr;  // empty: kExitDamaged
};

class SpaceWatch {
 public:
  // `state_bytes` and `report` are called on this thread.
  SpaceWatch(SpaceWatchOptions options, std::function<uint64_t()> state_bytes,
             std::function<void(SpaceReport)> report);
  ~SpaceWatch() { Stop(); }

  void Start();
  // Returns when the thread has ended.
  void Stop();

 private:
  void Run();
  // Returns the time until the next measurement.
  absl::Duration Measure();
  void EndProcess();
  void KeepReserve(uint64_t free, uint64_t low, uint64_t volume);

  const SpaceWatchOptions options_;
  const std::function<uint64_t()> state_bytes_;
  const std::function<void(SpaceReport)> report_;
  const Reserve reserve_;
  bool failed_ = false;          // the last measurement failed
  bool cannot_reserve_ = false;  // RESERVE could not be created, which was logged
  // Since when there is enough space to create RESERVE again.
  MonotonicTime enough_since_ = MonotonicTime::InfiniteFuture();
  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_SPACE_WATCH_H_
