#ifndef RAFTKV_SERVER_MEMBER_PROPOSALS_H_
#define RAFTKV_SERVER_MEMBER_PROPOSALS_H_

// The proposals of this member's own clients, from arrival until they are answered. Each has a
// number, ascending in order of arrival, and is in one of two states:
//
//   waiting    not proposed to anybody (no leader, or the leader refused it): may be proposed
//   in flight  proposed here or handed to a leader: never proposed again, because it may be in a
//              log; leaves when it is committed, or answered "unknown" once that cannot be awaited
//
// Owned by the replica. Bounded by the replica's pending_max and pending_bytes_max.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "absl/time/time.h"
#include "server/member/replica.h"
#include "server/raft/types.h"

namespace raftkv {

class Proposals {
 public:
  Proposals(raft::MemberId member, uint64_t boot_id) : member_(member), boot_id_(boot_id) {}

  void Add(ProposeRequest request, absl::Time deadline);
  size_t size() const { return all_.size(); }
  size_t bytes() const { return bytes_; }

  // The oldest waiting one is in flight from now on, in the hands of `leader` in `term`.
  struct Outgoing {
    uint64_t number = 0;
    raft::Payload payload;
  };
  std::optional<Outgoing> TakeWaiting(raft::MemberId leader, raft::Term term);

  // `leader` says that it did not propose it: waits again, in its old place. The term in which it
  // was handed over; 0 if it is answered already.
  raft::Term OnRefused(uint64_t number, raft::MemberId leader);

  // Answers one that is certainly not proposed.
  void Fail(uint64_t number, Fate fate);

  // Committed: the caller hands the continuation to the applier. Empty when nobody waits any more,
  // or when the entry is not this process's.
  struct Committed {
    ProposalDone done;
    absl::Time deadline;
  };
  std::optional<Committed> TakeCommitted(std::string_view payload);

  // Everything in flight that is not in the hands of `leader` in `term`: its fate is unknown.
  void OnLeaderIs(raft::MemberId leader, raft::Term term);
  // Everything that was handed to `peer`.
  void OnForwardLost(raft::MemberId peer);
  void Expire(absl::Time now);
  void Stop();

 private:
  struct Proposal {
    raft::Payload payload;
    ProposalDone done;
    absl::Time deadline;
    raft::MemberId leader = raft::kNobody;  // nobody: waiting
    raft::Term term = 0;
  };
  using Map = std::map<uint64_t, Proposal>;

  template <typename Predicate>
  void FailInFlightIf(Fate fate, Predicate predicate);
  Map::iterator Finish(Map::iterator it, Fate fate);
  Map::iterator Erase(Map::iterator it);

  const raft::MemberId member_;
  const uint64_t boot_id_;
  uint64_t next_number_ = 1;
  size_t bytes_ = 0;              // of all payloads
  Map all_;                       // by number, hence by arrival and by deadline
  std::deque<uint64_t> waiting_;  // ascending; some may be answered already
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_PROPOSALS_H_
