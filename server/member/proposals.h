#ifndef RAFTKV_SERVER_MEMBER_PROPOSALS_H_
#define RAFTKV_SERVER_MEMBER_PROPOSALS_H_

// The proposals of this member's own clients, from arrival until they are committed or answered.
// Each has a number, ascending in order of arrival, and is in one of two states:
//
//   waiting    not proposed to anybody (no leader, or the leader declined it): may be proposed
//   in flight  proposed here or sent to a leader: never proposed again, because it may be in a log;
//              leaves when it is committed, or answered "unknown" once that cannot be awaited
//
// Owned by the replica. Bounded by the replica's pending_max and pending_bytes_max.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string_view>

#include "server/member/pending.h"
#include "storage/log/entry.h"

namespace raftkv {

class Proposals {
 public:
  Proposals(raft::MemberId member, uint64_t boot_id) : member_(member), boot_id_(boot_id) {}

  void Add(std::string_view command, ClusterVersion needs, PendingRequestPtr request,
           Caller caller);
  size_t size() const { return all_.size(); }
  size_t bytes() const { return bytes_; }

  // The oldest waiting one, sent to `leader` in `term`: in flight from now on. One whose client has
  // gone is answered instead, and the next one taken.
  struct Outgoing {
    uint64_t number = 0;
    raft::Payload payload;
    ClusterVersion needs = kFirstVersion;
  };
  std::optional<Outgoing> TakeWaiting(raft::MemberId leader, raft::Term term, MonotonicTime now);

  // `leader` says that it did not propose it: waits again, in its old place. Returns the term in
  // which it was sent; 0 if it is answered already.
  raft::Term OnDeclined(uint64_t number, raft::MemberId leader);

  // Answers one that is certainly not proposed.
  void Fail(uint64_t number, Fate fate);

  // The entry is committed: its request goes on to the applier. Null when nobody waits any more, or
  // when the entry is not this process's.
  PendingRequestPtr TakeCommitted(std::string_view payload);

  // Answers everything in flight that was not sent to `leader` in `term`: its fate is unknown.
  void OnLeaderIs(raft::MemberId leader, raft::Term term);
  // The same for everything that was sent to `peer`.
  void OnForwardLost(raft::MemberId peer);
  // Forgets those that were answered at their deadline.
  void ForgetAnswered();

 private:
  struct Proposal {
    raft::Payload payload;
    ClusterVersion needs = kFirstVersion;
    PendingRequestPtr request;
    Caller caller;
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
  Map all_;                       // by number, hence by arrival
  std::deque<uint64_t> waiting_;  // ascending; some may be answered already
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_PROPOSALS_H_
