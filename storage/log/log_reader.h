#ifndef RAFTKV_STORAGE_LOG_LOG_READER_H_
#define RAFTKV_STORAGE_LOG_LOG_READER_H_

// How the Raft core reads the log on disk. The core keeps recent entries in memory, so it calls
// these methods only at a restart and for old entries, for example when a follower is far behind.
//
// Implemented by storage/log/log_store, and by a vector in the core's tests. Reads do not return
// errors: if an implementation finds damage while the member runs, it ends the process.

#include <cstddef>
#include <vector>

#include "storage/log/entry.h"

namespace raftkv::raft {

class LogReader {
 public:
  virtual ~LogReader() = default;

  virtual HardState hard_state() const = 0;

  // Of the entry before first_index(), the log keeps only the id and the chain hash. They are 0 if
  // the log was never cut.
  virtual Index first_index() const = 0;
  virtual Index last_index() const = 0;  // first_index() - 1 when empty

  // For first_index() - 1 <= index <= last_index().
  virtual Term TermAt(Index index) const = 0;
  // The chain hash of the log up to and including `index` (ChainAfter), for the same indexes.
  virtual uint64_t ChainHash(Index index) const = 0;

  // The entries from `first` to `last`, both included, as long as their EntryBytes sum to at most
  // `bytes_max`. The first one is always returned.
  virtual std::vector<Entry> Entries(Index first, Index last, size_t bytes_max) const = 0;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_STORAGE_LOG_LOG_READER_H_
