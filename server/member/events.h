#ifndef RAFTKV_SERVER_MEMBER_EVENTS_H_
#define RAFTKV_SERVER_MEMBER_EVENTS_H_

// What a member tells those who watch it: facts for log lines and metrics, in order, and what was
// committed and applied. The server makes log lines of the facts (server/events); watches, leases
// and metrics will follow what is applied; the simulator checks all of it.

#include <cstddef>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "server/raft/ready.h"
#include "server/raft/types.h"
#include "storage/mvcc/layout.h"  // Revision
#include "storage/version.h"

namespace raftkv {

// A message was rejected, because its sender's data directory is not the one that the cluster knows
// for it. Said for each such message.
struct PeerRefused {
  raft::MemberId peer = raft::kNobody;
};
// The other end of it: a peer rejects this member. Said once, for the first such peer.
struct RefusedByPeer {
  raft::MemberId peer = raft::kNobody;
};
// First start (first_start.h): this member votes from now on.
struct VotingAllowed {
  bool caught_up = false;  // by a leader; else enough members answered that their logs are empty
};
// First start: said when it changes, and once a minute.
struct WaitingForPeers {
  std::vector<raft::MemberId> missing;  // have not answered "my log is empty"
  size_t needed = 0;                    // so many more of them must
};

// The cluster version was raised through the log; committed.
struct VersionRaised {
  ClusterVersion version = kFirstVersion;
};

using ReplicaEvent = std::variant<raft::Event, PeerRefused, RefusedByPeer, VotingAllowed,
                                  WaitingForPeers, VersionRaised>;

class MemberObserver {
 public:
  virtual ~MemberObserver() = default;

  // On the thread that runs the member's turns.
  virtual void OnEvent(const ReplicaEvent& /*event*/) {}
  // These entries are committed, contiguous and each once in a life. Before they are applied; on
  // the thread of the turns.
  virtual void OnCommitted(absl::Span<const raft::Entry> /*entries*/) {}
  // Every revision up to `newest` exists now: StateMachine::Snapshot() shows it. Said after each
  // applied batch that made revisions; on the thread that applies.
  virtual void OnRevision(Revision /*newest*/) {}
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_EVENTS_H_
