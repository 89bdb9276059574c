#ifndef RAFTKV_SERVER_MEMBER_EVENTS_H_
#define RAFTKV_SERVER_MEMBER_EVENTS_H_

// What a member tells its observers, in order: events, committed entries, and new revisions. The
// server uses the events only, for log lines (server/event_log.h) and metrics. The simulator checks
// all three. Watches and leases are no observers: watches read new revisions from a snapshot after
// each turn (server/watch/hub.h), and the state machine tells the replica about leases
// (Member::LearnLeases).

#include <cstddef>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/member/audit.h"
#include "server/member/fault.h"
#include "server/member/space.h"
#include "server/raft/ready.h"
#include "server/raft/types.h"
#include "storage/log/log_store.h"
#include "storage/rules/alarms.h"
#include "storage/rules/members.h"
#include "storage/rules/revision.h"
#include "storage/rules/version.h"

namespace raftkv {

// A message of `peer` was rejected. Reported for each such message.
struct PeerRejected {
  raft::MemberId peer = raft::kNobody;
  enum class Why {
    kStoreId,    // its data directory is not the one that the cluster has recorded for this member
    kOlderCopy,  // its data directory is an older copy (peer_lives.h)
    kReplaced,   // a newer process of the same member was heard (peer_lives.h)
    kRemoved,    // it was removed from the cluster, and asks whether it was
  } why = Why::kStoreId;
};
// `peer` rejects this member's messages, because the cluster has recorded another data directory
// for this member. Reported once, for the first such peer.
struct RejectedByPeer {
  raft::MemberId peer = raft::kNobody;
};
// This member votes from now on (first_start.h).
struct VotingAllowed {
  enum class Why {
    kLogsAreEmpty,  // enough members answered that their logs are empty, too
    kCaughtUp,      // at its first start; a leader has caught this member up
    kJoined,        // it has a new id; it becomes a voter later
    kRepaired,      // its log has the lost entries again, or those that have replaced them
  } why = Why::kLogsAreEmpty;
  LogStore::Lost lost = {};  // of kRepaired
};
// The log has lost entries, and there is no leader that could send them. Reported once a minute.
struct WaitingForRepair {
  LogStore::Lost lost;
};
// First start: the peers for which this member waits. Reported when they change, and once a minute.
struct WaitingForPeers {
  std::vector<raft::MemberId> missing;  // the peers that have not answered "my log is empty"
  size_t needed = 0;                    // how many of them must still answer
  bool restored = false;                // this member's directory was restored from a backup
};
// This leader steps down by itself.
struct LeaderStepsDown {
  raft::Term term = 0;
  // The time since its last turn, if that was too long: a save took long, or the process was
  // stopped. Zero: its disk is full, and no other member took over.
  absl::Duration pause;
};

// A committed entry raised the cluster version.
struct VersionRaised {
  ClusterVersion version = kFirstVersion;
};

// A committed entry changed the members, or published the name or the URLs of one. The pointer is
// valid during the call.
struct MembersChanged {
  const Members* members = nullptr;
};
// This member was removed from the cluster. It must stop. Reported once.
struct RemovedFromCluster {};

// The space on this member's disk has another level (space.h). The pointer is valid during the
// call.
struct SpaceChanged {
  const Space* space = nullptr;
};
// The alarms of the cluster have changed, as far as this member has applied the log.
struct AlarmsChanged {
  const Alarms* alarms = nullptr;
};

// This leader proposed a compaction by itself (auto_compaction.h).
struct CompactionProposed {
  Revision revision = 0;
};

// A Fault is reported once: this member has halted. A leader reports a Divergence once for each
// index.
using ReplicaEvent =
    std::variant<raft::Event, PeerRejected, RejectedByPeer, VotingAllowed, WaitingForPeers,
                 WaitingForRepair, VersionRaised, MembersChanged, RemovedFromCluster, Fault,
                 Divergence, SpaceChanged, AlarmsChanged, CompactionProposed, LeaderStepsDown>;

class MemberObserver {
 public:
  virtual ~MemberObserver() = default;

  // Called on the thread that runs the member's turns.
  virtual void OnEvent(const ReplicaEvent& /*event*/) {}
  // These entries are committed. They are contiguous. Each entry is reported once in a life of the
  // member, before it is applied. Called on the thread that runs the turns.
  virtual void OnCommitted(absl::Span<const raft::Entry> /*entries*/) {}
  // Every revision up to `newest` exists now, and StateMachine::Snapshot() shows it. Called after
  // each applied batch that made revisions, on the thread that applies.
  virtual void OnRevision(Revision /*newest*/) {}
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_EVENTS_H_
