#ifndef RAFTKV_SERVER_MEMBER_REPLICA_H_
#define RAFTKV_SERVER_MEMBER_REPLICA_H_

// The half of a member that agrees with the other members: the Raft core, its log on disk, and the
// requests that wait for both. Deterministic and single-threaded. Member (member.h) owns it and
// calls
//   Turn(inputs, now)   handles everything that has arrived: sends appends, saves, then sends
//                       votes and acknowledgements
//   TakeHandOver()      returns committed entries and confirmed reads, for the applier
//   OnApplied(index)    tells the replica how far the applier has come
//
// This class keeps the ordering rules of the write path:
//   - A message that promises durability is sent only after the save.
//   - A read is answered after everything that it must see is applied.
//   - A request is answered exactly once, no later than request_timeout after it arrived.
//     (Exception: once a physical compaction is applied, only its client's deadline limits the
//     wait.)
//   - A proposal that may still be committed is never proposed again (proposals.h). If its fate
//     becomes unknown, its client gets an error that says so (etcd's "request timed out, possibly
//     due to ...").

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/member/applier.h"
#include "server/member/audit.h"
#include "server/member/auto_compaction.h"
#include "server/member/fault.h"
#include "server/member/first_start.h"
#include "server/member/lessor.h"
#include "server/member/log_tail.h"
#include "server/member/outbox.h"
#include "server/member/peer_lives.h"
#include "server/member/pending.h"
#include "server/member/proposals.h"
#include "server/member/reads.h"
#include "server/member/renewals.h"
#include "server/member/replica_options.h"
#include "server/member/requests.h"
#include "server/member/space.h"
#include "server/member/store_ids.h"
#include "server/member/versions.h"
#include "server/phase.h"
#include "server/raft/raft.h"
#include "storage/base/mutant.h"
#include "storage/log/log_store.h"
#include "storage/members.h"
#include "storage/state_machine.h"

namespace raftkv {

class Replica {
 public:
  // All pointers must outlive the replica. The constructor reads `state_machine`. Later the replica
  // learns from committed entries, and from the new state when a snapshot is installed.
  Replica(const ReplicaOptions& options, LogStore* log, const StateMachine& state_machine,
          const PhaseValue* phase, StateStore* states, Outbox* outbox);

  // `now` must not be less than in an earlier call. Usually writes one synced batch for all inputs;
  // a member that wins an election, may vote from now on, or installs a snapshot writes another
  // one. `may_install`: no other thread applies, so a snapshot may replace the state machine.
  void Turn(std::vector<Input> inputs, MonotonicTime now, bool may_install = true);

  struct HandOver {
    // If set, it replaces the state machine before `committed` and `reads` are handled. Committed
    // entries of earlier hand-overs are then dropped, and their requests are answered "unknown".
    std::unique_ptr<StateMachine> installed;
    std::vector<CommittedTask> committed;
    std::vector<ReadTask> reads;
  };
  HandOver TakeHandOver() { return std::exchange(hand_over_, {}); }

  // Every entry up to `index` has been applied. Call it between turns.
  void OnApplied(raft::Index index);
  // What happened to leases in the entries that OnApplied reported.
  void OnLeases(const LeaseChanges& changes, MonotonicTime now) { lessor_.OnApplied(changes, now); }
  // The alarms and the newest revision after the entries that OnApplied reported.
  void OnState(const Alarms& alarms, Revision revision);

  // The digests that the state machine keeps. Call it between turns, while no other thread applies.
  void OnDigests(const std::deque<StateDigest>& digests);

  // Begins to transfer leadership to the follower whose log is the most complete, because this
  // member is about to stop. Call it between turns. No effect if this member does not lead, or if
  // no follower answers.
  void HandOverLeadership();

  // Cuts the log, if that is due (log_tail.h): at most once after each flush of the state machine.
  // Call it between turns, while no other thread applies.
  void MaybeCut(const StateMachine& state_machine);
  // Returns the entry `id` and the chain hash up to it; nothing if the log does not have the entry.
  // Both are sent to the receiver of a snapshot that ends with this entry.
  std::optional<LogStore::Tip> TipAt(raft::EntryId id) const;
  uint64_t log_disk_bytes() const { return log_->DiskBytes(); }

  // Answers all pending requests with kStopped.
  void Stop();

  const raft::Raft& raft() const { return raft_; }
  const FirstStart& first_start() const { return first_start_; }
  bool may_vote() const { return log_->may_vote(); }
  const std::optional<LogStore::Lost>& lost() const { return log_->lost(); }
  // Why this member has halted.
  const Fault& fault() const { return fault_; }
  const Lessor& lessor() const { return lessor_; }
  // The members of the committed entries. members().known() is false until the log has members.
  const Members& members() const { return members_; }
  const Space& space() const { return space_; }
  // The newest committed cluster version: commands that it defines may be proposed now.
  ClusterVersion cluster_version() const { return versions_.in_force(); }
  // Requests that wait for a leader or a majority.
  size_t pending() const { return proposals_.size() + reads_.size(); }
  // Without a leader: the other voters whose stream broke, or from which nothing came for three
  // election timeouts. A voter without a leader asks them for pre-votes at least every two election
  // timeouts, so a voter that works has answered by then.
  std::vector<raft::MemberId> Silent() const;
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
  void Handle(SnapshotArrived arrived);
  void Handle(const SnapshotSent& sent);
  void Handle(const SpaceReport& report);
  void HandleFrom(raft::MemberId from, raft::Message message);
  void HandleFrom(raft::MemberId from, const ForwardedProposal& proposal);
  void HandleFrom(raft::MemberId from, const ForwardedProposalReply& reply);
  void HandleFrom(raft::MemberId from, const Hello& hello);
  void HandleFrom(raft::MemberId from, const HelloReply& reply);
  void HandleFrom(raft::MemberId from, const DigestReport& report);
  void HandleFrom(raft::MemberId from, const Diverged& diverged);
  bool Rejects(const PeerMessage& message);
  bool RejectsLife(const PeerMessage& message);
  void StopWith(const Fault& fault);
  bool RejectsRemoved(const PeerMessage& message);

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
  void StepSnapshot();
  void Install(const raft::SnapshotMeta& meta);
  void SendSnapshot(raft::MemberId to);
  raft::Index HeldFrom() const;
  void SendAll(std::vector<raft::Message>* messages);
  void RecordStoreId(raft::MemberId member, const std::string& store_id);
  void MaybeRaiseVersion();
  void MaybeExpireLeases();

