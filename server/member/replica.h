#ifndef RAFTKV_SERVER_MEMBER_REPLICA_H_
#define RAFTKV_SERVER_MEMBER_REPLICA_H_

// The half of a member that agrees with the other members: the Raft core, its log on disk, and the
// requests that wait for both. Deterministic and single-threaded. Member (member.h) owns it and
// calls
//
//   Turn(inputs, now)   handles everything that arrived: sends appends, saves, then sends votes
//                       and acknowledgements
//   TakeHandOver()      returns committed entries and confirmed reads, for the applier
//   OnApplied(index)    tells it the applier's progress
//
// This class keeps the ordering rules of the write path:
//   - A message that promises durability is sent only after the save.
//   - A read is answered after everything that it must see is applied.
//   - A request is answered exactly once, no later than request_timeout after it arrived. (An
//     applied physical compaction may take until its client's deadline.)
//   - A proposal that may be in a log is never proposed again. If its fate becomes unknown, the
//     client is told so (etcd's "request timed out, possibly due to ...").

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/member/applier.h"
#include "server/member/first_start.h"
#include "server/member/lessor.h"
#include "server/member/outbox.h"
#include "server/member/pending.h"
#include "server/member/proposals.h"
#include "server/member/reads.h"
#include "server/member/renewals.h"
#include "server/member/requests.h"
#include "server/member/store_ids.h"
#include "server/member/versions.h"
#include "server/phase.h"
#include "server/raft/raft.h"
#include "storage/log/log_store.h"
#include "storage/members.h"
#include "storage/state_machine.h"

namespace raftkv {

struct ReplicaOptions {
  // The newest cluster version that this member knows. Tests announce an older one.
  ClusterVersion newest_version = kNewestVersion;
  std::string store_id;
  uint64_t boot_id = 0;  // differs at each process start
  raft::Config raft;     // raft.id is this member's id
  // In force until the log tells the members: the voters of the config file. Empty on a member that
  // joins a cluster.
  raft::Configuration configuration;
  // The members of the config file. The first leader that may writes them to the log. Empty: no
  // leader does (tests).
  std::vector<etcdserverpb::Member> first_members;
  // This member's name and client URLs, which it tells the others through the log.
  etcdserverpb::Member self;
  absl::Duration tick = absl::Milliseconds(10);
  absl::Duration request_timeout = absl::Seconds(7);
  // Limits of the number of unanswered requests, and of the bytes of uncommitted proposals. Beyond
  // them a request is answered kTooManyRequests. One proposal always fits.
  size_t pending_max = 16384;
  size_t pending_bytes_max = 128 << 20;
};

class Replica {
 public:
  // All arguments but `state_machine` must outlive the replica. The constructor reads the state
  // machine; later the replica learns everything from committed entries.
  Replica(const ReplicaOptions& options, LogStore* log, const StateMachine& state_machine,
          const PhaseValue* phase, Outbox* outbox);

  // `now` must not be less than in an earlier call. Usually writes one synced batch for all inputs;
  // a member that wins an election, or may vote from now on, writes another one.
  void Turn(std::vector<Input> inputs, MonotonicTime now);

  struct HandOver {
    std::vector<CommittedTask> committed;
    std::vector<ReadTask> reads;
  };
  HandOver TakeHandOver() { return std::exchange(hand_over_, {}); }

  // Everything up to `index` is in the state machine. Call it between turns.
  void OnApplied(raft::Index index);
  // What happened to leases in the entries that OnApplied reported.
  void OnLeases(const LeaseChanges& changes, MonotonicTime now) { lessor_.OnApplied(changes, now); }

  // A leader that is about to stop hands its leadership over to the best follower. Call it between
  // turns. No effect if this member does not lead, or if no follower answers.
  void HandOverLeadership();

  // Answers all pending requests with kStopped.
  void Stop();

  const raft::Raft& raft() const { return raft_; }
  const FirstStart& first_start() const { return first_start_; }
  bool may_vote() const { return log_->may_vote(); }
  const Lessor& lessor() const { return lessor_; }
  // As of the committed entries. Not known until the log has them.
  const Members& members() const { return members_; }
  // The newest committed cluster version: commands that it defines may be proposed now.
  ClusterVersion cluster_version() const { return versions_.in_force(); }
  // Requests that wait for a leader or a majority.
  size_t pending() const { return proposals_.size() + reads_.size(); }
  // The number of messages rejected because of a wrong receiver or store id, or because no correct
  // peer would send them (raft::MessageRejected).
  uint64_t rejected_messages() const { return rejected_messages_; }

