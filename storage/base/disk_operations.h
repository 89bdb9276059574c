#ifndef RAFTKV_STORAGE_BASE_DISK_OPERATIONS_H_
#define RAFTKV_STORAGE_BASE_DISK_OPERATIONS_H_

// Which system calls on the data directory's files are under way, so that the server's watchdog can
// tell a disk that hangs from a process that computes for a long time: the first cannot be trusted
// any more, the second only needs time.
//
// Whoever makes such a call (rocks_file_system, watermark) holds a DiskOperation around it. That
// costs two relaxed stores to a place of the thread's own.

#include <cstdint>
#include <map>

namespace raftkv {

// Marks one operation of this thread while it exists. Operations of one thread do not nest.
class DiskOperation {
 public:
  DiskOperation();
  ~DiskOperation();
  DiskOperation(const DiskOperation&) = delete;
  DiskOperation& operator=(const DiskOperation&) = delete;
};

// Watches the operations of all threads. Used by one thread.
class DiskOperationsWatch {
 public:
  // To be called at regular intervals. For how many calls in a row, this one included, the same
  // operation has been under way: the longest of all threads. 0: none is. An operation is counted
  // by calls and not by the clock, so that one does not look old when the process was stopped.
  int64_t Look();

 private:
  struct Watched {
    uint64_t count = 0;  // as last seen
    int64_t looks = 0;
  };
  std::map<const void*, Watched> threads_;  // by the place of their counts
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_DISK_OPERATIONS_H_
