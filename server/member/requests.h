#ifndef RAFTKV_SERVER_MEMBER_REQUESTS_H_
#define RAFTKV_SERVER_MEMBER_REQUESTS_H_

// The requests that clients, peers and the transport hand to a member, and how a client's request
// ends. The API, the transport, the simulator and the member's own classes use these types.
//
// A client's request carries its continuation `done`. It is called exactly once, no later than the
// request's deadline, on the thread of the member's turns or on the thread that applies.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "server/member/space.h"
#include "server/member/transport.h"
#include "storage/base/monotonic_time.h"
#include "storage/snapshot.h"
#include "storage/state_machine.h"

namespace raftkv {

// How a client's request ended. server/api/errors maps it to etcd's codes and texts.
struct Fate {
  enum class Kind : uint8_t {
    kApplied,          // the result is the state machine's answer, which may be an error
    kTimedOut,         // not applied here before the deadline
    kLeaderLost,       // the leader changed before the entry was applied here
    kConnectionLost,   // the connection to the leader broke after the proposal was sent
    kTooManyRequests,  // a bound was reached
    kNotSupported,     // the leader, or the cluster version in force, does not know the command
    kStopped,          // this member stops
    kNotLeader,        // a transfer of leadership: this member is not the leader
    kBadTransferee,    // a transfer of leadership: the target is not another voter
    kRejected,         // a leader rejected a change of the members; the result's status says why
  };
  Kind kind = Kind::kApplied;
  // For a write. True: the write was proposed, so it may be applied although the answer is an
  // error. False: the write is certainly not applied, and the client may safely send it again.
  // Always false for a read that failed.
  bool proposed = false;

  friend bool operator==(const Fate&, const Fate&) = default;

