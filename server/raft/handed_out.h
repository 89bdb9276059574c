#ifndef RAFTKV_SERVER_RAFT_HANDED_OUT_H_
#define RAFTKV_SERVER_RAFT_HANDED_OUT_H_

// Up to which index committed entries were handed out (Ready::committed), and up to which index
// they are applied. Owned by Raft. Bounds the bytes of the entries in between
// (Config::committed_bytes_max).

#include <cstddef>
#include <deque>

#include "server/raft/types.h"

namespace raftkv::raft {

class HandedOut {
 public:
  HandedOut(Index applied, size_t bytes_max)
      : index_(applied), applied_(applied), bytes_max_(bytes_max) {}

  Index index() const { return index_; }      // the last entry that was handed out
  Index applied() const { return applied_; }  // at most index()

  size_t bytes() const { return bytes_; }  // handed out, and not yet applied
  size_t last_bytes() const { return batches_.empty() ? 0 : batches_.back().bytes; }
  // How many bytes may be handed out now. If it is not full, one entry may exceed that.
  size_t room() const { return bytes_ < bytes_max_ ? bytes_max_ - bytes_ : 0; }
  bool full() const { return !batches_.empty() && room() == 0; }

  // The entries up to `last`, in one Ready.
  void Add(Index last, size_t bytes) {
    index_ = last;
    bytes_ += bytes;
    batches_.push_back({last, bytes});
  }
  void OnApplied(Index index) {
    if (index > applied_) applied_ = index;
    while (!batches_.empty() && batches_.front().last <= applied_) {
      bytes_ -= batches_.front().bytes;
      batches_.pop_front();
    }
  }
  // A snapshot replaced the state machine.
  void Reset(Index applied) { *this = HandedOut(applied, bytes_max_); }

 private:
  struct Batch {
    Index last;
    size_t bytes;
  };

  Index index_;
  Index applied_;
  size_t bytes_max_;
  std::deque<Batch> batches_;
  size_t bytes_ = 0;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_HANDED_OUT_H_
