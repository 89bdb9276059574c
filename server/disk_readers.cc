#include "server/disk_readers.h"

#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/synchronization/blocking_counter.h"

namespace raftkv {

namespace {

// Disks read several blocks at the same time in about the time of one.
constexpr int kThreads = 8;
constexpr size_t kWaitingMax = 1024;
// In use if this number of blocks was read in a second: about a hundred reads of a table's block.
constexpr int64_t kBlocksMin = 1000;

}  // namespace

int64_t BlocksReadByThisThread() {
  rusage usage = {};
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_inblock : 0;
}

DiskReaders::DiskReaders(std::function<int64_t()> blocks_read)
    : blocks_read_(std::move(blocks_read)),
      threads_(kThreads, kWaitingMax),
      head_threads_(kThreads - 1, kThreads - 1) {}

void DiskReaders::Stop() {
  threads_.Stop();
  head_threads_.Stop();
}

void DiskReaders::EverySecond() {
  const int64_t before = std::exchange(loop_blocks_, blocks_read_());
  const int64_t blocks = loop_blocks_ - before + blocks_.exchange(0, std::memory_order_relaxed);
  in_use_.store(blocks >= kBlocksMin, std::memory_order_relaxed);
}

bool DiskReaders::Run(std::function<void()> read, const std::string& client) {
  return in_use() && threads_.Run([this, read = std::move(read)] { Count(read); }, client);
}

void DiskReaders::RunAll(size_t count, const std::function<void(size_t)>& read) {
  // A thread that begins late, perhaps after the return, finds nothing left and reads nothing.
  struct Reads {
    explicit Reads(size_t n) : count(n), left(static_cast<int>(n)) {}
    const size_t count;
    std::atomic<size_t> next{0};
    absl::BlockingCounter left;
  };
  const auto reads = std::make_shared<Reads>(count);
  const auto work = [reads, &read] {
    for (size_t i = reads->next++; i < reads->count; i = reads->next++) {
      read(i);
      reads->left.DecrementCount();
    }
  };
  for (size_t i = 1; i < std::min<size_t>(count, kThreads); ++i) {
    head_threads_.Run([this, work] { Count(work); });
  }
  work();
  reads->left.Wait();
}

// Runs the read, and counts the blocks that it reads from the disk.
void DiskReaders::Count(const std::function<void()>& read) {
  const int64_t before = blocks_read_();
  read();
  blocks_.fetch_add(blocks_read_() - before, std::memory_order_relaxed);
}

}  // namespace raftkv
