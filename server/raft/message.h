#ifndef RAFTKV_SERVER_RAFT_MESSAGE_H_
#define RAFTKV_SERVER_RAFT_MESSAGE_H_

// What members say to each other, as plain values. The codec (server/peer/raft_codec) turns them
// into protobuf and back and rejects what is malformed, so inside the core a CHECK is honest.
//
// Every message carries its sender's term: a higher one makes the receiver a follower, a lower one
// is answered so that the sender learns of it (§5.1). A pre-vote (thesis §9.6) carries the term its
// sender *would* campaign in and changes nobody's term.

#include <cstdint>
#include <variant>
#include <vector>

#include "server/raft/types.h"

namespace raftkv::raft {

// §5.2, §5.4.1. `last` is the candidate's last entry.
struct RequestVote {
  EntryId last = {};
  bool pre_vote = false;
  friend bool operator==(const RequestVote&, const RequestVote&) = default;
};

struct RequestVoteReply {
  bool granted = false;
  bool pre_vote = false;
  friend bool operator==(const RequestVoteReply&, const RequestVoteReply&) = default;
};

// §5.3. Without entries it is a heartbeat or a probe. `entries` follow `prev` without a gap.
// `commit` is the leader's commit index. `round` numbers the leader's heartbeat rounds, within its
// term and never reused; a reply echoes it. A ReadIndex is confirmed by a majority that echoed a
// round begun after the read arrived (thesis §6.4), so no late reply can confirm a newer read.
struct AppendEntries {
  EntryId prev = {};
  std::vector<Entry> entries = {};
  Index commit = 0;
  uint64_t round = 0;
  friend bool operator==(const AppendEntries&, const AppendEntries&) = default;
};

// success: everything up to `match` is the leader's and *saved* at the follower.
// !success: the follower lacks `rejected_prev`; `hint` is the follower's own last entry at or below
// rejected_prev.index whose term is at most rejected_prev.term: the leader goes on from the largest
// index at which the two may still agree, one round trip a term at most (end of §5.3).
struct AppendEntriesReply {
  bool success = false;
  Index match = 0;
  EntryId rejected_prev = {};
  EntryId hint = {};
  uint64_t round = 0;
  friend bool operator==(const AppendEntriesReply&, const AppendEntriesReply&) = default;
};

// A follower asks its leader for a read index on behalf of its own clients (thesis §6.4).
// `id` is the follower's, unique over its lifetime.
struct ReadIndexRequest {
  uint64_t id = 0;
  friend bool operator==(const ReadIndexRequest&, const ReadIndexRequest&) = default;
};

// `index` 0: refused, ask again (not leader any more, or bounds reached).
struct ReadIndexReply {
  uint64_t id = 0;
  Index index = 0;
  friend bool operator==(const ReadIndexReply&, const ReadIndexReply&) = default;
};

// §7; the rooms of these two are furnished by the issue "Raft".
struct InstallSnapshot {
  SnapshotMeta meta;
  friend bool operator==(const InstallSnapshot&, const InstallSnapshot&) = default;
};

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
  friend bool operator==(const Message&, const Message&) = default;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_MESSAGE_H_
