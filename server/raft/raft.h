#ifndef RAFTKV_SERVER_RAFT_RAFT_H_
#define RAFTKV_SERVER_RAFT_RAFT_H_

// The Raft algorithm as a deterministic state machine: equal inputs give equal outputs. It does no
// I/O and has no thread, clock, lock, log line or protobuf; time passes only by Tick. server/member
// (or a test) owns it and calls it from one thread:
//
//   inputs:            Tick  Step  Propose  ProposeConfiguration  ReadIndex  TransferLeadership
//                      OnPeerLost  OnUnreachable  SetVoting  SetOutOfSpace  StepDown  Halt
//   outputs:           HasReady  HasUrgentReady  TakeReady
//   acknowledgements:  OnSaved(number)  OnApplied(index)  OnLogCut  OnSnapshotSent(peer, ok)
//   observers:         status()  role()  term()  ...
//
// Guarantees:
//  - Ready::messages_now holds no message that must wait for a save. A member counts its own vote
//    and its own log position only after OnSaved. So no member leads a term that it has not saved.
//  - A leader commits by counting only entries of its own term (§5.4.2).
//  - A leader confirms a read only after it has committed an entry of its own term (§8) and a
//    majority has answered a heartbeat round that began after the read arrived (thesis §6.4).
//  - PreVote and CheckQuorum are always on (thesis §9.6, §6.2).
//  - At most one change of the configuration is uncommitted, it adds or removes at most one voter,
//    and a leader begins one only after it has committed an entry of its own term (thesis §4.1).
//  - Appends carry a chain hash, by which a follower compares the logs (fork.cc). If a leader's log
//    contradicts this log, at a committed entry or at an equal (index, term), some member has
//    forgotten votes or entries that it had saved, for example after an older copy of its directory
//    was put back. Then both halt, and no history is overwritten (docs/decisions/0017).
//  - Config bounds the memory. Beyond a bound, Propose returns kTooManyRequests, and ReadIndex is
//    answered with index 0.

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "server/raft/acknowledgement.h"
#include "server/raft/config.h"
#include "server/raft/handed_out.h"
#include "server/raft/log.h"
#include "server/raft/membership.h"
#include "server/raft/message.h"
#include "server/raft/prng.h"
#include "server/raft/progress.h"
#include "server/raft/quorum.h"
#include "server/raft/read_index.h"
#include "server/raft/ready.h"
#include "server/raft/results.h"
#include "server/raft/status.h"
#include "server/raft/types.h"
#include "storage/log/log_reader.h"

namespace raftkv::raft {

class Raft {
 public:
  // `log` must outlive the core. `applied` is the state machine's applied index; the core returns
  // the committed entries after it. `configuration` is the one in force at `applied`; later ones
  // are read from the log. `configuration` is empty on a member that joins and has no entries yet.
  Raft(const Config& config, const Configuration& configuration, Index applied,
       const LogReader* log);

  void Tick(int ticks);  // CHECKs that ticks <= Config::heartbeat_ticks
  // Handles a message. A message that no correct peer would send changes nothing and is reported
  // (MessageRejected).
  void Step(Message message);
  // On kAccepted the entry has the id {term, last_index} of status() right after the call.
  ProposeResult Propose(Payload payload);
  // Proposes an entry that changes the configuration (Config::configuration_of reads it from the
  // payload). It is in force from this call on. It must not add or remove more than one voter
  // (CHECK). If the entry removes this leader from the voters, the leader leads until the entry is
  // committed, and does not count itself. Then it steps down and asks the best voter to campaign
  // (thesis §4.2.2).
  ProposeResult ProposeConfiguration(Payload payload);
  // On a leader. True: the previous change and an entry of this term are committed.
  bool MayChangeConfiguration() const;
  // Asks for a read index. Each call is answered exactly once, in Ready::reads. The caller must not
  // use an `id` twice for one Raft object.
  void ReadIndex(uint64_t id);
  // The connections on which `peer` sent appends and heartbeats were aborted, for example because
  // its process died. `connection` is the newest one (Message::connection). Do not call it for a
  // connection that the peer closed cleanly. If the peer is the leader, and no message of it came
  // on a newer connection, this member no longer knows a leader: it no longer ignores other
  // candidates, and soon asks for pre-votes itself (Config::fast_campaign_ticks). Members that
  // still hear from the leader give no pre-votes, so if they are a majority, the term does not
  // change (docs/decisions/0009-fast-failover.md).
  void OnPeerLost(MemberId peer, uint64_t connection);
  // Leadership transfer (thesis §3.10). The leader accepts no proposals, commits its log, brings
  // `target` up to date and asks it to campaign at once. If `target` has not taken over within an
  // election timeout, the leader gives up and accepts proposals again. A second call with another
  // target starts a new transfer. kBadTarget: `target` is not another voter.
  TransferResult TransferLeadership(MemberId target);
  // The target of a transfer that has not ended; kNobody: there is none.
  MemberId transferee() const { return transferee_; }
  // On a leader: the best target of a transfer. Of the voters that answered within an election
  // timeout, it is the one whose log matches this leader's the furthest. kNobody: there is none.
  MemberId BestTransferee() const;
  // A message to `peer` may be lost, or the connection to it broke. A leader then probes the peer
  // (progress.h) before it sends several appends at once.
  void OnUnreachable(MemberId peer);

