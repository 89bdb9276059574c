#ifndef RAFTKV_SERVER_RAFT_RAFT_H_
#define RAFTKV_SERVER_RAFT_RAFT_H_

// The Raft algorithm as a pure, deterministic value machine: same inputs, same outputs. No I/O,
// thread, clock, lock, log line or protobuf inside; time is Tick. Owned and driven by
// server/replica (and by tests), one call at a time:
//
//   in:            Tick  Step  Propose  ReadIndex  OnUnreachable
//   out:           HasReady  TakeReady
//   acknowledged:  OnSaved(number)  OnApplied(index)
//   look:          status and friends
//
// Promises:
//  - Nothing that promises durability leaves before OnSaved of the Ready that carries it; a member's
//    own vote and its own log position count only from OnSaved. Nobody leads a term it has not saved.
//  - A leader commits by counting only entries of its own term (§5.4.2).
//  - A ReadIndex is answered only after a committed entry of the leader's own term (§8) and a
//    heartbeat round begun after the read arrived (thesis §6.4).
//  - PreVote and CheckQuorum are always on (thesis §9.6, §6.2).
//  - Memory is bounded by Config; what is over a bound is refused (clients) or dropped (peers).

#include <cstdint>
#include <map>
#include <vector>

#include "server/raft/config.h"
#include "server/raft/log_reader.h"
#include "server/raft/message.h"
#include "server/raft/ready.h"
#include "server/raft/types.h"

namespace raftkv::raft {

struct PeerStatus {
  Index match_index = 0;
  Index next_index = 1;
  bool recently_active = false;
  size_t inflight_messages = 0;
};

struct Status {
  MemberId id = kNobody;
  Role role = Role::kFollower;
  Term term = 0;
  MemberId voted_for = kNobody;
  MemberId leader = kNobody;
  Index commit_index = 0;
  Index applied_index = 0;
  Index first_index = 1;
  Index last_index = 0;
  std::map<MemberId, PeerStatus> peers;  // of a leader
};

enum class ProposeResult { kAccepted, kNotLeader, kTooManyRequests };

class Raft {
 public:
  // `log` outlives the core. `applied` is the state machine's: entries after it are handed out.
  // `configuration` is the one in force at `applied`; entries above it in the log may change it.
  Raft(const Config& config, const Configuration& configuration, Index applied,
       const LogReader* log);

  void Tick(int ticks);  // at most one heartbeat interval at once; more is the driver's mistake
  void Step(Message message);
  // On kAccepted the entry has the id {term, last_index} of status() right after the call.
  ProposeResult Propose(Payload payload);
  // Ids are unique over the life of the member's process. Always answered, through Ready::reads.
  void ReadIndex(uint64_t id);
  // A message to `peer` was lost or its connection broke: stop pipelining, probe again.
  void OnUnreachable(MemberId peer);

  // A member that may have forgotten its promises (an empty data directory that claims to be a known
  // member) neither campaigns nor votes until the driver says so; see docs/architecture.md.
  void SetVoting(bool may_vote);

  // Leader only: give up leadership (a save that took longer than an election timeout, shutdown).
  void StepDown();

  bool HasReady() const;
  Ready TakeReady();
  void OnSaved(uint64_t ready_number);
  void OnApplied(Index index);

  Role role() const;
  Term term() const;
  MemberId leader() const;
  Index commit_index() const;
  Index last_index() const;
  Status status() const;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_RAFT_H_
