// The methods of Raft for the log: replication (§5.3), the commit rule (§5.4.2), and linearizable
// reads, which AppendEntries and its replies confirm (§8, thesis §6.4).
//
// The table maps each rule of the paper's Figure 2 to the functions that implement it. Functions
// without a class are methods of Raft: in raft.cc if marked (r), in election.cc if marked (e), else
// in this file.
//
//   State
//   persistent                                 term_, voted_for_, log_. TakeReady (r) gives changes
//                                              to the driver; OnSaved (r): they are on disk
//   volatile                                   commit_, applied_
//   volatile, on leaders                       nextIndex and matchIndex are in Progress, which
//                                              BecomeLeader (e) creates for each peer
//
//   All servers
//   commitIndex > lastApplied: apply           TakeCommitted (r) hands entries out; the applier
//                                              (server/member) applies them, then OnApplied (r)
//   a message has a higher term: take it,      Step (r) -> BecomeFollower (r) -> SetTerm (r).
//   become follower                            Exceptions: pre-votes, and vote requests to a member
//                                              that hears from a leader (HearsLeader)
//
//   Followers
//   answer candidates and leaders              HandleRequestVote (e), HandleAppendEntries
//   election timeout passes without an append  Tick (r) -> AskWhetherToCampaign (e): the PreVote
//   or a granted vote: become candidate        round; CountVotes (e) -> Campaign (e) if it is won
//
//   Candidates
//   increment term, vote for self, reset       Campaign (e), AskForVotes (e). The own vote counts
//   timer, send RequestVote                    from OnSaved (r) on
//   votes of a majority: become leader         HandleRequestVoteReply (e), OnSaved (r) ->
//                                              CountVotes (e) -> BecomeLeader (e)
//   an append of a new leader: follower        HandleAppendEntries -> BecomeFollower (r)
//   election timeout passes: new election      Tick (r) -> AskWhetherToCampaign (e)
//
//   Leaders
//   heartbeats, at once and in idle periods    BecomeLeader (e), Tick (r) -> BeginHeartbeat;
//                                              SendToPeers sends them
//   a client's command: append; answer when    Propose (r); the applier (server/member) answers
//   it is applied
//   last log index >= nextIndex: send          SendToPeers -> SendAppend -> Progress::OnSent
//     success: raise nextIndex, matchIndex     HandleAppendEntriesReply -> Progress::OnAccepted
//     mismatch: lower nextIndex, retry         HandleAppendEntriesReply -> Progress::OnRejected
//   a majority of matchIndex >= N, entry N     MaybeCommit -> AdvanceCommit
//   has the current term: commitIndex = N
//
//   RequestVote, receiver
//   1. term < currentTerm: false               Step (r) -> AnswerLowerTerm (r)
//   2. no other vote, log up to date: grant    HandleRequestVote (e)
//
//   AppendEntries, receiver
//   1. term < currentTerm: false               Step (r) -> AnswerLowerTerm (r)
//   2. no entry prev: false                    HandleAppendEntries
//   3. conflict: remove it and all after it    AppendFromLeader -> RaftLog::TruncateFrom
//   4. append entries not in the log yet       AppendFromLeader -> RaftLog::Append
//   5. commitIndex = min(leaderCommit, last    HandleAppendEntries -> AdvanceCommit
//      new entry)

#include <algorithm>
#include <utility>

#include "server/raft/raft.h"
#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

// The follower.

void Raft::HandleAppendEntries(const Message& message, AppendEntries& append) {
  if (role_ != Role::kFollower || leader_ != message.from) BecomeFollower(term_, message.from);
  leader_heard_ = now_;
  if (!RAFTKV_MUTANT("append-does-not-reset-the-timer")) ResetElectionTimer();

  // Once the entries are appended, this log equals the leader's up to `match`.
  const Index match = append.prev.index + append.entries.size();
  const bool had_entries = !append.entries.empty();
  // Entries before this log's first one are committed, so the leader has the same ones: skip them.
  if (append.prev.index + 1 < log_.first_index()) {
    const size_t known = log_.first_index() - 1 - append.prev.index;
    append.entries.erase(append.entries.begin(),
                         append.entries.begin() + std::min(known, append.entries.size()));
  } else if (!log_.Contains(append.prev)) {
    SendAfterSave(message.from,
                  AppendEntriesReply{.success = false,
                                     .rejected_prev = append.prev,
                                     .hint = log_.LastAtMost(append.prev),
                                     .round = append.round},
                  term_);
    return;
  }

  AppendFromLeader(append.entries);
  leader_match_ = std::max(leader_match_, match);
  leader_round_ = std::max(leader_round_, append.round);
  // Commit nothing after `match`: later entries of this log may come from an older leader.
  const Index committed = RAFTKV_MUTANT("follower-commits-past-proof")
                              ? std::min(append.commit, log_.last_index())
                              : std::min(append.commit, match);
  AdvanceCommit(committed);
  // An append with only a new commit index needs no reply. An append with entries needs one even if
  // this log already had them, because the reply to an earlier copy may be lost.
  reply_due_ |= had_entries || !replied_ || last_reply_ != Echo{leader_match_, leader_round_};
}

