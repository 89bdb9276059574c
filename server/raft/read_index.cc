#include "server/raft/read_index.h"

#include <utility>

#include "storage/base/check.h"

namespace raftkv::raft {

void ReadIndexQueue::Begin(uint64_t round, Index index) {
  CHECK(WantsRound());
  CHECK_NE(round, round_) << "a late reply to the old round would confirm the new one";
  in_flight_.swap(waiting_);
  round_ = round;
  index_ = index;
}

std::vector<Reader> ReadIndexQueue::TakeInFlight() { return std::exchange(in_flight_, {}); }

std::vector<Reader> ReadIndexQueue::TakeAll() {
  std::vector<Reader> all = TakeInFlight();
  all.insert(all.end(), waiting_.begin(), waiting_.end());
  waiting_.clear();
  return all;
}

}  // namespace raftkv::raft
