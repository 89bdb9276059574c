#ifndef RAFTKV_SERVER_RAFT_READY_H_
#define RAFTKV_SERVER_RAFT_READY_H_

// What one turn of the core asks its driver (server/member) to do, in this order:
//
//   1. send `messages_now`
//   2. save `hard_state` and `entries` in one synced batch; then Raft::OnSaved(number)
//   3. send `messages_after_save`
//   4. hand `committed` and `reads`, in that order, to the applier
//
// A Ready is a value: it holds everything, so saving may be slow or done elsewhere. Readys are
// saved in the order of their numbers.

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "server/raft/message.h"
#include "server/raft/types.h"

namespace raftkv::raft {

// Facts the core reports instead of logging them; the driver makes log lines and metrics of them,
// tests and transcripts assert on them.
struct BecameFollower {
  Term term = 0;
  MemberId leader = kNobody;
};  // nobody: not known yet
struct BecamePreCandidate {
  Term term = 0;
};  // term it would campaign in
struct BecameCandidate {
  Term term = 0;
};
struct BecameLeader {
  Term term = 0;
  std::vector<MemberId> votes;
  Index last_index = 0;
};
struct LeaderChanged {
  Term term = 0;
  MemberId leader = kNobody;
};  // nobody: leader lost
struct VoteGranted {
  Term term = 0;
  MemberId candidate = kNobody;
  bool pre_vote = false;
};
struct VoteReceived {
  Term term = 0;
  MemberId voter = kNobody;
  bool granted = false;
  bool pre_vote = false;
};
struct SteppedDown {
  Term term = 0;
  enum class Why { kHigherTerm, kNoQuorum } why = Why::kHigherTerm;
};
struct Truncated {
  EntryId first_removed;
  EntryId new_last;
};  // a conflicting suffix (§5.3)

using Event = std::variant<BecameFollower, BecamePreCandidate, BecameCandidate, BecameLeader,
                           LeaderChanged, VoteGranted, VoteReceived, SteppedDown, Truncated>;

// The answer to ReadIndex(id): once everything up to `index` is applied the read may be served.
// `index` 0: not confirmed and never will be (no leader, leadership lost); the driver may ask
// again.
struct ReadIndexResult {
  uint64_t id = 0;
  Index index = 0;
  friend bool operator==(const ReadIndexResult&, const ReadIndexResult&) = default;
};

struct Ready {
  uint64_t number = 0;

  // Set when term or vote changed, or when there are entries (it then carries the commit index
  // along). With neither, nothing needs saving and OnSaved may be called at once.
  std::optional<HardState> hard_state;

  // Contiguous. What the log holds from entries.front().id.index on is to be removed first, in the
  // same batch.
  std::vector<Entry> entries;

  // A snapshot to install before anything else of this Ready (issue "Raft").
  std::optional<SnapshotMeta> snapshot;

  // A leader's appends and heartbeats, and what promises nothing in a term that is already saved:
  // echoes of a heartbeat (their match is what is saved), read-index questions and answers.
  std::vector<Message> messages_now;

  // Votes, acknowledgements and whatever else promises that something is on disk.
  std::vector<Message> messages_after_save;

  // Contiguous, each entry exactly once over the life of the core; only saved entries.
  std::vector<Entry> committed;

  std::vector<ReadIndexResult> reads;

  std::vector<Event> events;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_READY_H_
