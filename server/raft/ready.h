#ifndef RAFTKV_SERVER_RAFT_READY_H_
#define RAFTKV_SERVER_RAFT_READY_H_

// The work that the core gives to its driver (server/member) in one turn. The driver must:
//
//   1. send `messages_now`
//   2. install `snapshot`, if there is one; then save `hard_state` and `entries` in one synced
//      batch; then call Raft::OnSaved(number)
//   3. send `messages_after_save`
//   4. pass `committed`, then `reads`, to the applier
//
// A Ready holds copies of everything it needs, so the driver may save it slowly or on another
// thread. Ready values must be saved in the order of their numbers.

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "server/raft/message.h"
#include "server/raft/types.h"

namespace raftkv::raft {

// Events. The core writes no log lines; it reports these. server/events turns them into log lines,
// and tests and transcripts compare them.
struct BecameFollower {
  Term term = 0;
  MemberId leader = kNobody;  // kNobody: not known yet
};
struct BecamePreCandidate {
  Term term = 0;      // the term that it would campaign in
  bool fast = false;  // before the election timeout (Raft::kFastRounds)
};
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
  MemberId leader = kNobody;  // kNobody: this member lost its leader
  bool transfer = false;      // because the leader transfers its leadership
};
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
  // kTransfer: it was transferring its leadership. kNoVoter: an entry that it committed removed
  // it from the voters.
  enum class Why { kHigherTerm, kTransfer, kNoQuorum, kNoVoter } why = Why::kHigherTerm;
};
struct Truncated {  // a suffix that conflicted with the leader's log was removed (§5.3)
  EntryId first_removed;
  EntryId new_last;
};

struct SnapshotNeeded {  // the log no longer has the next entry of this peer
  MemberId peer = kNobody;
  Index next_index = 0;
};
struct SnapshotInstalled {  // a snapshot of the leader replaced the whole log (§7)
  EntryId last;
};

// Another configuration is in force: its entry was appended, a newer configuration was removed from
// the log, or a snapshot contains it.
struct ConfigurationChanged {
  Index index = 0;
  Configuration configuration;
};
// This member has halted (Raft::Halt).
struct Halted {
  enum class Why {
    kConflict,      // the log of `peer`, a leader, contradicts this log at `entry`
    kToldConflict,  // the log of `peer` contradicts the log of this leader at `entry`
    kLostEntries,   // this log ends before `entry`, which it had acknowledged to the leader `peer`
    kAsked,         // Raft::Halt was called
  } why = Why::kAsked;
  MemberId peer = kNobody;
  EntryId entry = {};  // of this log; of kLostEntries, only the index is known
};
// A leader: `peer` has lost entries that it had acknowledged in this term. `repairs`: it has told
// this itself, and does not vote, so this leader sends them again. Otherwise this leader sends it
// only heartbeats from now on and does not count it (Progress, kExcluded).
struct PeerLostEntries {
  MemberId peer = kNobody;
  Index acknowledged = 0;
  Index last = 0;  // where its log may end now
  bool repairs = false;
};
struct MessageRejected {  // no correct peer would have sent it
  MemberId from = kNobody;
  const char* why = "";
};

using Event =
    std::variant<BecameFollower, BecamePreCandidate, BecameCandidate, BecameLeader, LeaderChanged,
                 VoteGranted, VoteReceived, SteppedDown, Truncated, SnapshotNeeded,
                 SnapshotInstalled, ConfigurationChanged, Halted, PeerLostEntries, MessageRejected>;

// The answer to Raft::ReadIndex(id): the read may be served once all entries up to `index` are
// applied. `index` 0: the read was not confirmed (no leader, leadership lost, or too many reads);
// the driver may ask again. `acknowledged`, on a follower: it has acknowledged everything up to
// here to its leader, maybe in an earlier life.
struct ReadIndexResult {
  uint64_t id = 0;
  Index index = 0;
  Index acknowledged = 0;
  friend bool operator==(const ReadIndexResult&, const ReadIndexResult&) = default;
};

struct Ready {
  uint64_t number = 0;

  // Set when the term or the vote changed, or when there are entries. A new commit index alone does
  // not set it. If unset, there is nothing to save and OnSaved may be called at once.
  std::optional<HardState> hard_state;

  // Contiguous. The same batch must first remove all entries that the log holds at
  // entries.front().id.index and after.
  std::vector<Entry> entries;

  // The snapshot of the InstallSnapshot that the driver passed to Raft::Step replaces the state
  // machine and the whole log. The driver saves that first, before `hard_state` and `entries`.
  std::optional<SnapshotMeta> snapshot;

  // A leader: send a snapshot of the state machine to these peers. The driver answers each of them
  // with Raft::OnSnapshotSent.
  std::vector<MemberId> snapshots_to;

  // Messages that may leave before the save: a leader's appends and heartbeats. Also, if the
  // current term is already saved, replies to heartbeats (their `match` covers saved entries only),
  // read index requests and their replies.
  std::vector<Message> messages_now;

  // Messages that may depend on this save: vote requests, votes, acknowledgements of new entries,
  // rejections, and every message of a term that is not saved yet.
  std::vector<Message> messages_after_save;

  // Committed entries, all of them saved here. Contiguous; each entry appears exactly once in the
  // life of the core.
  std::vector<Entry> committed;

  std::vector<ReadIndexResult> reads;

  std::vector<Event> events;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_READY_H_