  // With false, this member neither votes nor campaigns. Used while it may lack what it
  // acknowledged: its data directory is new (docs/decisions/0003), or its log has lost its end
  // (docs/decisions/0022). Then `repairs` makes the leader send the lost entries again.
  void SetVoting(bool may_vote, bool repairs = false);

  // From now on this member neither votes, campaigns nor leads, and takes no entries. It only
  // answers leaders whose log contradicts its own. Used when its log or its state can no longer be
  // trusted, or must not be overwritten. Only a new Raft object ends that.
  void Halt() { Halt({}); }
  bool halted() const { return halted_; }

  // With true, this member takes no entries, because its disk is full, and does not campaign. It
  // still hears the leader, votes and confirms reads. The leader learns this from the replies, and
  // sends no entries until there is space again. On a leader, the caller must transfer leadership.
  void SetOutOfSpace(bool out_of_space);

  // A leader becomes a follower in the same term; no effect on others. Used when a turn began more
  // than an election timeout after the one before it, for example after a slow save.
  void StepDown();

  bool HasReady() const;
  // The same, but committed entries for peers that are behind do not count: they may wait.
  bool HasUrgentReady() const;
  Ready TakeReady();
  void OnSaved(uint64_t ready_number);
  void OnApplied(Index index);
  // The driver has removed entries from the front of the log. All of them must have been applied,
  // and at least one entry must be left.
  void OnLogCut();
  // How sending a snapshot (Ready::snapshots_to) ended. ok: the peer has installed it.
  void OnSnapshotSent(MemberId peer, bool ok);

  Role role() const { return role_; }
  Term term() const { return term_; }
  MemberId leader() const { return leader_; }
  Index commit_index() const { return commit_; }
  // The highest commit index that a leader has told this member. Its log may not reach it yet.
  Index leader_commit() const { return leader_commit_; }
  Index last_index() const { return log_.last_index(); }
  const Membership& membership() const { return membership_; }
  Status status() const;

 private:
  friend class Invariants;

  // Rounds of pre-votes that begin early after the connection to the leader broke: one, and three
  // retries. Later rounds wait for the election timeout.
  static constexpr int kFastRounds = 4;

  // One overload for each type of message. If one is missing, Step does not compile.
  void Handle(const Message& message, const RequestVote& request);       // election.cc
  void Handle(const Message& message, const RequestVoteReply& reply);    // election.cc
  void Handle(const Message& message, AppendEntries& append);            // replication.cc
  void Handle(const Message& message, const AppendEntriesReply& reply);  // replication.cc
  void Handle(const Message& message, const ReadIndexRequest& request);  // replication.cc
  void Handle(const Message& message, const ReadIndexReply& reply);      // replication.cc
  void Handle(const Message& message, const InstallSnapshot& install);   // snapshot.cc
  void Handle(const Message& message, const TimeoutNow& request);        // election.cc

  // plausibility.cc: returns why no correct peer would send this message; null: it may be correct
  const char* WhyImplausible(const Message& message) const;
  const char* WhyImplausible(const Message& message, const AppendEntries& append) const;
  const char* WhyImplausible(const Message& message, const AppendEntriesReply& reply) const;
  const char* WhyImplausible(const Message& message, const ReadIndexReply& reply) const;
  const char* WhyImplausible(const Message& message, const TimeoutNow& request) const;
  const char* WhyImplausible(const Message& message, const InstallSnapshot& install) const;
  template <typename Body>  // for the other message types, only the term is checked
  const char* WhyImplausible(const Message&, const Body&) const {
    return nullptr;
  }

  // fork.cc: logs that contradict each other
  Index ConflictWith(const AppendEntries& append) const;
  Index ConflictWith(const InstallSnapshot& install) const;
  void OnConflict(const Message& message, Index index, uint64_t round);
  void HandleConflict(const Message& message, const AppendEntriesReply& reply);
  void OnLostEntries(const Message& message, const AppendEntries& append);
  void Halt(Halted why);

