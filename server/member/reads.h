#ifndef RAFTKV_SERVER_MEMBER_READS_H_
#define RAFTKV_SERVER_MEMBER_READS_H_

// The linearizable reads of this member's clients: they gather, join one ReadIndex question
// together, wait until everything up to the confirmed index was handed to the applier, and ride the
// apply queue behind it. The core answers every question (Raft::ReadIndex); one that it refuses is
// asked again under a new id: a later read index is always right, an older one never is.
//
// Owned by the replica. Bounded by the replica's pending_max.

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "absl/time/time.h"
#include "server/member/replica.h"
#include "server/raft/types.h"

namespace raftkv {

class Reads {
 public:
  struct Read {
    ReadDone done;
    absl::Time deadline;
  };

  void Add(ReadRequest request, absl::Time deadline);
  size_t size() const { return size_; }
  bool waiting() const { return !waiting_.empty(); }
  bool asking() const { return !asked_.empty(); }

  // All waiting reads join the question with the returned id.
  uint64_t Ask();

  // index 0: refused; its reads wait again.
  void OnAnswer(uint64_t id, raft::Index index);

  // The reads that may follow everything up to `handed_over` into the apply queue.
  std::vector<Read> TakeConfirmed(raft::Index handed_over);

  void Expire(absl::Time now);
  void Stop();

 private:
  // Answers those whose deadline has come.
  void EndUntil(absl::Time now, Fate fate);
  template <typename Container>
  void EndIn(Container* reads, absl::Time now, Fate fate);

  uint64_t next_id_ = 1;
  size_t size_ = 0;
  std::deque<Read> waiting_;
  std::map<uint64_t, std::vector<Read>> asked_;
  std::multimap<raft::Index, Read> confirmed_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_READS_H_
