#ifndef RAFTKV_SERVER_MEMBER_TRANSPORT_H_
#define RAFTKV_SERVER_MEMBER_TRANSPORT_H_

// How a member sends messages to its peers. Send does not wait and reports no error. What was given
// to Send may be kept until Flush, which is called before a save and at the end of a turn.
// Implemented by server/peer (gRPC) and by the simulator's network.
//
// Raft messages may be dropped, delayed, reordered and duplicated; Raft sends again. Forwarded
// proposals may be dropped but are never duplicated. When their stream breaks, the replica is told
// (ForwardLost), because the fate of proposals may be unknown. When the streams on which a peer
// sends appends and heartbeats are aborted, the replica is told, too (PeerLost): the peer's process
// may have died.

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "server/raft/message.h"
#include "server/raft/types.h"
#include "storage/rules/version.h"
#include "storage/tables/digests.h"

namespace raftkv {

// A follower sends its client's proposal to the leader. `number` is chosen by the origin and
// increases. A number is sent again only if it is certain that the proposal before was not and will
// not be committed.
struct ForwardedProposal {
  uint64_t number = 0;
  raft::Payload payload;
  ClusterVersion needs = kFirstVersion;  // storage/rules/version.h
  bool changes_members = false;          // the command is a ChangeMembers
  // Only the leader of this term may propose it. 0: any leader may (the origin is of the first
  // release).
  raft::Term term = 0;

  bool IsFor(raft::Term t) const { return term == 0 || term == t; }
};

// The leader answers that it has not proposed the forwarded proposal: sending it to this leader had
// no effect. Without a flag the leader declined it (it is no leader any more, or it stops), and it
// may be sent to the next leader. An accepted proposal gets no reply: its origin sees the committed
// entry.
struct ForwardedProposalReply {
  uint64_t number = 0;
  bool too_many_requests = false;
  // The process that sent the proposal. 0: not known. The next process of the same member uses the
  // same numbers again, so it must not take this answer for its own.
  uint64_t boot_id = 0;
  // The leader cannot propose it now, but it or the next leader can soon: it transfers its
  // leadership, its disk is full, or it has to raise the cluster version first. Send the proposal
  // again after a heartbeat interval.
  bool try_again = false;
  bool not_understood = false;  // the leader, or the cluster version in force, does not know it
  absl::Status rejected = {};   // a change of the members is not possible, for this reason
  // The term of the proposal. Its origin may have sent it again for another term, which this answer
  // does not concern.
  raft::Term term = 0;
};

// Sent by a member with an empty log, to ask whether the peer's log is empty too (first_start.h).
// Also sent by a member that hears no leader, to ask whether it was removed.
struct Hello {};
struct HelloReply {
  bool log_empty = false;          // the sender's log never held an entry
  bool store_id_rejected = false;  // the cluster knows another data directory for the asking member
  bool removed = false;            // the asking member was removed from the cluster
  // Not {0, 0}: the log of the asking member had reached this, and is now behind it (peer_lives.h).
  raft::Reached forgotten = {};
};

// A member tells its leader the digests of its state, and the leader tells a member that its digest
// at `index` is not the majority's (audit.h). No `majority`: there is none.
struct DigestReport {
  std::deque<StateDigest> digests;  // at most kDigestsKept
};
struct Diverged {
  raft::Index index = 0;
  std::optional<uint64_t> majority;
};

// The process that sends a message. The handshake fills it in for a received message, and Outbox
// for its own.
struct Sender {
  raft::MemberId id = raft::kNobody;
  std::string store_id = {};                      // of its data directory
  ClusterVersion newest_version = kFirstVersion;  // the newest version that it knows
  uint64_t boot_id = 0;                           // of its process; 0: not known
  raft::Reached reached = {};                     // how far its log has ever come
  uint64_t connection = 0;  // the number of the stream, on streams that peers opened; else 0
};

struct PeerMessage {
  Sender from;
  raft::MemberId to = raft::kNobody;
  std::variant<raft::Message, ForwardedProposal, ForwardedProposalReply, Hello, HelloReply,
               DigestReport, Diverged>
      body;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual void Send(PeerMessage message) = 0;
  virtual void Flush() {}

  // Sends a snapshot of this member's state machine, as it is now or later, to a peer that needs
  // one. `term` is this member's term as leader. An earlier transfer to the same peer is ended.
  // Every transfer ends with the input SnapshotSent, unless StopSnapshots was called.
  virtual void SendSnapshot(raft::MemberId to, raft::Term term) = 0;
  // Ends all transfers, because this member no longer leads.
  virtual void StopSnapshots() = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_TRANSPORT_H_
