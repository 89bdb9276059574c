#ifndef RAFTKV_SERVER_MEMBER_FIRST_START_H_
#define RAFTKV_SERVER_MEMBER_FIRST_START_H_

// Decides when a member with an empty log may vote (docs/decisions/0003). The log is empty either
// because this is the first start, or because the data directory was lost, with the votes and
// acknowledgements in it. So such a member neither votes nor starts elections until
//
//   - so many other members answered "my log is empty too" that the rest, this member included, is
//     no majority. Then no majority can have saved an entry, so nothing was ever committed; or
//   - it has everything that was ever acknowledged: it has asked the leader for a read index, and
//     its log contains the entry at that index, and what it has acknowledged to this leader before.
//     The commit index in an append is no answer, because the append may be late: the leader may
//     have sent it before this member lost entries.
//
// A cluster of one need not wait. A member that joins need not wait either: its id is new, so it
// has forgotten nothing, and it becomes a voter only once its data directory is recorded
// (store_ids.h).
//
// A member whose log has lost its end (LogStore::lost) does not vote either, until it has
// everything that was ever acknowledged, by the same rule (docs/decisions/0022).
//
// The log store saves the permission to vote. From then on this class does nothing.
//
// Owned by the replica; used on the thread of the turns.

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/member/outbox.h"
#include "server/raft/raft.h"
#include "storage/base/monotonic_time.h"
#include "storage/log/log_store.h"

namespace raftkv {

class FirstStart {
 public:
  // All pointers must outlive this object. `peers` are the other voters. `joins`: the cluster
  // existed before this member.
  // `base`: the index of the last entry that a new log contains (ReplicaOptions::base_index).
  FirstStart(std::vector<raft::MemberId> peers, bool joins, raft::Index base, LogStore* log,
             raft::Raft* raft, Outbox* outbox);

  // Sends Hello to the peers every 200 ms, asks the leader for a read index, and checks whether
  // this member has caught up.
  void Turn(MonotonicTime now);
  void OnHelloReply(raft::MemberId from, const HelloReply& reply);
  // Whether `result` answers a question of this class.
  bool OnReadIndex(const raft::ReadIndexResult& result);

  // A peer knows a different data directory for this member. This one may lack acknowledged writes,
  // so no client is served from it.
  bool rejected_by_peers() const { return !rejected_by_.empty() && !log_->may_vote(); }
  // Peers that have not answered "my log is empty" while this member still waits for them.
  WaitingForPeers waiting_for() const;

 private:
  void AllowVoting(VotingAllowed::Why why);
  void NoteRepair();
  void AskReadIndex();
  bool CaughtUp() const;
  void ReportWaiting();
  size_t answers_needed() const {
    const size_t all = peers_.size() + 1;
    return all - (all / 2 + 1) + 1;
  }

  std::optional<LogStore::Lost> lost_;  // until this member may vote again
  const bool is_new_;  // the log never held an entry: the first start, or the directory was lost
  const std::vector<raft::MemberId> peers_;
  const bool joins_;
  const bool restored_;
  LogStore* const log_;
  raft::Raft* const raft_;
  Outbox* const outbox_;

  std::set<raft::MemberId> said_empty_;
  std::set<raft::MemberId> rejected_by_;
  // The id of the last read index request of this class. The reads of clients have lower ids
  // (reads.h).
  uint64_t question_ = uint64_t{1} << 63;
  raft::Term asked_in_ = 0;
  MonotonicTime next_ask_ = MonotonicTime::InfinitePast();
  // The entry that the log must reach: the answer of the leader of this term.
  raft::EntryId must_reach_;
  MonotonicTime now_;  // of this turn
  MonotonicTime last_hello_ = MonotonicTime::InfinitePast();
  MonotonicTime next_report_ = MonotonicTime::InfinitePast();
};

// For log lines and answers. `names`: of waiting.missing, at least one.
std::string Describe(const WaitingForPeers& waiting, const std::vector<std::string>& names);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_FIRST_START_H_
