#ifndef RAFTKV_SERVER_RAFT_LOG_H_
#define RAFTKV_SERVER_RAFT_LOG_H_

// The replicated log as the core sees it: recent entries in memory, older ones read from disk.
// Owned by Raft, which alone decides what is appended, truncated and committed.
//
// Three positions, saved <= taken <= last:
//   last    the end of the log
//   taken   the end of what TakeUntaken has handed out to be written
//   saved   the end of what is known to be on disk; a leader commits only with its saved entries
// A truncation lowers all three. It also lowers the last index of each unfinished write
// (Write::last). Entries of that write may have been replaced meanwhile, and the end of the old
// write must not mark the new entries as saved.
//
// Entries above `saved`, and entries above the commit index that was passed to Evict, are always in
// memory. Of the others, the newest are kept up to a bound in bytes; LogReader serves the rest.

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
  bool resetting() const { return resetting_; }  // after Reset, until it is saved

  // For first_index() - 1 <= index <= last_index().
  Term TermAt(Index index) const;
  EntryId IdAt(Index index) const { return {TermAt(index), index}; }
  // The chain hash of the log up to and including `index` (storage/log/entry.h).
  uint64_t ChainAt(Index index) const;
  bool Contains(EntryId id) const;

  // The last entry at or below bound.index whose term is at most bound.term, or the entry before
  // first_index(). After it, up to bound.index, this log's terms are above bound.term. In a log
  // that contains `bound` they are not, because terms never decrease along a log. So the two logs
  // differ there (§5.3).
  EntryId LastAtMost(EntryId bound) const;

  bool InMemory(Index index) const { return index > before_.index; }

  // The entries from `first` to `last`, both included, at most count_max of them and at most
  // bytes_max EntryBytes, but always the first one. May return fewer: a call that starts on disk
  // ends where the entries in memory begin.
  std::vector<Entry> Entries(Index first, Index last, size_t count_max, size_t bytes_max) const;

  void Append(Entry entry);
  void TruncateFrom(Index index);
  // A snapshot up to `last`, where the chain hash is `chain`, replaces the whole log. Nothing is
  // treated as saved until the next Ready that is taken is saved.
  void Reset(EntryId last, uint64_t chain);
  // The log on disk was cut: reads its first index again.
  void OnCut();

  bool HasUntaken() const { return taken_ < last_index() || reset_untaken_; }
  std::vector<Entry> TakeUntaken(uint64_t ready_number);
  // All writes up to this number are on disk. Returns whether `saved` advanced.
  bool OnSaved(uint64_t ready_number);

  // The sum of EntryBytes over the entries in (after, to] that are in memory.
  size_t BytesInMemory(Index after, Index to) const;
  // The same over the entries that TakeUntaken will return.
  size_t UntakenBytes() const { return BytesInMemory(taken_, last_index()); }
  size_t cached_bytes() const { return recent_bytes_; }

  void Evict(Index commit_index);

 private:
  struct Write {
    uint64_t ready_number;
    Index last;  // the saved index once this and all earlier writes are on disk
  };

  void DropOldest();  // of recent_

  const LogReader* const reader_;
  const size_t cache_bytes_max_;
  Index first_index_;

  EntryId before_;               // the entry before recent_.front()
  uint64_t before_chain_ = 0;    // the chain hash up to before_
  std::deque<Entry> recent_;     // contiguous, up to the end of the log
  std::deque<uint64_t> chains_;  // chains_[i]: the chain hash up to recent_[i]
  size_t recent_bytes_ = 0;

  Index taken_;
  Index saved_;
  std::deque<Write> writes_;  // unfinished, oldest first
  bool reset_untaken_ = false;
  bool resetting_ = false;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_LOG_H_
