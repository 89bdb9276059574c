#ifndef RAFTKV_SERVER_RAFT_RAFT_H_
#define RAFTKV_SERVER_RAFT_RAFT_H_

// The Raft algorithm as a pure, deterministic value machine: same inputs, same outputs. No I/O,
// thread, clock, lock, log line or protobuf inside; time is Tick. Owned and driven by
// server/member (and by tests), one call at a time:
//
//   in:            Tick  Step  Propose  ReadIndex  OnUnreachable
//   out:           HasReady  TakeReady
//   acknowledged:  OnSaved(number)  OnApplied(index)
//   look:          status and friends
//
// Promises:
//  - Nothing that promises durability leaves before OnSaved of the Ready that carries it; a
//  member's
//    own vote and its own log position count only from OnSaved. Nobody leads a term it has not
//    saved.
//  - A leader commits by counting only entries of its own term (§5.4.2).
//  - A ReadIndex is answered only after a committed entry of the leader's own term (§8) and a
//    heartbeat round begun after the read arrived (thesis §6.4).
//  - PreVote and CheckQuorum are always on (thesis §9.6, §6.2).
//  - Memory is bounded by Config; what is over a bound is refused (clients) or dropped (peers).

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "server/raft/config.h"
#include "server/raft/log.h"
#include "server/raft/membership.h"
#include "server/raft/message.h"
#include "server/raft/prng.h"
#include "server/raft/progress.h"
#include "server/raft/quorum.h"
#include "server/raft/read_index.h"
#include "server/raft/ready.h"
#include "server/raft/types.h"
#include "storage/log/log_reader.h"

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
  std::map<MemberId, PeerStatus> peers = {};  // of a leader
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

  // A member that may have forgotten its promises (an empty data directory that claims to be a
  // known member) neither campaigns nor votes until the driver says so; see docs/architecture.md.
  void SetVoting(bool may_vote);

  // Leader only: give up leadership (a save that took longer than an election timeout, shutdown).
  void StepDown();

  bool HasReady() const;
  Ready TakeReady();
  void OnSaved(uint64_t ready_number);
  void OnApplied(Index index);

  Role role() const { return role_; }
  Term term() const { return term_; }
  MemberId leader() const { return leader_; }
  Index commit_index() const { return commit_; }
  Index last_index() const { return log_.last_index(); }
  Status status() const;

 private:
  friend class Invariants;

  // raft.cc: terms and roles, the turn
  void BecomeFollower(Term term, MemberId leader);
  void SetTerm(Term term);
  void SetLeader(MemberId leader);
  void ResetElectionTimer();
  bool HearsLeader() const;
  void AnswerLowerTerm(const Message& message);
  void Send(MemberId to, MessageBody body);  // now, once the term is saved
  void SendAfterSave(MemberId to, MessageBody body, Term term);
  bool HardStateChanged() const;
  bool HasCommitted() const;
  void TakeCommitted(Ready* ready);
  VoterValues OfVoters(uint64_t own, uint64_t (*of_peer)(const Progress&)) const;

  // election.cc: §5.2, §5.4.1; PreVote and CheckQuorum
  bool MayCampaign() const;
  void AskWhetherToCampaign();
  void Campaign();
  void AskForVotes(Term term, bool pre_vote);
  void CountVotes();
  void BecomeLeader();
  void HandleRequestVote(const Message& message, const RequestVote& request);
  void HandleRequestVoteReply(const Message& message, const RequestVoteReply& reply);
  void CheckQuorum();

  // replication.cc: §5.3, §5.4.2, and the reads that ride on heartbeats (thesis §6.4)
  void HandleAppendEntries(const Message& message, AppendEntries& append);
  void AppendFromLeader(std::vector<Entry>& entries);
  void HandleAppendEntriesReply(const Message& message, const AppendEntriesReply& reply);
  void AdvanceCommit(Index index);
  void MaybeCommit();
  void BeginHeartbeat();
  bool HasSomethingFor(const Progress& peer) const;
  void SendToPeers();
  void SendAppend(MemberId to, Progress& peer, EntryId prev, std::vector<Entry> entries);
  void AcknowledgeToLeader();
  void AddRead(Reader reader);
  void AnswerRead(Reader reader, Index index);
  bool ReadsWantRound() const;
  void BeginReadRound();
  void MaybeConfirmReads();
  void FailReads();
  void HandleReadIndexReply(const ReadIndexReply& reply);

  const Config config_;
  const Membership membership_;
  RaftLog log_;
  Prng prng_;

  // Persistent (Figure 2); what of it was handed out to be saved, and what is known to be saved.
  Term term_;
  MemberId voted_for_;
  HardState taken_state_;
  HardState saved_state_;

  // Volatile. applied_ <= handed_out_ <= commit_.
  Role role_ = Role::kFollower;
  MemberId leader_ = kNobody;
  Index commit_;
  Index handed_out_;
  Index applied_;
  bool may_vote_ = true;

  // Time, in ticks since construction.
  uint64_t now_ = 0;
  uint64_t timer_started_ = 0;
  uint64_t timer_length_ = 0;    // drawn at each reset
  uint64_t leader_heard_ = 0;    // when leader_ last sent us something; only with a leader_
  uint64_t last_heartbeat_ = 0;  // a leader's round, a follower's question to it

  // A (pre-)candidate's answers; its own vote is in it from OnSaved on.
  std::map<MemberId, bool> votes_;

  // A leader's.
  std::map<MemberId, Progress> peers_;  // everyone but us
  Index term_start_ = 0;                // our no-op: reads wait until it is committed (§8)
  uint64_t round_ = 0;                  // newest heartbeat round, over the life of the core
  bool announce_round_ = false;         // to everyone, in the next Ready
  size_t uncommitted_bytes_ = 0;

  // A follower's: the log equals the leader's up to here (0 at the start of a term), and the answer
  // that is due. Acknowledgements are built when the Ready is taken, from what is true then.
  Index leader_match_ = 0;
  uint64_t leader_round_ = 0;
  bool reply_due_ = false;
  struct Echo {
    Index match = 0;
    uint64_t round = 0;
    friend bool operator==(const Echo&, const Echo&) = default;
  };
  Echo last_reply_;
  bool replied_ = false;  // in this term

  ReadIndexQueue reads_;         // only with a leader_
  uint64_t next_read_question_;  // a follower's, to its leader

  // Waiting for the next Ready.
  std::vector<Message> now_messages_;
  std::vector<Message> after_save_messages_;
  std::vector<ReadIndexResult> read_results_;
  std::vector<Event> events_;

  struct Saving {
    uint64_t ready_number;
    HardState state;
  };
  uint64_t ready_number_ = 0;
  std::deque<Saving> saving_;

  struct HandedOut {
    Index last;
    size_t bytes;
  };
  std::deque<HandedOut> unapplied_;
  size_t unapplied_bytes_ = 0;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_RAFT_H_
