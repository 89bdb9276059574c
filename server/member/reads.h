#ifndef RAFTKV_SERVER_MEMBER_READS_H_
#define RAFTKV_SERVER_MEMBER_READS_H_

// The linearizable reads of this member's clients, until their read index is known. They gather,
// join one ReadIndex question together, and go on to the applier with the index that answers it.
// The core answers every question (Raft::ReadIndex). One that it refuses is asked again under a new
// id: a later read index is always right, an older one never is.
//
// Owned by the replica. Bounded by the replica's pending_max.

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "server/member/pending.h"
#include "storage/log/entry.h"

namespace raftkv {

class Reads {
 public:
  using Batch = std::vector<PendingRequestPtr>;

  void Add(PendingRequestPtr request) { waiting_.push_back(std::move(request)); }
  size_t size() const;
  bool waiting() const { return !waiting_.empty(); }
  bool asking() const { return !asked_.empty(); }

  // All waiting reads join the question with the returned id.
  uint64_t Ask();
  // The reads that the answer with this id confirms.
  Batch TakeConfirmed(uint64_t id);
  // The question was refused: its reads wait again.
  void OnRefused(uint64_t id);

  // Forgets those that were answered at their deadline.
  void ForgetAnswered();

 private:
  uint64_t next_id_ = 1;
  Batch waiting_;
  std::map<uint64_t, Batch> asked_;  // by id of the question
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_READS_H_
