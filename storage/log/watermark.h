#ifndef RAFTKV_STORAGE_LOG_WATERMARK_H_
#define RAFTKV_STORAGE_LOG_WATERMARK_H_

// The sidecar file log/WATERMARK: how far the log was known to reach, and what was promised.
//
// RocksDB opens a log that lost its tail, or all of it, without a word (docs/decisions/0002). So
// after each synced batch the log store notes here how far it got, in a file of its own, and a log
// that does not reach its mark is damaged.
//
// Two slots of 4 KiB take turns, each with a sequence number and a CRC: one torn write leaves the
// other. Record writes; the kernel has it then, so it outlives the process. It also outlives a
// power loss after a sync: once a second, and whenever the caller asks for it (a term or vote about
// to become visible; the mark about to go down before a truncation). What stays open is damage to
// the log *and* a power loss within the same second.
//
// Owned by LogStore; one thread. A failed write or sync ends the process (one line first).

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

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
    uint64_t chain_hash = 0;  // of everything up to it

    friend bool operator==(const Mark&, const Mark&) = default;
  };

  // Who the file belongs to, so that a copied file is noticed.
  struct Owner {
    uint64_t cluster_id = 0;
    raft::MemberId member_id = 0;
  };

  // `create`: make it if it is missing. DataLoss: missing, unreadable, or another member's.
  static absl::StatusOr<std::unique_ptr<Watermark>> Open(const std::string& path, Owner owner,
                                                         bool create);
  ~Watermark();

  const Mark& mark() const { return mark_; }
  void Record(const Mark& mark, bool sync);

 private:
  Watermark(std::string path, Owner owner, int fd)
      : path_(std::move(path)), owner_(owner), fd_(fd) {}
  std::string Encode() const;
  bool Decode(std::string_view slot, uint64_t* sequence, Owner* owner, Mark* mark) const;
  absl::Status Load();
  void Sync();

  const std::string path_;
  const Owner owner_;
  const int fd_;
  uint64_t sequence_ = 0;  // of the newest slot
  Mark mark_;
  std::chrono::steady_clock::time_point synced_at_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_LOG_WATERMARK_H_
