#ifndef RAFTKV_STORAGE_BASE_DISK_OPERATIONS_H_
#define RAFTKV_STORAGE_BASE_DISK_OPERATIONS_H_

// Records which system calls on the data directory's files are running. With it, the server's
// watchdog distinguishes a disk that hangs from a process that computes for a long time: a disk
// that hangs cannot be trusted any more, a long computation only needs time.
//
// The code that makes such a call (rocks_file_system, watermark) holds a DiskOperation during the
// call. That costs two relaxed atomic operations on a counter of the thread.

#include <cstdint>
#include <map>

#include "storage/base/duration_histogram.h"

namespace raftkv {

// Marks one operation of this thread while it exists. Operations of one thread do not nest.
class DiskOperation {
 public:
  DiskOperation();
  ~DiskOperation();
  DiskOperation(const DiskOperation&) = delete;
  DiskOperation& operator=(const DiskOperation&) = delete;
};

// Marks this thread while a write of it waits because the disk is full. It is within a
// DiskOperation: if the I/O loop waits too, that is as bad as a disk that hangs.
class WaitForSpace {
 public:
  WaitForSpace();
  ~WaitForSpace();
  WaitForSpace(const WaitForSpace&) = delete;
  WaitForSpace& operator=(const WaitForSpace&) = delete;

  // Whether any thread waits. From any thread.
  static bool Any();
};

// Watches the operations of all threads. Used by one thread.
class DiskOperationsWatch {
 public:
  // Call it at regular intervals. Returns for how many calls in a row, this one included, the
  // oldest running operation of any thread has been running; 0 if none is running. It counts calls
  // instead of reading a clock, so that an operation does not seem old after the process was
  // stopped.
  int64_t Check();

 private:
  struct Watched {
    uint64_t count = 0;  // the value at the last Check
    int64_t looks = 0;
  };
  std::map<const void*, Watched> threads_;  // by the address of their counters
};

// How long the syncs of RocksDB's write-ahead log took: those of the Raft log, because the state
// machine has no such log.
DurationHistogram& LogSyncDurations();

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_DISK_OPERATIONS_H_
