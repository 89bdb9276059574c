#ifndef RAFTKV_SERVER_DISK_READERS_H_
#define RAFTKV_SERVER_DISK_READERS_H_

// Threads that read the state machine while it is larger than the memory, so that reads of the disk
// run side by side and the loop does not wait for them (docs/decisions/0034). They have two tasks:
//
//   - Reading ahead. A put needs the version of its key before it. These threads read it while the
//     entry is written to the log and sent to the peers. The read itself finds it in memory later.
//   - Reads of clients, which the loop would serve otherwise.
//
// While everything is in memory, both would only cost time. So these threads are in use only if the
// loop or they themselves have read the disk in the last second, as the system counts it. Where the
// system does not count it, they are never in use.

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "server/member/events.h"
#include "server/workers.h"

namespace raftkv {

// The number of blocks of 512 bytes that the calling thread has read from the disk.
int64_t BlocksReadByThisThread();

struct DiskReadersOptions {
  // Reads the key's newest version and discards it. Called on several threads.
  std::function<void(std::string_view key)> read;
  std::function<int64_t()> blocks_read = BlocksReadByThisThread;
};

class DiskReaders final : public MemberObserver {
 public:
  explicit DiskReaders(DiskReadersOptions options);

  // On the loop's thread, once a second: decides whether the threads are in use.
  void EverySecond();
  // From any thread.
  bool in_use() const { return in_use_.load(std::memory_order_relaxed); }

  // On the loop's thread. Runs the read of a client on one of the threads. The reads of different
  // clients take turns. False: the threads are not in use, or too many reads wait; run it here.
  bool Run(std::function<void()> read, const std::string& client);

  // On the loop's thread. Reads ahead for these entries. If too many keys wait already, some are
  // left out: then the thread that applies reads the disk.
  void OnSaving(absl::Span<const raft::Entry> entries) override;

  // Runs what is queued, because each read answers a call, then ends the threads.
  void Stop();

 private:
  void ReadAhead(absl::Span<const raft::Entry> entries);
  void Count(const std::function<void()>& read);

  const DiskReadersOptions options_;
  std::atomic<bool> in_use_{false};
  int64_t loop_blocks_ = 0;             // of the loop's thread, at the last EverySecond
  std::atomic<int64_t> blocks_{0};      // that the threads have read since the last EverySecond
  std::atomic<size_t> ahead_bytes_{0};  // of the entries that wait to be read ahead
  Workers ahead_;                       // read ahead
  Workers reads_;                       // run the reads of clients
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_DISK_READERS_H_