  // replica_audit.cc: the states of the members are compared
  void MaybeReportDigests();
  void CompareDigests();
  void OnDiverged(raft::MemberId leader, const Divergence& found);

  // replica_space.cc: the disk's space, alarms, automatic compaction
  bool disk_full() const { return space_.level() == Space::Level::kFull; }
  void NoteSpace();
  void MakeWayIfFull();
  void MaybeChangeAlarm();
  void ProposeAlarm(const Alarms::Id& id, etcdserverpb::AlarmRequest::AlarmAction action);
  void MaybeCompact();

  // replica_members.cc: changes of the members
  void QueueChange(raft::MemberId from, ForwardedProposal proposal);
  void MaybeChangeMembers();
  bool LeavesFirst(const proto::ChangeMembers& change);
  bool ProposeChange(proto::Command* command);
  absl::Status CheckChange(const proto::ChangeMembers& change) const;
  bool MayCount(const raft::Status& status, raft::MemberId id) const;
  void MaybePublish();
  void AskWhetherRemoved();
  void OnMembers();
  void OnRemoved();
  bool IsOfAnotherTerm(const ForwardedProposal& proposal) const;
  void Decline(raft::MemberId from, const ForwardedProposal& proposal,
               ForwardedProposalReply reply);

  bool QueueIsFull() const {
    return pending_.size() >= options_.pending_max && !RAFTKV_MUTANT("requests-without-bound");
  }
  bool HasRoomFor(size_t bytes) const {
    return proposals_.size() == 0 || proposals_.bytes() + bytes <= options_.pending_bytes_max;
  }
  bool TooBusy() const;
  void OnLongPause(absl::Duration pause, MonotonicTime first_expiry);
  absl::Duration ElectionTimeout() const {
    return options_.tick * options_.raft.election_timeout_ticks;
  }
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
  StateStore* const states_;
  Outbox* const outbox_;

  raft::Raft raft_;
  PendingRequests pending_;
  Proposals proposals_;
  Reads reads_;
  MemberStoreIds store_ids_;
  PeerLives peer_lives_;
  Fault fault_;
  Audit audit_;                      // leader only
  std::deque<StateDigest> digests_;  // of this member
  bool digests_reported_ = false;    // to this leader
  Members members_;
  Versions versions_;
  Renewals renewals_;
  Lessor lessor_;
  FirstStart first_start_;
  Space space_;
  AutoCompaction auto_compaction_;
  Alarms alarms_;                           // as of the applied entries
  Revision revision_ = 0;                   // likewise
  HandOver hand_over_;                      // of this turn
  std::optional<SnapshotArrived> arrived_;  // waits until it may be installed
  // Leader: to whom a snapshot is being sent, and the applied index when that began.
  std::map<raft::MemberId, raft::Index> sending_to_;

  // When the last message of each peer came, unless a stream of appends broke after it.
  std::map<raft::MemberId, MonotonicTime> heard_;
  // Peers whose forward stream broke. Nothing is forwarded to them until they send a message.
  std::set<raft::MemberId> lost_peers_;
  std::set<raft::MemberId> forward_lost_;  // peers whose forward stream broke in this turn
  raft::Index handed_over_;                // every entry up to here was handed over to the applier
  raft::Index applied_;
  raft::Index considered_for_cut_ = 0;  // the flushed index when MaybeCut last looked at the log
  raft::Term settled_term_;             // the newest term of which an entry was handed over
  raft::Term seen_term_ = 0;
  raft::MemberId seen_leader_ = raft::kNobody;
  // On a leader: the last index of its log when NoteLeader saw that it leads. Once that entry is
  // applied, the leader knows everything that was acknowledged in earlier terms.
  raft::Index leads_from_ = 0;

  MonotonicTime now_ = MonotonicTime::InfinitePast();  // of the last turn
  bool log_would_stall_ = false;                       // when that turn began
  MonotonicTime last_tick_ = MonotonicTime::InfinitePast();
  // After a declined read index request, the next one is not sent before this time.
  MonotonicTime next_ask_ = MonotonicTime::InfinitePast();
  // The newest term whose leader has declined a proposal. In that term nothing more is forwarded.
  raft::Term declining_term_ = 0;
  // Nothing is forwarded before this time, because the leader said "try again"
  // (ForwardedProposalReply), or stops.
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
  raft::Term leaving_term_ = 0;  // in which it transferred leadership because of its own removal
  MonotonicTime next_publish_ = MonotonicTime::InfinitePast();
  MonotonicTime next_alarm_ = MonotonicTime::InfinitePast();
  MonotonicTime full_since_ = MonotonicTime::InfinitePast();
  // When a leader was last known, or when this member last asked whether it was removed.
  MonotonicTime leader_seen_ = MonotonicTime::InfinitePast();
  bool removed_ = false;  // this member was removed, and the observers were told
  uint64_t rejected_messages_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_REPLICA_H_