  static const Fate kApplied;
  static const Fate kTimedOut;         // certainly not proposed, or a read
  static const Fate kUnknownTimedOut;  // "unknown": it was proposed and may still be applied
  static const Fate kUnknownLeaderLost;
  static const Fate kUnknownConnection;
  static const Fate kTooManyRequests;
  static const Fate kNotSupported;
  static const Fate kStoppedUnproposed;
  static const Fate kStopped;
  static const Fate kNotLeader;
  static const Fate kBadTransferee;
  static const Fate kRejected;
};
inline constexpr Fate Fate::kApplied = {Kind::kApplied, true};
inline constexpr Fate Fate::kTimedOut = {Kind::kTimedOut, false};
inline constexpr Fate Fate::kUnknownTimedOut = {Kind::kTimedOut, true};
inline constexpr Fate Fate::kUnknownLeaderLost = {Kind::kLeaderLost, true};
inline constexpr Fate Fate::kUnknownConnection = {Kind::kConnectionLost, true};
inline constexpr Fate Fate::kTooManyRequests = {Kind::kTooManyRequests, false};
inline constexpr Fate Fate::kNotSupported = {Kind::kNotSupported, false};
inline constexpr Fate Fate::kStoppedUnproposed = {Kind::kStopped, false};
inline constexpr Fate Fate::kStopped = {Kind::kStopped, true};
inline constexpr Fate Fate::kNotLeader = {Kind::kNotLeader, false};
inline constexpr Fate Fate::kBadTransferee = {Kind::kBadTransferee, false};
inline constexpr Fate Fate::kRejected = {Kind::kRejected, false};

using ProposalDone = absl::AnyInvocable<void(Fate, ApplyResult)>;
using ReadDone = absl::AnyInvocable<void(Fate)>;
using TransferDone = ReadDone;

// The client or the caller in the API that waits for the answer to a request.
struct Caller {
  // The caller stops waiting at this time. The member's request_timeout also limits the wait,
  // except for a physical compaction after it was applied.
  MonotonicTime deadline = MonotonicTime::InfiniteFuture();
  // Returns true if the caller no longer waits, because it cancelled or its connection broke. A
  // write is dropped if its caller has gone before it was proposed, because the caller may have
  // sent it again to another member. Called on the thread of the turns, until `done` is called.
  // Empty: never gone.
  std::function<bool()> gone = nullptr;
};

// A write. It becomes an entry of the log.
struct ProposeRequest {
  std::string command;  // an encoded proto::Command without origin
  ProposalDone done;
  Caller caller = {};
  // For a compaction (CompactionRequest.physical): the answer waits until this member has also
  // removed what the compaction made obsolete, but no longer than until the client's deadline.
  bool wait_for_compaction = false;
  // The lowest cluster version that defines the command. While the version in force is lower, the
  // leader declines the request. But if the leader is raising the version (after the first start of
  // a cluster, or after the last member was upgraded), the request waits.
  ClusterVersion needs = kFirstVersion;
  bool changes_members = false;  // the command is a ChangeMembers, without a configuration
};

// A linearizable read. `done(kApplied)` runs when the state machine holds everything that was
// acknowledged before the request arrived. A serializable read needs no request to the member: it
// reads a snapshot of the state machine.
struct ReadRequest {
  ReadDone done;
  Caller caller = {};
};

// A keep-alive of a lease, and its answer. Keep-alives are proposed together (renewals.h). If there
// is no such lease, the fate is kApplied and the TTL is 0.
struct Renewal {
  int64_t ttl = 0;        // in seconds
  Revision revision = 0;  // the store's newest one
};
struct RenewRequest {
  int64_t id = 0;
  absl::AnyInvocable<void(Fate, Renewal)> done;
};

// Asks this member to transfer its leadership to `target`. `done(kApplied)` runs when this member
// knows that `target` leads. kTimedOut: `target` does not lead yet, or the transfer was given up.
struct TransferRequest {
  raft::MemberId target = raft::kNobody;
  TransferDone done;
  Caller caller = {};
};

// The stream of appends to a peer broke: messages in flight may be lost.
struct AppendLost {
  raft::MemberId peer = raft::kNobody;
};

// The last of the two streams on which `peer` sent appends and heartbeats was aborted, for example
// because its process died. Not reported if the peer closed that stream cleanly, or has opened a
// newer one. `connection` is the number of the peer's newest stream (raft::Message::connection).
struct PeerLost {
  raft::MemberId peer = raft::kNobody;
  uint64_t connection = 0;
};

// The stream of forwarded requests to a peer broke: requests in flight may be lost. The proposals
// with the numbers `unsent` were certainly never sent, so they wait for the next leader.
struct ForwardLost {
  raft::MemberId peer = raft::kNobody;
  std::vector<uint64_t> unsent;
  // The peer ended the stream because it stops. What it has proposed may still be committed,
  // because another member leads soon. It proposes the rest in this term or not at all.
  bool stopped = false;
};

// The queue of the stream to the leader was full. So the proposal with this number was certainly
// not sent, and its client gets "too many requests".
struct ForwardQueueFull {
  raft::MemberId peer = raft::kNobody;
  uint64_t number = 0;
};

// A snapshot of the leader has arrived completely. `message` is an InstallSnapshot, in the term in
// which the leader began to send it. `done(true)`: this member now durably has everything that the
// snapshot contains. `done(false)`: it did not install the snapshot. `done` is called once, on the
// thread of the turns, unless the member ends first.
struct SnapshotArrived {
  PeerMessage message;
  std::unique_ptr<ReceivedSnapshot> snapshot;
  absl::AnyInvocable<void(bool)> done;
};

// How a snapshot that this member sent as the leader of `term` ended (Transport::SendSnapshot).
struct SnapshotSent {
  raft::MemberId peer = raft::kNobody;
  raft::Term term = 0;
  bool ok = false;  // the peer has everything that the snapshot contains
};

// Everything that may arrive between two turns of a member. SpaceReport: see space.h.
using Input = std::variant<PeerMessage, ProposeRequest, ReadRequest, RenewRequest, TransferRequest,
                           AppendLost, PeerLost, ForwardLost, ForwardQueueFull, SnapshotArrived,
                           SnapshotSent, SpaceReport>;

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_REQUESTS_H_
