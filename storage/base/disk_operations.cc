#include "storage/base/disk_operations.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace raftkv {

namespace {

// The number of starts and ends of operations of one thread: odd while one is running.
using Count = std::shared_ptr<std::atomic<uint64_t>>;

struct Registry {
  absl::Mutex mutex;
  std::vector<Count> counts ABSL_GUARDED_BY(mutex);
};

Registry& Threads() {
  static auto* threads = new Registry;
  return *threads;
}

std::atomic<int> waits_for_space{0};

std::atomic<uint64_t>& OfThisThread() {
  thread_local const Count count = [] {
    auto mine = std::make_shared<std::atomic<uint64_t>>(0);
    absl::MutexLock lock(&Threads().mutex);
    Threads().counts.push_back(mine);
    return mine;
  }();
  return *count;
}

}  // namespace

DiskOperation::DiskOperation() { OfThisThread().fetch_add(1, std::memory_order_relaxed); }
DiskOperation::~DiskOperation() { OfThisThread().fetch_add(1, std::memory_order_relaxed); }

WaitForSpace::WaitForSpace() { ++waits_for_space; }
WaitForSpace::~WaitForSpace() { --waits_for_space; }
bool WaitForSpace::Any() { return waits_for_space > 0; }

int64_t DiskOperationsWatch::Check() {
  std::map<const void*, Watched> threads;
  int64_t longest = 0;
  absl::MutexLock lock(&Threads().mutex);
  // A thread that has ended no longer holds a reference to its count.
  std::erase_if(Threads().counts, [](const Count& count) { return count.use_count() == 1; });
  for (const Count& place : Threads().counts) {
    const uint64_t count = place->load(std::memory_order_relaxed);
    if (count % 2 == 0) continue;
    const auto before = threads_.find(place.get());
    const bool same = before != threads_.end() && before->second.count == count;
    const int64_t looks = same ? before->second.looks + 1 : 1;
    threads[place.get()] = {count, looks};
    longest = std::max(longest, looks);
  }
  threads_ = std::move(threads);
  return longest;
}

DurationHistogram& LogSyncDurations() {
  static DurationHistogram durations;
  return durations;
}

}  // namespace raftkv
