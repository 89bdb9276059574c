#ifndef RAFTKV_STORAGE_DATA_DIR_DIR_REMOVER_H_
#define RAFTKV_STORAGE_DATA_DIR_DIR_REMOVER_H_

// Removes directories on a thread of its own. The removal of a large state machine takes seconds,
// and the thread that replaces the state machine also runs Raft.

#include <deque>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace raftkv {

class DirRemover {
 public:
  // Waits for the removal of one file at most. What is left is a leftover
  // (StateDirs::RemoveLeftovers).
  ~DirRemover();

  // From any thread. The directory must not be in use.
  void Remove(std::string dir);

 private:
  void Run();
  bool stopped();

  absl::Mutex mutex_;
  std::deque<std::string> dirs_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mutex_);  // started by the first Remove
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_DIR_REMOVER_H_
