#ifndef RAFTKV_SERVER_MEMBER_REPLICA_H_
#define RAFTKV_SERVER_MEMBER_REPLICA_H_

// One member: the consensus core, its log on disk and the requests that wait for both.
// Deterministic and single-threaded; driven by the I/O loop (server/loop) and by the simulator,
// which call
//
//   Turn(inputs, now)   step everything that arrived, send, save once, send what was promised, and
//                       hand committed entries and confirmed reads to the apply queue
//   OnApplied(index)    the applier's progress
//
// Every ordering rule lives here: nothing that promises durability leaves before the save, a read
// rides the apply queue behind everything it must see, a request is answered exactly once.
//
// Requests carry their continuation (`done`), called on the thread that runs the replica or the
// applier, exactly once and no later than request_timeout after they arrived, wherever they wait
// then. A proposal is never proposed twice: once its fate is unknown it is answered so (etcd's
// "request timed out, possibly due to ...").

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "server/member/transport.h"
#include "server/raft/raft.h"
#include "storage/base/monotonic_time.h"
#include "storage/log/log_store.h"
#include "storage/state_machine.h"

namespace raftkv {

// How a request ended, in the replica's own words; server/api/errors maps them to etcd's.
enum class Fate {
  kApplied,            // `result` holds the state machine's answer, which may be an error
  kTimedOut,           // no leader in time: certainly not proposed, or a read
  kUnknownLeaderLost,  // proposed; the leader changed before it was applied here
  kUnknownConnection,  // handed to the leader; the connection broke
  kUnknownTimedOut,    // proposed, but not applied in time (it may be applied yet)
  kTooManyRequests,    // refused before it was proposed
  kNotUnderstood,      // refused before it was proposed: a leader of another version
  kStoppedUnproposed,  // the server is stopping: certainly not proposed
  kStopped,            // the server is stopping
};

using ProposalDone = absl::AnyInvocable<void(Fate, ApplyResult)>;
using ReadDone = absl::AnyInvocable<void(Fate)>;

// Who waits for a request. A request whose caller has given up before it was proposed, or asked of
// the leader, need not be carried out.
struct Caller {
  // From then on nobody waits for the answer.
  MonotonicTime deadline = MonotonicTime::InfiniteFuture();
  // The caller is gone already; empty: it never is. Valid until the request's `done` was called.
  absl::AnyInvocable<bool() const> gone = nullptr;
};

// `command` is an encoded proto::Command without origin.
struct ProposeRequest {
  std::string command;
  ProposalDone done;
  Caller caller = {};
};

// A linearizable read: `done(kApplied)` runs in the apply queue, where the state machine holds
// everything that was acknowledged before the request arrived. A serializable one needs no replica:
// any snapshot of the state machine will do.
struct ReadRequest {
  ReadDone done;
  Caller caller = {};
};

// The stream of appends to a peer broke: what was in flight may be lost.
struct AppendLost {
  raft::MemberId peer = raft::kNobody;
};

// The stream of forwarded requests to a peer broke: what was in flight may be lost. `unsent` are
// the numbers of proposals that certainly never left; they wait for the next leader.
struct ForwardLost {
  raft::MemberId peer = raft::kNobody;
  std::vector<uint64_t> unsent;
};

// A forwarded proposal found its stream's queue full: it certainly never left.
struct ForwardRefused {
  uint64_t number = 0;
};

using ReplicaInput =
    std::variant<PeerMessage, ProposeRequest, ReadRequest, AppendLost, ForwardLost, ForwardRefused>;

// What the applier does, strictly in order.
struct CommittedTask {
  std::vector<raft::Entry> entries;
  // dones[i] belongs to the entry with that index; ascending.
  std::vector<std::pair<raft::Index, ProposalDone>> dones;
};
struct ReadTask {
  std::vector<ReadDone> dones;
};
using ApplyTask = std::variant<CommittedTask, ReadTask>;

struct ReplicaOptions {
  std::string store_id;
  uint64_t boot_id = 0;  // differs at each process start
  raft::Config raft;     // raft.id is the member's
  raft::Configuration configuration;
  absl::Duration tick = absl::Milliseconds(10);
  absl::Duration request_timeout = absl::Seconds(7);
  // Requests waiting or in flight, and the bytes of proposals among them; beyond:
  // kTooManyRequests. One proposal always passes.
  size_t pending_max = 16384;
  size_t pending_bytes_max = 128 << 20;
};

// Facts for log lines and metrics, in order: the core's events and the replica's own.
struct PeerRefused {  // at each message: its data directory is not the one that is known for it
  raft::MemberId peer = raft::kNobody;
};
struct RefusedByPeer {  // the other end of it, at the first peer that says so
  raft::MemberId peer = raft::kNobody;
};
struct VotingAllowed {
  bool caught_up = false;  // by a leader; else a majority answered that their logs are empty
};
struct WaitingForPeers {                // first start; said when it changes, and once a minute
  std::vector<raft::MemberId> missing;  // have not answered "my log is empty"
  size_t needed = 0;                    // so many more of them must
};
using ReplicaEvent =
    std::variant<raft::Event, PeerRefused, RefusedByPeer, VotingAllowed, WaitingForPeers>;

class Replica {
 public:
  // `log`, `state_machine` and `transport` outlive it. `apply` takes the tasks of the apply queue;
  // `on_event` may be empty. The state machine is only looked at here (applied index, store ids,
  // both at start); what was recorded later arrives through committed entries.
  Replica(const ReplicaOptions& options, LogStore* log, const StateMachine* state_machine,
          Transport* transport, std::function<void(ApplyTask)> apply,
          std::function<void(const ReplicaEvent&)> on_event);
  ~Replica();

  // `now` never goes back. One synced batch at most per call, however many inputs.
  void Turn(std::vector<ReplicaInput> inputs, absl::Time now);

  // Everything up to `index` is in the state machine. Called between turns, from the same thread.
  void OnApplied(raft::Index index);

  // Before a stop: what other members hand to this one as their leader is refused, and then waits
  // there for the next leader. Else it might be lost with this one, its fate unknown.
  void RefuseForwarded();
  // Answers everything pending with kStopped; with kStoppedUnproposed what nobody was handed.
  void Stop();

  raft::Status status() const;
  raft::MemberId leader() const;
  raft::Term term() const;
  bool may_vote() const;
  size_t pending() const;    // requests that are not in the hands of the applier yet
  uint64_t refused() const;  // messages refused for their receiver or their store id
  // This data directory is not the one that the cluster knows for this member: nothing that is or
  // is not in it counts.
  bool refused_by_peers() const;
  const raft::Raft& raft() const;  // for invariants

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_REPLICA_H_
