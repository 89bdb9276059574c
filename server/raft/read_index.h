#ifndef RAFTKV_SERVER_RAFT_READ_INDEX_H_
#define RAFTKV_SERVER_RAFT_READ_INDEX_H_

// Reads that wait for a read index (thesis §6.4). One round is in flight; reads that arrive
// meanwhile join the next, so a thousand concurrent reads cost a few rounds. Who confirms a round
// differs: for a leader a majority that echoed it, for a follower its leader. Owned by Raft, which
// chooses the rounds' numbers and never uses one twice, and which bounds size().

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/raft/types.h"

namespace raftkv::raft {

// Who asked: one of our own clients (member is our id) or a follower.
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

  // All that wait now join `round`; `index` is what they get if it is confirmed.
  void Begin(uint64_t round, Index index);

  bool in_flight() const { return !in_flight_.empty(); }
  uint64_t round() const { return round_; }  // of the flight, if any
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
