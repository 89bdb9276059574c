#ifndef RAFTKV_STORAGE_LOG_LOG_READER_H_
#define RAFTKV_STORAGE_LOG_LOG_READER_H_

// What the core may ask of the log on disk: six reads. The core keeps recent entries in memory, so
// these serve restart and followers that are far behind, never the hot path.
//
// Implemented by storage/log/log_store and by a vector in the core's tests. Reads never fail:
// damage found while running ends the process in the implementation (reliability rule: crash for
// what the disk broke).

#include <cstddef>
#include <vector>

#include "storage/log/entry.h"

namespace raftkv::raft {

class LogReader {
 public:
  virtual ~LogReader() = default;

  virtual HardState hard_state() const = 0;

  // The entry before first_index() is known by id only: {0, 0} in a log that was never cut.
  virtual Index first_index() const = 0;
  virtual Index last_index() const = 0;  // first_index() - 1 when empty

  // For first_index() - 1 <= index <= last_index().
  virtual Term TermAt(Index index) const = 0;

  // Entries from `first` on, up to and including `last`, whose EntryBytes sum to at most
  // `bytes_max`; the first always passes.
  virtual std::vector<Entry> Entries(Index first, Index last, size_t bytes_max) const = 0;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_STORAGE_LOG_LOG_READER_H_
