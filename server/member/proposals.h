#ifndef RAFTKV_SERVER_MEMBER_PROPOSALS_H_
#define RAFTKV_SERVER_MEMBER_PROPOSALS_H_

// The proposals of this member's own clients, from arrival until they are committed or answered.
// Each has a number, ascending in order of arrival, and is in one of two states:
//
//   waiting    not proposed (there is no leader, or the leader declined it): may be proposed
//   in flight  proposed here or sent to a leader, in a term. It may be in a log. It ends when it is
//              committed, or waits again
//
// Small ones do not wait for large ones, and large ones may have to wait for small ones
// (large_pace.h). Otherwise they are proposed in order of arrival.
//
// Only the leader of its term may propose it. So if an entry of a later term is committed before
// it, it will never be committed: no log that a later leader may have contains it. Then it waits
// again. That also decides what was in flight to a leader that died. But if the connection to the
// leader broke, and the leader still leads, no such entry comes. Then the answer is "unknown".
//
// A leader of the first release does not look at the term. What was sent to such a leader is
// answered "unknown" when the leader or the connection to it is lost.
//
// Owned by the replica. Bounded by the replica's pending_max and pending_bytes_max.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "server/member/large_pace.h"
#include "server/member/pending.h"
#include "storage/log/entry.h"

namespace raftkv {

class Proposals {
 public:
  // `large_bytes`: see large_pace.h.
  Proposals(raft::MemberId member, uint64_t boot_id, size_t large_bytes)
      : member_(member), boot_id_(boot_id), pace_(large_bytes) {}

  void Add(const ProposeRequest& request, PendingRequestPtr pending, Caller caller);
  size_t size() const { return all_.size(); }
  size_t bytes() const { return bytes_; }
  // Whether large ones had to wait for small ones at the last TakeWaiting.
  bool large_waits() const { return large_waits_; }

  // Takes the oldest waiting proposal that is small, or else the oldest large one, if the pace
  // allows it. From now on it is in flight, sent to `leader` in `term`. `bound`: the leader of
  // another term declines it. Proposals whose client has gone are answered and skipped. None while
  // the leader takes none (OnDeclined, OnTryAgain).
  std::optional<ForwardedProposal> TakeWaiting(raft::MemberId leader, raft::Term term, bool bound,
                                               MonotonicTime now);

  bool InFlight(uint64_t number, raft::MemberId leader, raft::Term term) const;

  // In the following three cases `leader` certainly did not propose it. It waits again, in its
  // place among those that wait.

  // It was not sent.
  void OnUnsent(uint64_t number, raft::MemberId leader) { WaitAgain(number, leader); }
  // `leader` takes no proposals any more: in that term nothing more is sent.
  void OnDeclined(uint64_t number, raft::MemberId leader);
  // `leader` takes none now: in that term nothing more is sent before `next`.
  void OnTryAgain(uint64_t number, raft::MemberId leader, MonotonicTime next);

  // Answers everything that waits.
  void FailWaiting(Fate fate);

  // `leader` certainly did not propose it: answers it. Does nothing if it is not in flight to
  // `leader`.
  void Fail(uint64_t number, raft::MemberId leader, Fate fate, ApplyResult result = {});

  // The entry is committed; call it for each one, whoever proposed it. Returns its request, for the
  // applier. Null if the request is answered already, or if the entry was not proposed by a client
  // of this process.
  PendingRequestPtr TakeCommitted(std::string_view payload, MonotonicTime now);

  // `leader` leads in `term`, so no other member does. What was sent to another member in that term
  // is answered "unknown", unless it is bound.
  void OnLeaderIs(raft::MemberId leader, raft::Term term);
  // An entry of `term` is committed, and TakeCommitted was called for all entries up to it.
  // Everything in flight that was sent in an earlier term waits again.
  void OnTermSettled(raft::Term term);
  // The connection to `peer` broke. What is in flight to it may never have arrived.
  void OnForwardLost(raft::MemberId peer, MonotonicTime now);
  // `leader` led in `term` at `time`: answers what was sent to it on connections that had broken by
  // then.
  void OnLeaderLives(raft::MemberId leader, raft::Term term, MonotonicTime time);
  // `peer` has ended the connection because it stops. From then on it proposes nothing, whatever
  // its release is.
  void OnLeaderStopped(raft::MemberId peer);
  // A snapshot was installed whose last entry is of `term`. It may contain, or have replaced, any
  // proposal that was sent in that term or before: all of these are "unknown".
  void OnInstalled(raft::Term term);
  // Forgets those that were answered at their deadline.
  void ForgetAnswered();

 private:
  struct Proposal {
    raft::Payload payload;
    ClusterVersion needs = kFirstVersion;
    bool changes_members = false;
    PendingRequestPtr request;
    Caller caller;
    raft::MemberId leader = raft::kNobody;  // nobody: waiting
    raft::Term term = 0;
    bool bound = false;  // nobody proposes it in a later term
    // When the connection on which it was sent broke.
    MonotonicTime lost_at = MonotonicTime::InfiniteFuture();
  };
  using Map = std::map<uint64_t, Proposal>;

  // Takes the oldest one of `waiting`, which is one of the two sets below.
  std::optional<ForwardedProposal> TakeFirst(std::set<uint64_t>* waiting, raft::MemberId leader,
                                             raft::Term term, bool bound, MonotonicTime now);
  // Returns the term in which it was sent, or 0 if it is answered already.
  raft::Term WaitAgain(uint64_t number, raft::MemberId leader);
  template <typename Predicate>
  void FailInFlightIf(Fate fate, Predicate predicate);
  void Wait(Map::iterator it);
  bool IsLarge(const Proposal& p) const { return pace_.IsLarge(p.payload.size()); }
  void NoteNotInFlight(const Proposal& proposal);
  Map::iterator Finish(Map::iterator it, Fate fate, ApplyResult result = {});
  Map::iterator Erase(Map::iterator it);

  const raft::MemberId member_;
  const uint64_t boot_id_;
  uint64_t next_number_ = 1;
  size_t bytes_ = 0;  // of all payloads
  Map all_;           // by number, hence by arrival
  // By arrival; some may be answered already.
  std::set<uint64_t> small_waiting_, large_waiting_;
  size_t large_in_flight_ = 0;
  bool large_waits_ = false;
  LargePace pace_;
  raft::Term declining_term_ = 0;  // the newest term whose leader takes no proposals any more
  raft::Term paused_term_ = 0;     // the newest term of OnTryAgain
  MonotonicTime paused_until_;
  // Every lost_at is this or later.
  MonotonicTime first_lost_at_ = MonotonicTime::InfiniteFuture();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_PROPOSALS_H_