 private:
  // Handle inputs. One overload for each alternative of Input and of PeerMessage::body.
  void Handle(PeerMessage message);
  void Handle(ProposeRequest request);
  void Handle(ReadRequest request);
  void Handle(RenewRequest request) { renewals_.Add(std::move(request)); }
  void Handle(TransferRequest request);
  void Handle(const AppendLost& lost);
  void Handle(const PeerLost& lost);
  void Handle(const ForwardLost& lost);
  void Handle(const ForwardQueueFull& full);
  void HandleFrom(raft::MemberId from, raft::Message message);
  void HandleFrom(raft::MemberId from, const ForwardedProposal& proposal);
  void HandleFrom(raft::MemberId from, const ForwardedProposalReply& reply);
  void HandleFrom(raft::MemberId from, const Hello& hello);
  void HandleFrom(raft::MemberId from, const HelloReply& reply);
  bool Rejects(const PeerMessage& message);

  // The steps of a turn.
  void Tick();
  void ProposeWaiting();
  void AskReads();
  void DrainReady();
  void NoteCommitted(std::vector<raft::Entry> committed);
  PendingRequestPtr NoteCommand(const raft::Entry& entry);
  PendingRequestPtr NoteChange(const raft::Entry& entry);
  void NoteRead(const raft::ReadIndexResult& result);
  void NoteLeader();
  void NoteTransfers();
  void SendAll(std::vector<raft::Message>* messages);
  void RecordStoreId(raft::MemberId member, const std::string& store_id);
  void MaybeRaiseVersion();
  void MaybeExpireLeases();

  // replica_members.cc: changes of the members
  void QueueChange(raft::MemberId from, ForwardedProposal proposal);
  void MaybeChangeMembers();
  bool ProposeChange(proto::Command* command);
  absl::Status CheckChange(const proto::ChangeMembers& change) const;
  void MaybePublish();
  void AskWhetherRemoved();
  void OnRemoved();
  void Decline(raft::MemberId from, const ForwardedProposal& proposal,
               ForwardedProposalReply reply);

  bool Full() const { return pending_.size() >= options_.pending_max; }
  bool HasRoomFor(size_t bytes) const {
    return proposals_.size() == 0 || proposals_.bytes() + bytes <= options_.pending_bytes_max;
  }
  bool FarBehind() const;
  absl::Duration HeartbeatInterval() const { return options_.tick * options_.raft.heartbeat_ticks; }
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
  MemberStoreIds store_ids_;
  Members members_;
  Versions versions_;
  Renewals renewals_;
  Lessor lessor_;
  FirstStart first_start_;
  HandOver hand_over_;  // of this turn

  // Peers whose stream broke. Nothing is forwarded to them until a message from them arrives.
  std::set<raft::MemberId> lost_peers_;
  std::set<raft::MemberId> forward_lost_;  // those whose stream was reported as broken in this turn
  raft::Index handed_over_;                // everything up to here was handed over to the applier
  raft::Index applied_;
  raft::Term settled_term_;  // the newest term of which an entry was handed over
  raft::Term seen_term_ = 0;
  raft::MemberId seen_leader_ = raft::kNobody;
  raft::Index leads_from_ = 0;  // leader: this entry is of its term, or before one that is

  MonotonicTime now_ = MonotonicTime::InfinitePast();  // of the last turn
  MonotonicTime last_tick_ = MonotonicTime::InfinitePast();
  // After a declined read index request, the next one is not sent before this time.
  MonotonicTime next_ask_ = MonotonicTime::InfinitePast();
  raft::Term declining_term_ = 0;  // the leader of this term declines proposals: it stops
  // Before this time nothing is forwarded: the leader hands its leadership over.
  MonotonicTime next_forward_ = MonotonicTime::InfinitePast();
  // Clients' requests to transfer leadership that are not answered.
  struct Transfer {
    raft::MemberId target = raft::kNobody;
    PendingRequestPtr request;
  };
  std::vector<Transfer> transfers_;
  // Leader: changes of the members that are not proposed yet, in order, and who asked for them.
  struct WaitingChange {
    raft::MemberId from = raft::kNobody;
    ForwardedProposal proposal;
  };
  std::deque<WaitingChange> changes_;
  MonotonicTime next_publish_ = MonotonicTime::InfinitePast();
  MonotonicTime leader_seen_ = MonotonicTime::InfinitePast();  // or asked whether it was removed
  bool removed_ = false;                                       // and told the observers
  uint64_t rejected_messages_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_REPLICA_H_
