#ifndef RAFTKV_SERVER_RAFT_MESSAGE_H_
#define RAFTKV_SERVER_RAFT_MESSAGE_H_

// The messages between members, as plain values. The codec (server/peer/raft_codec) converts them
// to and from protobuf and rejects malformed ones. What is well-formed but no correct peer would
// send is rejected by Raft::Step (plausibility.cc).
//
// Every message carries its sender's term. A higher term makes the receiver a follower in that term
// (Raft::Step has the exceptions). A vote request or append of a lower term is answered with the
// receiver's term, so that the sender learns it (§5.1). A pre-vote (thesis §9.6) carries the term
// that its sender *would* campaign in; it changes the term of no member.

#include <cstdint>
#include <variant>
#include <vector>

#include "server/raft/types.h"

namespace raftkv::raft {

// §5.2, §5.4.1. `last` is the candidate's last log entry. `leadership_transfer`: the leader asked
// the candidate to campaign (TimeoutNow), so members that hear from the leader vote, too.
struct RequestVote {
  EntryId last = {};
  bool pre_vote = false;
  bool leadership_transfer = false;
  friend bool operator==(const RequestVote&, const RequestVote&) = default;
};

struct RequestVoteReply {
  bool granted = false;
  bool pre_vote = false;
  friend bool operator==(const RequestVoteReply&, const RequestVoteReply&) = default;
};

// §5.3. Without entries it is a heartbeat or a probe. `entries` follow `prev` without a gap.
// `commit` is the leader's commit index. `round` is the leader's newest heartbeat round; a leader
// uses each number once, and a reply echoes it. A read is confirmed when a majority has echoed a
// round that began after the read arrived (thesis §6.4), so a reply to an older round cannot
// confirm it. `prev_chain` is the chain hash of the leader's log up to `prev`; 0: not known. The
// follower compares it with its own (fork.cc). `acknowledged`: the follower has acknowledged
// everything up to here to this leader.
struct AppendEntries {
  EntryId prev = {};
  std::vector<Entry> entries = {};
  Index commit = 0;
  uint64_t round = 0;
  uint64_t prev_chain = 0;
  Index acknowledged = 0;
  friend bool operator==(const AppendEntries&, const AppendEntries&) = default;
};

// success: the follower's log equals the leader's up to `match`, and the follower has *saved* it.
// !success: the follower has no entry `rejected_prev`. `hint` is the follower's last entry at or
// below rejected_prev.index whose term is at most rejected_prev.term. From it the leader computes
// the largest index at which the two logs may agree, so finding the common prefix takes at most
// one round trip for each term (end of §5.3).
// `conflict`, with !success: an entry of the follower's log, and the chain hash up to it, that
// contradicts the leader's log although the follower knows that both must be equal there (fork.cc).
// {0, 0}: there is none. `out_of_space`: the follower takes no entries, because its disk is full
// (Raft::SetOutOfSpace). `repairs`, with !success: the follower knows that it lacks entries
// that it had acknowledged, and does not vote (Raft::SetVoting). The leader sends them again.
struct AppendEntriesReply {
  bool success = false;
  Index match = 0;
  EntryId rejected_prev = {};
  EntryId hint = {};
  uint64_t round = 0;
  EntryId conflict = {};
  uint64_t conflict_chain = 0;
  bool out_of_space = false;
  bool repairs = false;
  friend bool operator==(const AppendEntriesReply&, const AppendEntriesReply&) = default;
};

// A follower asks its leader for a read index on behalf of its own clients (thesis §6.4).
// The follower chooses `id` and never uses it twice.
struct ReadIndexRequest {
  uint64_t id = 0;
  friend bool operator==(const ReadIndexRequest&, const ReadIndexRequest&) = default;
};

// `index` 0: no read index; ask again. The receiver is no longer the leader, or too many reads
// wait. `acknowledged`: the follower has acknowledged everything up to here to this leader.
struct ReadIndexReply {
  uint64_t id = 0;
  Index index = 0;
  Index acknowledged = 0;
  friend bool operator==(const ReadIndexReply&, const ReadIndexReply&) = default;
};

// §7. A leader does not send this message: it asks its driver to send a snapshot
// (Ready::snapshots_to), which takes long. The receiver's driver passes this message to Raft::Step
// when the whole snapshot has arrived, is verified and is on disk.
struct InstallSnapshot {
  SnapshotMeta meta;
  friend bool operator==(const InstallSnapshot&, const InstallSnapshot&) = default;
};

// The leader asks the receiver, whose log equals its own, to campaign at once (thesis §3.10). The
// sender needs no reply: it learns from the vote request that the message arrived.
struct TimeoutNow {
  friend bool operator==(const TimeoutNow&, const TimeoutNow&) = default;
};

using MessageBody = std::variant<RequestVote, RequestVoteReply, AppendEntries, AppendEntriesReply,
                                 ReadIndexRequest, ReadIndexReply, InstallSnapshot, TimeoutNow>;

struct Message {
  MemberId from = kNobody;
  MemberId to = kNobody;
  Term term = 0;
  MessageBody body;
  // Set by the receiver's transport for messages that come on a peer's stream of appends or of
  // heartbeats: the number of the stream. A newer stream of the same peer has a higher number
  // (Raft::OnPeerLost).
  uint64_t connection = 0;
  friend bool operator==(const Message&, const Message&) = default;
};

// A message is rejected if its term is ahead of ours by more than this number. With one election a
// second, a cluster would need more than a century for so many terms, so the sender is faulty. If
// its term were saved, it would spread to all members.
inline constexpr Term kTermAheadMax = Term{1} << 32;

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_MESSAGE_H_
