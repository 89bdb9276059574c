#ifndef RAFTKV_SERVER_MEMBER_TRANSFERS_H_
#define RAFTKV_SERVER_MEMBER_TRANSFERS_H_

// Clients' requests to transfer leadership that are not answered yet.
//
// Owned by the replica; used on the thread of the turns. Bounded by the replica's pending_max.

#include <utility>
#include <vector>

#include "server/member/pending.h"
#include "server/raft/raft.h"

namespace raftkv {

class Transfers {
 public:
  // The transfer to `target` has begun.
  void Add(raft::MemberId target, PendingRequestPtr request) {
    waiting_.push_back({target, std::move(request)});
  }

  // Answers the requests whose transfer is over: another member leads, or Raft gave it up. Call it
  // at the end of each turn.
  void Note(const raft::Raft& raft) {
    std::erase_if(waiting_, [&raft](const Transfer& transfer) {
      const bool over = raft.role() == raft::Role::kLeader ? raft.transferee() != transfer.target
                                                           : raft.leader() != raft::kNobody;
      if (!over && !transfer.request->answered()) return false;
      transfer.request->Answer(raft.leader() == transfer.target ? Fate::kApplied : Fate::kTimedOut);
      return true;
    });
  }

 private:
  struct Transfer {
    raft::MemberId target = raft::kNobody;
    PendingRequestPtr request;
  };
  std::vector<Transfer> waiting_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_TRANSFERS_H_
