#ifndef RAFTKV_SERVER_DISK_READERS_H_
#define RAFTKV_SERVER_DISK_READERS_H_

// Threads that read the state machine while it is larger than the memory, so that reads of the disk
// run side by side (docs/decisions/0034-reads-of-the-disk-side-by-side.md):
//   - the small reads of clients, for which the loop would wait otherwise;
//   - the versions that entries need about their keys, which are read before they are applied.
//
// While everything is in memory, this would only cost time. So these threads are in use only if the
// loop or they themselves have read the disk in the last second, as the system counts it. Where the
// system does not count it, they are never in use.

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "server/workers.h"
#include "storage/base/parallel_reads.h"

namespace raftkv {

// The number of blocks of 512 bytes that the calling thread has read from the disk.
int64_t BlocksReadByThisThread();

class DiskReaders final : public ParallelReads {
 public:
  explicit DiskReaders(std::function<int64_t()> blocks_read = BlocksReadByThisThread);

  // On the loop's thread, once a second: decides whether the threads are in use.
  void EverySecond();
  // From any thread.
  bool in_use() const { return in_use_.load(std::memory_order_relaxed); }

  // On the loop's thread. Runs the read of a client on one of the threads. The reads of different
  // clients take turns. False: the threads are not in use, or too many reads wait; run it here.
  bool Run(std::function<void()> read, const std::string& client);

  // ParallelReads, on the thread that applies. That thread takes part.
  bool useful() const override { return in_use(); }
  void RunAll(size_t count, const std::function<void(size_t)>& read) override;

  // Runs what is queued, because each read answers a call, then ends the threads.
  void Stop();

 private:
  void Count(const std::function<void()>& read);

  const std::function<int64_t()> blocks_read_;
  std::atomic<bool> in_use_{false};
  int64_t loop_blocks_ = 0;         // of the loop's thread, at the last EverySecond
  std::atomic<int64_t> blocks_{0};  // that the threads have read since the last EverySecond
  Workers threads_;                 // run the reads of clients
  // Help the thread that applies. They are separate, so that its reads do not queue behind those of
  // clients.
  Workers head_threads_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_DISK_READERS_H_