// Skips the entries that the log already has. Truncates only at a conflict: the append may be old
// or a duplicate, and then the log may hold later entries of the same leader (§5.3).
void Raft::AppendFromLeader(std::vector<Entry>& entries) {
  auto entry = entries.begin();
  if (!RAFTKV_MUTANT("truncate-on-duplicate-append")) {
    while (entry != entries.end() && log_.Contains(entry->id)) ++entry;
  }
  if (entry == entries.end()) return;
  const Index first = entry->id.index;
  if (first <= log_.last_index()) {
    if (!RAFTKV_MUTANT("truncate-on-duplicate-append")) {
      CHECK_GT(first, std::max(commit_, leader_match_)) << "WhyImplausible rejects such an append";
    }
    events_.push_back(Truncated{log_.IdAt(first), log_.IdAt(first - 1)});
    TruncateLog(first);
  }
  for (; entry != entries.end(); ++entry) AppendEntry(std::move(*entry));
}

// If leader_match_ is above the saved index, the reply is sent after this Ready is saved. If the
// term is saved, a new round is also answered at once, with a match that is at most the saved
// index. So the leader's reads do not wait for this member's disk.
void Raft::AcknowledgeToLeader() {
  reply_due_ = false;
  AppendEntriesReply reply{.success = true, .match = leader_match_, .round = leader_round_};
  const bool must_save = leader_match_ > log_.saved_index() || saved_state_.current_term != term_;
  if (must_save) SendAfterSave(leader_, reply, term_);
  const bool new_round = !replied_ || last_reply_.round < leader_round_;
  if (!must_save || (new_round && saved_state_.current_term == term_)) {
    reply.match = std::min(leader_match_, log_.saved_index());
    Send(leader_, reply);
  }
  last_reply_ = {leader_match_, leader_round_};
  replied_ = true;
}

void Raft::AdvanceCommit(Index index) {
  if (index <= commit_) return;
  CHECK_LE(index, log_.last_index());
  if (role_ == Role::kLeader) uncommitted_bytes_ -= log_.BytesInMemory(commit_, index);
  commit_ = index;
  membership_.Commit(commit_);
  log_.Evict(commit_);
}

// The leader.

void Raft::HandleAppendEntriesReply(const Message& message, const AppendEntriesReply& reply) {
  if (role_ != Role::kLeader) return;
  const auto found = peers_.find(message.from);
  if (found == peers_.end()) return;
  Progress& peer = found->second;
  peer.contact_tick = now_;
  peer.echoed_round = std::max(peer.echoed_round, reply.round);
  if (reply.success) {
    if (peer.OnAccepted(reply.match, round_)) {
      const Index before = commit_;
      MaybeCommit();
      if (message.from == transferee_ && commit_ == before) MaybeHandOver();
    }
  } else {
    const Index next = std::min(log_.LastAtMost(reply.hint).index + 1, reply.rejected_prev.index);
    peer.OnRejected(reply.rejected_prev.index, next, reply.round);
  }
  MaybeConfirmReads();
}

void Raft::MaybeCommit() {
  const Index own =
      RAFTKV_MUTANT("count-self-before-save") ? log_.last_index() : log_.saved_index();
  const Index reached =
      ReachedByMajority(OfVoters(own, [](const Progress& peer) { return peer.match_index(); }));
  if (reached <= commit_) return;
  // Only an entry of the current term is committed by counting. The entries before it are then
  // committed too (§5.4.2).
  if (log_.TermAt(reached) != term_ && !RAFTKV_MUTANT("commit-old-term-by-counting")) return;
  AdvanceCommit(reached);
  MaybeHandOver();
  MaybeStepAside();
}

void Raft::BeginHeartbeat() {
  last_heartbeat_ = now_;
  ++round_;
  announce_round_ = true;
  for (auto& [id, peer] : peers_) peer.OnHeartbeat();
}