  // raft.cc: terms, roles and Ready
  // `transfer`: because the leader transfers its leadership.
  void BecomeFollower(Term term, MemberId leader, bool transfer = false);
  void SetTerm(Term term);
  void SetLeader(MemberId leader, bool transfer = false);
  void ResetElectionTimer();
  bool HearsLeader() const;
  void AnswerLowerTerm(const Message& message);
  void Send(MemberId to, MessageBody body);  // at once if the term is saved, else after the save
  void SendAfterSave(MemberId to, MessageBody body, Term term);
  bool HardStateChanged() const;
  bool HasCommitted() const;
  void TakeCommitted(Ready* ready);
  VoterValues OfVoters(uint64_t own, uint64_t (*of_peer)(const Progress&)) const;
  ProposeResult AppendProposal(EntryType type, Payload payload);

  // configuration.cc: changes of the members (thesis §4)
  void ReadConfigurations(Index applied);
  void AppendEntry(Entry entry);
  void TruncateLog(Index first);
  void OnConfiguration();
  void AddPeer(MemberId id, Index next_index);
  void MaybeStepAside();
  void ForgetRemovedPeers();

  // election.cc: §5.2, §5.4.1; PreVote, CheckQuorum and leadership transfer
  bool MayCampaign() const;
  void AskWhetherToCampaign();
  void Campaign(bool leadership_transfer = false);
  void AskForVotes(Term term, RequestVote request);
  void CountVotes();
  void BecomeLeader();
  void CheckQuorum();
  void MaybeHandOver();

  // replication.cc: §5.3, §5.4.2
  void RejectPrev(const Message& message, const AppendEntries& append, uint64_t round);
  void AppendFromLeader(std::vector<Entry>& entries);
  void AdvanceCommit(Index index);
  void MaybeCommit();
  void BeginHeartbeat();
  bool HasEntriesFor(const Progress& peer) const;
  bool HasNewsOfCommitsFor(const Progress& peer) const;
  void SendToPeers();
  bool SendEntries(MemberId to, Progress& peer);
  void SendAppend(MemberId to, Progress& peer, EntryId prev, std::vector<Entry> entries);
  void AcknowledgeToLeader();

  // snapshot.cc: §7
  bool NeedsSnapshot(const Progress& peer) const;

  // replication.cc: reads, which heartbeats confirm (thesis §6.4)
  void AddRead(Reader reader);
  void AnswerRead(Reader reader, Index index, Index acknowledged = 0);
  bool ReadsWantRound() const;
  void BeginReadRound();
  void MaybeConfirmReads();
  void FailReads();

  const Config config_;
  Membership membership_;
  RaftLog log_;
  Prng prng_;

  // Persistent state (Figure 2). term_ and voted_for_ are the current values. taken_state_ has the
  // newest values that a Ready has given to the caller to save; saved_state_ the newest values that
  // are known to be saved.
  Term term_;
  MemberId voted_for_;
  HardState taken_state_;
  HardState saved_state_;

  // Volatile state. handed_out_.applied() <= handed_out_.index() <= commit_.
  Role role_ = Role::kFollower;
  MemberId leader_ = kNobody;
  Index commit_;
  Index leader_commit_ = 0;
  HandedOut handed_out_;
  bool may_vote_ = true;
  bool repairs_ = false;
  bool halted_ = false;
  bool out_of_space_ = false;

  // Time, in ticks since construction.
  uint64_t now_ = 0;
  uint64_t timer_started_ = 0;
  uint64_t timer_length_ = 0;       // random, chosen at each reset
  uint64_t leader_heard_ = 0;       // when leader_'s last append came; unused without a leader_
  uint64_t leader_connection_ = 0;  // highest Message::connection of a message of leader_
  int fast_rounds_ = 0;             // rounds of pre-votes that still begin early; 0 with a leader_
  uint64_t last_heartbeat_ = 0;     // leader: its last timed round; follower: its last ReadIndex

  // Pre-candidate or candidate only: the answer of each voter. OnSaved adds a candidate's own vote.
  std::map<MemberId, bool> votes_;

  // Leader only.
  // Every other member, and removed members that have not been told yet that they were removed.
  std::map<MemberId, Progress> peers_;
  Index term_start_ = 0;         // index of the no-op of its term; reads wait for its commit (§8)
  uint64_t round_ = 0;           // newest heartbeat round; never decreases, not even in a new term
  bool announce_round_ = false;  // send round_ to every peer in the next Ready
  size_t uncommitted_bytes_ = 0;
  MemberId transferee_ = kNobody;  // to whom leadership is being transferred
  uint64_t transfer_started_ = 0;

  Acknowledgement acknowledgement_;  // follower only
  ReadIndexQueue reads_;             // empty without a leader_
  uint64_t next_read_question_;      // follower only: id of its next ReadIndexRequest

  Ready next_;  // what it has so far; TakeReady adds the rest

  struct Saving {  // a Ready that was taken but not yet OnSaved
    uint64_t ready_number;
    HardState state;
  };
  uint64_t ready_number_ = 0;
  std::deque<Saving> saving_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_RAFT_H_
