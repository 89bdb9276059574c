#ifndef RAFTKV_SERVER_RAFT_READ_INDEX_H_
#define RAFTKV_SERVER_RAFT_READ_INDEX_H_

// Reads that wait for a read index (thesis §6.4). At most one round is in flight; reads that arrive
// meanwhile wait for the next one, so many concurrent reads share a few rounds. On a leader a round
// is confirmed when a majority has echoed it, on a follower when its leader answers. Owned by Raft,
// which chooses the number of each round, never uses a number twice, and bounds size().

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/raft/types.h"

namespace raftkv::raft {

// A read and where it came from: this member itself (`member` is its own id) or a follower.
struct Reader {
  MemberId member = kNobody;
  uint64_t id = 0;
  friend bool operator==(const Reader&, const Reader&) = default;
};

class ReadIndexQueue {
 public:
  size_t size() const { return waiting_.size() + in_flight_.size(); }
  void Add(Reader reader) { waiting_.push_back(reader); }

  bool WantsRound() const { return in_flight_.empty() && !waiting_.empty(); }

  // Starts `round` with all waiting reads. They get `index` if the round is confirmed.
  void Begin(uint64_t round, Index index);

  bool in_flight() const { return !in_flight_.empty(); }
  uint64_t round() const { return round_; }  // the round in flight; else the last one
  Index index() const { return index_; }

  std::vector<Reader> TakeInFlight();
  std::vector<Reader> TakeAll();  // in the order of arrival

 private:
  std::vector<Reader> waiting_;
  std::vector<Reader> in_flight_;
  uint64_t round_ = 0;
  Index index_ = 0;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_READ_INDEX_H_
