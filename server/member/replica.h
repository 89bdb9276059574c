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

#include <algorithm>
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
#include "server/member/contacts.h"
#include "server/member/fault.h"
#include "server/member/first_start.h"
#include "server/member/lessor.h"
#include "server/member/log_tail.h"
#include "server/member/member_changes.h"
#include "server/member/outbox.h"
#include "server/member/peer_lives.h"
#include "server/member/pending.h"
#include "server/member/proposals.h"
#include "server/member/publisher.h"
#include "server/member/reads.h"
#include "server/member/renewals.h"
#include "server/member/replica_options.h"
#include "server/member/requests.h"
#include "server/member/snapshot_sends.h"
#include "server/member/space.h"
#include "server/member/space_alarms.h"
#include "server/member/store_ids.h"
#include "server/member/transfers.h"
#include "server/member/versions.h"
#include "server/phase.h"
#include "server/raft/raft.h"
#include "storage/base/mutant.h"
#include "storage/log/log_store.h"
#include "storage/rules/members.h"
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

  // Sends the news of a commit of a few entries to the followers. This wakes them, and on a busy
  // machine they would run before the clients have their answers. So call it after the answers.
  // Otherwise the next turn sends it.
  void SendNews();

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
  // The changes of leases by the entries that OnApplied reported.
  void OnLeases(const LeaseChanges& changes, MonotonicTime now) { lessor_.OnApplied(changes, now); }
  // The alarms and the newest revision after the entries that OnApplied reported.
  void OnState(const Alarms& alarms, Revision revision);

  // The digests that the state machine keeps. Call it between turns, while no other thread applies.
  void OnDigests(const std::deque<StateDigest>& digests) { audit_.OnDigests(digests); }

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
  // For tests and the simulator: clients' large commands wait for small ones (large_pace.h).
  bool large_waits() const { return proposals_.large_waits(); }
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
  void HandleFrom(raft::MemberId from, const ForwardedProposal& proposal) {
    Accept(from, proposal);
  }
  void HandleFrom(raft::MemberId from, const ForwardedProposalReply& reply);
  void HandleFrom(raft::MemberId from, const Hello& hello);
  void HandleFrom(raft::MemberId from, const HelloReply& reply);
  void HandleFrom(raft::MemberId from, const DigestReport& report);
  void HandleFrom(raft::MemberId from, const Diverged& diverged);
  bool Rejects(const PeerMessage& message);
  bool RejectsLife(const PeerMessage& message);
  bool RejectsRemoved(const PeerMessage& message);
  void Halt(const Fault& fault);

  // The steps of a turn.
  void Tick();
  void AskReads();
  void DrainReady();
  void NoteCommitted(std::vector<raft::Entry> committed);
  PendingRequestPtr NoteCommand(const raft::Entry& entry);
  PendingRequestPtr NoteChange(const raft::Entry& entry);
  void OnMembers();
  void OnRemoved();
  void NoteRead(const raft::ReadIndexResult& result);
  void NoteLeader();
  void NoteLeaderLives();
  void StepDownIfFull();
  void AskWhetherRemoved();
  void StepSnapshot();
  void Install(const raft::SnapshotMeta& meta);
  void SendSnapshot(raft::MemberId to);
  void SendAll(std::vector<raft::Message>* messages);
  bool MayWait(const raft::Ready& ready);

  // replica_proposals.cc: how commands come into the log
  void ProposeWaiting();
  // Proposes a client's command, or declines it. `from`: the member of the client, or this one.
  void Accept(raft::MemberId from, const ForwardedProposal& proposal);
  void Decline(raft::MemberId from, const ForwardedProposal& proposal,
               ForwardedProposalReply reply);
  // Proposes a command of this member itself. Nobody waits for its result. Returns true if it is in
  // this leader's log, or on the way to the leader, where it may be declined: propose it again if
  // it is not applied after some time. False: it is not proposed; try again in the next turn.
  bool ProposeOwn(const proto::Command& command);
  // Returns why the command is not proposed; none: it is proposed.
  std::optional<ForwardedProposalReply> TryPropose(raft::MemberId from,
                                                   const ForwardedProposal& proposal);
  bool ApplierIsBehind() const;
  // Proposes the member's own commands that are due.
  void ProposeDue();
  void RecordStoreId(raft::MemberId member, const std::string& store_id);
  void MaybeRaiseVersion();
  void MaybeExpireLeases();

  // replica_audit.cc: the states of the members are compared
  void ReportDigests();
  void CompareDigests();
  void OnDiverged(raft::MemberId leader, const Divergence& found);

  bool disk_full() const { return space_.level() == Space::Level::kFull; }
  void NoteSpace();
  // Whether the configuration in force has the member.
  bool IsMember(raft::MemberId id) const {
    const std::vector<raft::MemberId>& everyone = raft_.membership().everyone();
    return std::binary_search(everyone.begin(), everyone.end(), id);
  }
  bool leads() const { return raft_.role() == raft::Role::kLeader; }
  bool QueueIsFull() const {
    return pending_.size() >= options_.pending_max && !RAFTKV_MUTANT("requests-without-bound");
  }
  // A quarter is left for small commands, because large ones may have to wait for them.
  bool HasRoomFor(size_t bytes) const;
  void OnLongPause(absl::Duration pause, MonotonicTime first_expiry);
  absl::Duration HeartbeatInterval() const { return options_.tick * options_.raft.heartbeat_ticks; }
  absl::Duration ElectionTimeout() const {
    return options_.tick * options_.raft.election_timeout_ticks;
  }
  MonotonicTime Deadline(MonotonicTime of_client) const {
    return std::min(now_ + options_.request_timeout, of_client);
  }

  const ReplicaOptions options_;
  LogStore* const log_;
  const PhaseValue* const phase_;
  StateStore* const states_;
  Outbox* const outbox_;

  raft::Raft raft_;
  // The requests of clients that are not answered.
  PendingRequests pending_;
  Proposals proposals_;
  Reads reads_;
  Renewals renewals_;
  Transfers transfers_;
  // From the committed entries.
  Members members_;
  MemberStoreIds store_ids_;
  Versions versions_;
  // From the applied entries.
  Alarms alarms_;
  Revision revision_ = 0;
  // The peers.
  PeerLives peer_lives_;
  Contacts contacts_;
  SnapshotSends snapshot_sends_;  // leader only
  // The member's own decisions and commands.
  FirstStart first_start_;
  MemberChanges changes_;  // leader only
  Publisher publisher_;
  Space space_;
  SpaceAlarms space_alarms_;
  Lessor lessor_;
  AutoCompaction auto_compaction_;
  Audit audit_;
  Fault fault_;

  std::vector<raft::Message> news_;         // SendNews
  HandOver hand_over_;                      // of this turn
  std::optional<SnapshotArrived> arrived_;  // waits until it may be installed

  std::set<raft::MemberId> forward_lost_;  // peers whose forward stream broke in this turn
  raft::Index handed_over_;                // every entry up to here was handed over to the applier
  raft::Index applied_;
  const raft::Index last_at_start_;     // of the log
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
  MonotonicTime full_since_ = MonotonicTime::InfinitePast();  // the disk
  // When a leader was last known, or when this member last asked whether it was removed.
  MonotonicTime leader_seen_ = MonotonicTime::InfinitePast();
  bool removed_ = false;  // this member was removed, and the observers were told
  uint64_t rejected_messages_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_REPLICA_H_
