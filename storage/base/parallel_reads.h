#ifndef RAFTKV_STORAGE_BASE_PARALLEL_READS_H_
#define RAFTKV_STORAGE_BASE_PARALLEL_READS_H_

// Runs reads of the engine on several threads. Storage has no threads of its own, so the server
// implements it (server/disk_readers.h). The thread that applies calls it.

#include <cstddef>
#include <functional>

namespace raftkv {

class ParallelReads {
 public:
  virtual ~ParallelReads() = default;

  // Whether reads have to wait for the disk now. If not, other threads would only cost time.
  virtual bool useful() const = 0;
  // Calls read(0) to read(count - 1), on several threads at the same time, in any order. Returns
  // when all of them have returned.
  virtual void RunAll(size_t count, const std::function<void(size_t)>& read) = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_PARALLEL_READS_H_
