#ifndef RAFTKV_STORAGE_LOG_WATERMARK_H_
#define RAFTKV_STORAGE_LOG_WATERMARK_H_

// The file log/WATERMARK. It records how far the log reaches and the newest saved term and vote.
//
// RocksDB opens a log that lost its end, or all of it, without an error (docs/decisions/0002). So
// after each synced batch the log store records here, in a separate file, how far the log reaches.
// A log that does not reach its mark has lost entries (docs/decisions/0022).
//
// The file has two slots of 4 KiB, written in turn, each with a sequence number and a CRC. If one
// write is torn, the other slot is intact. A recorded mark survives a crash of the process, because
// the kernel has it. After a sync it also survives a power loss. Record syncs at most once a second
// by itself, and always if the caller asks: when the term or vote changed, and before a truncation.
// So after a power loss, damage to the entries of the last second before it is not detected.
//
// Owned by LogStore and used by one thread. A failed write or sync is logged and ends the process.
// The simulator keeps the mark in memory.

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "storage/log/entry.h"

namespace raftkv {

class Watermark {
 public:
  struct Mark {
    raft::Term term = 0;
    raft::MemberId vote = raft::kNobody;
    raft::Index first_index = 1;
    raft::EntryId last;       // the last synced entry
    uint64_t chain_hash = 0;  // of the log up to and including `last`
    // The highest last index of the log in `term` (raft::Reached). Earlier releases do not write
    // it.
    raft::Index reached = 0;

    friend bool operator==(const Mark&, const Mark&) = default;
  };

  // The member that the file belongs to. Open rejects a file that was copied from another member.
  struct Owner {
    uint64_t cluster_id = 0;
    raft::MemberId member_id = 0;
  };

  // `create`: create the file if it is missing. DataLoss: missing, damaged, or another member's.
  // Unavailable: the system cannot open it.
  static absl::StatusOr<std::unique_ptr<Watermark>> Open(const std::string& path, Owner owner,
                                                         bool create);
  // Reads the file, for a check of the log. Errors as above. Changes nothing: Record keeps the mark
  // in memory only.
  static absl::StatusOr<std::unique_ptr<Watermark>> Read(const std::string& path, Owner owner);
  virtual ~Watermark() = default;

  virtual const Mark& mark() const = 0;
  virtual void Record(const Mark& mark, bool sync) = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_LOG_WATERMARK_H_