bool Raft::HasEntriesFor(const Progress& peer) const {
  return peer.next_index() >= log_.first_index() && peer.next_index() <= log_.last_index() &&
         peer.CanSend();
}

bool Raft::HasSomethingFor(const Progress& peer) const {
  // A heartbeat tells the commit index only together with a prev that the log still has.
  return HasEntriesFor(peer) || (std::min(commit_, peer.match_index()) > peer.told_commit &&
                                 peer.match_index() + 1 >= log_.first_index());
}

void Raft::SendToPeers() {
  for (auto& [id, peer] : peers_) {
    bool sent = false;
    while (HasEntriesFor(peer)) {
      const Index first = peer.next_index();
      const bool from_disk = !log_.InMemory(first);
      SendAppend(id, peer, log_.IdAt(first - 1),
                 log_.Entries(first, log_.last_index(), config_.append_entries_max,
                              config_.append_bytes_max));
      sent = true;
      // At most one read from disk here: a peer that is far behind must not delay the others.
      if (from_disk) break;
    }
    // A new commit index is sent at once even without entries, because followers answer their
    // clients after they have applied the entries up to it.
    if (!sent && (announce_round_ || HasSomethingFor(peer))) {
      const Index prev = peer.heartbeat_prev();
      // The entry at `prev` was cut, so its term is unknown here. Name the position before entry 1
      // instead: every log has it, so the peer does not reject this empty append.
      SendAppend(id, peer, prev + 1 < log_.first_index() ? EntryId{} : log_.IdAt(prev), {});
    }
  }
  announce_round_ = false;
}

void Raft::SendAppend(MemberId to, Progress& peer, EntryId prev, std::vector<Entry> entries) {
  if (!entries.empty()) {
    size_t bytes = 0;
    for (const Entry& entry : entries) bytes += EntryBytes(entry);
    peer.OnSent(entries.back().id.index, bytes);
  }
  const Index match = prev.index + entries.size();
  peer.told_commit = std::max(peer.told_commit, std::min(commit_, match));
  now_messages_.push_back(
      {config_.id, to, term_,
       AppendEntries{
           .prev = prev, .entries = std::move(entries), .commit = commit_, .round = round_}});
}

// Reads.

void Raft::AddRead(Reader reader) {
  if (RAFTKV_MUTANT("read-without-round") && role_ == Role::kLeader && commit_ >= term_start_) {
    AnswerRead(reader, commit_);
  } else if (leader_ == kNobody || reads_.size() >= config_.pending_reads_max) {
    AnswerRead(reader, 0);
  } else {
    reads_.Add(reader);
  }
}

void Raft::AnswerRead(Reader reader, Index index) {
  if (reader.member == config_.id) {
    read_results_.push_back({reader.id, index});
  } else {
    Send(reader.member, ReadIndexReply{.id = reader.id, .index = index});
  }
}

bool Raft::ReadsWantRound() const {
  if (!reads_.WantsRound()) return false;
  if (role_ != Role::kLeader) return true;
  // Until it has committed an entry of its own term, a leader does not know which entries are
  // committed (§8).
  return commit_ >= term_start_ || RAFTKV_MUTANT("stale-read-after-leader-change");
}

void Raft::BeginReadRound() {
  if (role_ == Role::kLeader) {
    ++round_;
    announce_round_ = true;
    reads_.Begin(round_, commit_);
    MaybeConfirmReads();  // at once if this member is the only voter
  } else {
    reads_.Begin(next_read_question_++, 0);
    last_heartbeat_ = now_;
    Send(leader_, ReadIndexRequest{.id = reads_.round()});
  }
}

void Raft::MaybeConfirmReads() {
  if (!reads_.in_flight()) return;
  const uint64_t confirmed =
      ReachedByMajority(OfVoters(round_, [](const Progress& peer) { return peer.echoed_round; }));
  if (confirmed + RAFTKV_MUTANT("read-confirmed-by-an-older-round") < reads_.round()) return;
  for (Reader reader : reads_.TakeInFlight()) AnswerRead(reader, reads_.index());
}

void Raft::HandleReadIndexReply(const ReadIndexReply& reply) {
  if (role_ != Role::kFollower || !reads_.in_flight() || reply.id != reads_.round()) return;
  for (Reader reader : reads_.TakeInFlight()) AnswerRead(reader, reply.index);
}

void Raft::FailReads() {
  for (Reader reader : reads_.TakeAll()) AnswerRead(reader, 0);
}

}  // namespace raftkv::raft
