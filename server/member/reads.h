#ifndef RAFTKV_SERVER_MEMBER_READS_H_
#define RAFTKV_SERVER_MEMBER_READS_H_

// The linearizable reads of this member's clients, until their read index is known. All waiting
// reads share one read index request (Raft::ReadIndex). When it is answered, they go to the applier
// with that index. The core answers every request. If it declines one, the reads join the next one,
// under a new id: an index that is determined later is always correct for them, an earlier one is
// not.
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
  // Whether a read index request is to be sent now, for reads that wait.
  bool due(MonotonicTime now) const { return !waiting_.empty() && now >= next_; }
  bool asking() const { return !asked_.empty(); }

  // All waiting reads join the read index request with the returned id.
  uint64_t Ask();
  // The reads that the answer with this id confirms.
  Batch TakeConfirmed(uint64_t id);
  // The request was declined: its reads wait again. The next request is due at `next`, or when
  // there is another leader.
  void OnDeclined(uint64_t id, MonotonicTime next);
  void OnNewLeader() { next_ = MonotonicTime::InfinitePast(); }

  // Forgets those that were answered at their deadline.
  void ForgetAnswered();

 private:
  uint64_t next_id_ = 1;
  Batch waiting_;
  MonotonicTime next_ = MonotonicTime::InfinitePast();
  std::map<uint64_t, Batch> asked_;  // by id of the read index request
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_READS_H_
