#ifndef RAFTKV_SERVER_MEMBER_REPLICA_H_
#define RAFTKV_SERVER_MEMBER_REPLICA_H_

// The half of a member that agrees: the consensus core, its log on disk, and the requests that wait
// for both. Deterministic and single-threaded. Member (member.h) owns it and gives it
//
//   Turn(inputs, now)   handle everything that arrived, send, save once, send what was promised
//   TakeHandOver()      what goes on to the applier now: committed entries and confirmed reads
//   OnApplied(index)    the applier's progress
//
// Every ordering rule of the write path lives here: nothing that promises durability is sent before
// the save, a read follows everything that it must see, a request is answered exactly once and no
// later than request_timeout after it arrived, wherever it waits then. A proposal is never proposed
// twice: once its fate is unknown it is answered so (etcd's "request timed out, possibly due to
// ...").

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/member/applier.h"
#include "server/member/first_start.h"
#include "server/member/outbox.h"
#include "server/member/pending.h"
#include "server/member/phase.h"
#include "server/member/proposals.h"
#include "server/member/reads.h"
#include "server/member/requests.h"
#include "server/member/store_ids.h"
#include "server/member/versions.h"
#include "server/raft/raft.h"
#include "storage/log/log_store.h"
#include "storage/state_machine.h"

namespace raftkv {

struct ReplicaOptions {
  // The newest cluster version that this member knows. Tests announce an older one.
  ClusterVersion newest_version = kNewestVersion;
  std::string store_id;
  uint64_t boot_id = 0;  // differs at each process start
  raft::Config raft;     // raft.id is the member's
  raft::Configuration configuration;
  absl::Duration tick = absl::Milliseconds(10);
  absl::Duration request_timeout = absl::Seconds(7);
  // Requests that are not answered yet, and the bytes of proposals among them that are not
  // committed; beyond: kTooManyRequests. One proposal always passes.
  size_t pending_max = 16384;
  size_t pending_bytes_max = 128 << 20;
};

class Replica {
 public:
  // All outlive it. The state machine is only read here, at the start; what is recorded later
  // arrives through committed entries.
  Replica(const ReplicaOptions& options, LogStore* log, const StateMachine& state_machine,
          const PhaseValue* phase, Outbox* outbox);

  // `now` never goes back. One synced batch at most per call, however many inputs.
  void Turn(std::vector<Input> inputs, MonotonicTime now);

  struct HandOver {
    std::vector<CommittedTask> committed;
    std::vector<ReadTask> reads;
  };
  HandOver TakeHandOver() { return std::exchange(hand_over_, {}); }

  // Everything up to `index` is in the state machine. Between turns.
  void OnApplied(raft::Index index);

  // Answers everything that is not answered with kStopped.
  void Stop();

  const raft::Raft& raft() const { return raft_; }
  const FirstStart& first_start() const { return first_start_; }
  bool may_vote() const { return log_->may_vote(); }
  // In force for what is proposed now.
  ClusterVersion cluster_version() const { return versions_.in_force(); }
  // Requests that wait for a leader or a majority.
  size_t pending() const { return proposals_.size() + reads_.size(); }
  // Messages rejected for their receiver or their store id.
  uint64_t rejected_messages() const { return rejected_messages_; }

 private:
  // What arrives. One overload for each alternative of Input and of PeerMessage::body.
  void Handle(PeerMessage message);
  void Handle(ProposeRequest request);
  void Handle(ReadRequest request);
  void Handle(const AppendLost& lost);
  void Handle(const ForwardLost& lost);
  void Handle(const ForwardRefused& refused);
  void HandleFrom(raft::MemberId from, raft::Message message);
  void HandleFrom(raft::MemberId from, ForwardedProposal proposal);
  void HandleFrom(raft::MemberId from, const ForwardedProposalReply& reply);
  void HandleFrom(raft::MemberId from, const Hello& hello);
  void HandleFrom(raft::MemberId from, const HelloReply& reply);
  bool Rejects(const PeerMessage& message);

  // The turn.
  void Tick();
  void ProposeWaiting();
  void AskReads();
  void DrainReady();
  void NoteCommitted(std::vector<raft::Entry> committed);
  PendingRequestPtr NoteCommand(const raft::Entry& entry);
  void NoteRead(const raft::ReadIndexResult& result);
  void NoteLeader();
  void SendAll(std::vector<raft::Message>* messages);
  void RecordStoreId(raft::MemberId member, const std::string& store_id);
  void MaybeRaiseVersion();

  bool Full() const { return pending_.size() >= options_.pending_max; }
  bool HasRoomFor(size_t bytes) const {
    return proposals_.size() == 0 || proposals_.bytes() + bytes <= options_.pending_bytes_max;
  }
  bool FarBehind() const;
  MonotonicTime Deadline(MonotonicTime of_client) const {
    return std::min(now_ + options_.request_timeout, of_client);
  }
  bool reachable(raft::MemberId member) const {
    return member == options_.raft.id || !lost_peers_.contains(member);
  }

  const ReplicaOptions options_;
  LogStore* const log_;
  const PhaseValue* const phase_;
  Outbox* const outbox_;

  raft::Raft raft_;
  PendingRequests pending_;
  Proposals proposals_;
  Reads reads_;
  StoreIds store_ids_;
  Versions versions_;
  FirstStart first_start_;
  HandOver hand_over_;  // of this turn

  std::set<raft::MemberId> lost_peers_;  // nothing is sent to them until they are heard of again
  raft::Index handed_over_;              // everything up to here went on to the applier
  raft::Index applied_;
  raft::Term seen_term_ = 0;
  raft::MemberId seen_leader_ = raft::kNobody;

  MonotonicTime now_ = MonotonicTime::InfinitePast();  // of the last turn
  MonotonicTime last_tick_ = MonotonicTime::InfinitePast();
  MonotonicTime next_ask_ = MonotonicTime::InfinitePast();  // a refused question waits a little
  raft::Term declining_term_ = 0;                           // its leader proposes nothing any more
  uint64_t rejected_messages_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_REPLICA_H_
