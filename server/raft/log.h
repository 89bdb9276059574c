#ifndef RAFTKV_SERVER_RAFT_LOG_H_
#define RAFTKV_SERVER_RAFT_LOG_H_

// The replicated log as the algorithm sees it: recent entries in memory over the log on disk. Owned
// by Raft, which alone decides what is appended, truncated and committed.
//
// Three positions, saved <= taken <= last:
//   last    the end of the log
//   taken   handed out by TakeUntaken to be written
//   saved   known to be on disk: only here does an entry count for anything
// Truncation lowers all three, and also what writes under way will be worth when they end: an entry
// written by one of them may already have been replaced (reliability row 13).
//
// Entries above `saved` are always in memory; so are those above the commit index that is given to
// Evict. The rest is kept up to a bound in bytes, newest first, and read from the LogReader beyond.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "server/raft/types.h"
#include "storage/log/log_reader.h"

namespace raftkv::raft {

class RaftLog {
 public:
  RaftLog(const LogReader* reader, size_t cache_bytes_max);

  Index first_index() const { return first_index_; }
  Index last_index() const { return before_.index + recent_.size(); }
  EntryId last() const { return IdAt(last_index()); }
  Index saved_index() const { return saved_; }

  // For first_index() - 1 <= index <= last_index().
  Term TermAt(Index index) const;
  EntryId IdAt(Index index) const { return {TermAt(index), index}; }
  bool Contains(EntryId id) const;

  // The last entry at or below bound.index with a term of at most bound.term, or the one before
  // first_index(): terms only rise along a log, so above it nothing can match `bound` (§5.3).
  EntryId LastAtMost(EntryId bound) const;

  bool InMemory(Index index) const { return index > before_.index; }

  // From `first` on, up to and including `last`, at most count_max entries and bytes_max
  // EntryBytes; the first always passes. May stop early where memory begins.
  std::vector<Entry> Entries(Index first, Index last, size_t count_max, size_t bytes_max) const;

  void Append(Entry entry);
  void TruncateFrom(Index index);

  bool HasUntaken() const { return taken_ < last_index(); }
  std::vector<Entry> TakeUntaken(uint64_t ready_number);
  // All writes up to this number are on disk. Returns whether `saved` moved.
  bool OnSaved(uint64_t ready_number);

  // EntryBytes of the entries in memory in (after, to].
  size_t BytesInMemory(Index after, Index to) const;
  size_t cached_bytes() const { return recent_bytes_; }

  void Evict(Index commit_index);

 private:
  struct Write {
    uint64_t ready_number;
    Index last;  // what the log has saved when this and all earlier writes are on disk
  };

  const LogReader* const reader_;
  const size_t cache_bytes_max_;
  const Index first_index_;

  EntryId before_;            // the entry before recent_.front()
  std::deque<Entry> recent_;  // contiguous, up to the end of the log
  size_t recent_bytes_ = 0;

  Index taken_;
  Index saved_;
  std::deque<Write> writes_;  // under way, in order
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_LOG_H_
