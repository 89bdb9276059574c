#include "server/disk_readers.h"

#include <sys/resource.h>

#include <utility>

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
    : blocks_read_(std::move(blocks_read)), threads_(kThreads, kWaitingMax) {}

void DiskReaders::EverySecond() {
  const int64_t before = std::exchange(loop_blocks_, blocks_read_());
  const int64_t blocks = loop_blocks_ - before + blocks_.exchange(0, std::memory_order_relaxed);
  in_use_.store(blocks >= kBlocksMin, std::memory_order_relaxed);
}

bool DiskReaders::Run(std::function<void()> read, const std::string& client) {
  return in_use() && threads_.Run([this, read = std::move(read)] { Count(read); }, client);
}

// Runs the read, and counts the blocks that it reads from the disk.
void DiskReaders::Count(const std::function<void()>& read) {
  const int64_t before = blocks_read_();
  read();
  blocks_.fetch_add(blocks_read_() - before, std::memory_order_relaxed);
}

}  // namespace raftkv
