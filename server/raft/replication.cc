// The methods of Raft for the log: replication (§5.3), the commit rule (§5.4.2), and linearizable
// reads, which AppendEntries and its replies confirm (§8, thesis §6.4).
//
// The table maps each rule of the paper's Figure 2 to the functions that implement it. Functions
// without a class are methods of Raft: in raft.cc if marked (r), in election.cc if marked (e), else
// in this file. OnSent, OnAccepted and OnRejected are methods of Progress.
//
//   State
//   persistent                                 term_, voted_for_, log_. TakeReady (r) gives changes
//                                              to the driver; OnSaved (r): they are on disk
//   volatile                                   commit_, handed_out_.applied()
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
//   answer candidates and leaders              Handle of RequestVote (e) and AppendEntries
//   election timeout passes without an append  Tick (r) -> AskWhetherToCampaign (e): the PreVote
//   or a granted vote: become candidate        round; CountVotes (e) -> Campaign (e) if it is won
//
//   Candidates
//   increment term, vote for self, reset       Campaign (e), AskForVotes (e). OnSaved (r) adds the
//   timer, send RequestVote                    own vote
//   votes of a majority: become leader         Handle of RequestVoteReply (e), OnSaved (r) ->
//                                              CountVotes (e) -> BecomeLeader (e)
//   an append of a new leader: follower        Handle of AppendEntries -> BecomeFollower (r)
//   election timeout passes: new election      Tick (r) -> AskWhetherToCampaign (e)
//
//   Leaders
//   heartbeats, at once and in idle periods    BecomeLeader (e), Tick (r) -> BeginHeartbeat;
//                                              SendToPeers sends them
//   a client's command: append; answer when    Propose (r); the applier (server/member) answers
//   it is applied
//   last log index >= nextIndex: send          SendToPeers -> SendAppend -> OnSent
//     success: raise nextIndex, matchIndex     Handle of AppendEntriesReply -> OnAccepted
//     mismatch: lower nextIndex, retry         Handle of AppendEntriesReply -> OnRejected
//   a majority of matchIndex >= N, entry N     MaybeCommit -> AdvanceCommit
//   has the current term: commitIndex = N
//
//   RequestVote, receiver
//   1. term < currentTerm: false               Step (r) -> AnswerLowerTerm (r)
//   2. no other vote, log up to date: grant    Handle of RequestVote (e)
//
//   AppendEntries, receiver
//   1. term < currentTerm: false               Step (r) -> AnswerLowerTerm (r)
//   2. no entry prev: false                    Handle of AppendEntries
//   3. conflict: remove it and all after it    AppendFromLeader -> RaftLog::TruncateFrom
//   4. append entries not in the log yet       AppendFromLeader -> RaftLog::Append
//   5. commitIndex = min(leaderCommit, last    Handle of AppendEntries -> AdvanceCommit
//      new entry)

#include <algorithm>
#include <utility>

#include "server/raft/raft.h"
#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

namespace {

// A probe is repeated until it is answered (progress.h), so it has only small entries.
constexpr size_t kProbeBytesMax = 16 << 10;
// In one append of committed entries. With entries of 300 bytes, it takes the leader about 0.5 ms.
constexpr size_t kCatchUpEntriesMax = 256;

}  // namespace

// The follower.

void Raft::Handle(const Message& message, AppendEntries& append) {
  if (const Index conflict = ConflictWith(append); conflict != 0) {
    OnConflict(message, conflict, append.round);
    return;
  }
  // A member that may not vote is expected to lack entries (SetVoting).
  if (may_vote_ && append.acknowledged > log_.last_index()) return OnLostEntries(message, append);
  if (halted_) {
    SetLeader(kNobody);
    // The rejection makes the leader send earlier entries. If they contradict this log, OnConflict
    // tells the leader so.
    if (append.prev.index >= log_.first_index() && !log_.Contains(append.prev)) {
      RejectPrev(message, append, /*round=*/0);
    }
    return;
  }
  if (role_ != Role::kFollower || leader_ != message.from) BecomeFollower(term_, message.from);
  leader_heard_ = now_;
  leader_commit_ = std::max(leader_commit_, append.commit);
  if (!RAFTKV_MUTANT("append-does-not-reset-the-timer")) ResetElectionTimer();

  // Once the entries are appended, this log equals the leader's up to `match`.
  Index match = append.prev.index + append.entries.size();
  const bool had_entries = !append.entries.empty();
  if (out_of_space_) {  // stores no entries: handle the append as if it had none
    append.entries.clear();
    if (!RAFTKV_MUTANT("appends-out-of-space")) match = append.prev.index;
  }
  // Entries before this log's first one are committed, so the leader has the same ones: skip them.
  if (append.prev.index + 1 < log_.first_index()) {
    const size_t known = log_.first_index() - 1 - append.prev.index;
    append.entries.erase(append.entries.begin(),
                         append.entries.begin() + std::min(known, append.entries.size()));
  } else if (!log_.Contains(append.prev)) {
    RejectPrev(message, append, append.round);
    return;
  }

  AppendFromLeader(append.entries);
  acknowledgement_.OnAppend(match, append.round, had_entries);
  // Commit nothing after `match`: later entries of this log may come from an older leader.
  const Index committed = RAFTKV_MUTANT("follower-commits-past-proof")
                              ? std::min(append.commit, log_.last_index())
                              : std::min(append.commit, match);
  AdvanceCommit(committed);
}

// This log has no entry append.prev.
void Raft::RejectPrev(const Message& message, const AppendEntries& append, uint64_t round) {
  SendAfterSave(message.from,
                AppendEntriesReply{.success = false,
                                   .rejected_prev = append.prev,
                                   .hint = log_.LastAtMost(append.prev),
                                   .round = round,
                                   .out_of_space = out_of_space_,
                                   .repairs = repairs_},
                term_);
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
      CHECK_GT(first, std::max(commit_, acknowledgement_.match()))
          << "WhyImplausible rejects such an append";
    }
    next_.events.push_back(Truncated{log_.IdAt(first), log_.IdAt(first - 1)});
    TruncateLog(first);
  }
  for (; entry != entries.end(); ++entry) {
    const bool command = entry->type == EntryType::kCommand;
    if (command && RAFTKV_MUTANT("payload-is-lost")) entry->payload = {};
    AppendEntry(std::move(*entry));
  }
}

// Acknowledges everything up to match(), after the save if it is not saved yet. If the round
// is new and the term is saved, a second reply is sent at once. It acknowledges only what is saved,
// and confirms the round. So the leader's reads do not wait for this member's disk.
void Raft::AcknowledgeToLeader() {
  const Index match = acknowledgement_.match();
  AppendEntriesReply reply{.success = true,
                           .match = match,
                           .round = acknowledgement_.round(),
                           .out_of_space = out_of_space_};
  const bool term_saved = saved_state_.current_term == term_;
  const bool must_save = match > log_.saved_index() || !term_saved;
  if (must_save) SendAfterSave(leader_, reply, term_);
  if (!must_save || (acknowledgement_.new_round() && term_saved)) {
    reply.match = std::min(match, log_.saved_index());
    Send(leader_, reply);
  }
  acknowledgement_.OnReply();
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

void Raft::Handle(const Message& message, const AppendEntriesReply& reply) {
  if (role_ != Role::kLeader) return;
  const auto found = peers_.find(message.from);
  if (found == peers_.end()) return;
  Progress& peer = found->second;
  if (reply.conflict.index != 0) HandleConflict(message, reply);
  if (halted_ || peer.state() == Progress::State::kExcluded) return;
  peer.contact_tick = now_;
  peer.echoed_round = std::max(peer.echoed_round, reply.round);
  peer.OnOutOfSpace(reply.out_of_space, log_.first_index());
  if (reply.success) {
    if (peer.OnAccepted(reply.match, round_)) {
      const Index before = commit_;
      MaybeCommit();
      if (message.from == transferee_ && commit_ == before) MaybeHandOver();
    }
  } else {
    const Index next = std::min(log_.LastAtMost(reply.hint).index + 1, reply.rejected_prev.index);
    const Progress::Rejection rejection =
        peer.OnRejected(reply.rejected_prev.index, next, reply.round, reply.repairs);
    if (rejection == Progress::Rejection::kLostEntries) {
      next_.events.push_back(PeerLostEntries{message.from, peer.acknowledged(), reply.hint.index,
                                             /*repairs=*/reply.repairs});
    }
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

bool Raft::HasNewsOfCommitsFor(const Progress& peer) const {
  // A follower commits only up to the prev of a heartbeat. If this log no longer has the entry at
  // match_index, a heartbeat cannot advance the peer's commit index.
  return std::min(commit_, peer.match_index()) > peer.told_commit &&
         peer.match_index() + 1 >= log_.first_index();
}

void Raft::SendToPeers() {
  for (auto& [id, peer] : peers_) {
    const bool sent = SendEntries(id, peer);
    // A new commit index is sent at once even without entries, because followers answer their
    // clients after they have applied the entries up to it. A heartbeat round needs no message of
    // its own if an append that was just sent carries it and arrives soon.
    const bool told = sent && !(announce_round_ && peer.congested());
    if (!told && (announce_round_ || HasNewsOfCommitsFor(peer))) {
      const Index prev = peer.match_index();
      // If the entry at `prev` was cut, its term may be unknown here. Then use index 0 as prev:
      // every log contains it, so the peer does not reject this empty append.
      SendAppend(id, peer, prev + 1 < log_.first_index() ? EntryId{} : log_.IdAt(prev), {});
    }
    if (peer.TakeStalled() && peer.next_index() >= log_.first_index()) {
      SendAppend(id, peer, log_.IdAt(peer.next_index() - 1), {});
    }
  }
  announce_round_ = false;
}

// Sends as many entries as the peer's window allows. But of committed entries, it sends one append,
// or twice the bytes that this leader appends itself, so that the peer gains on it. Clients of the
// other members do not wait for these entries, and would wait while they are read and sent. Returns
// whether an append was sent.
bool Raft::SendEntries(MemberId to, Progress& peer) {
  bool sent = false;
  size_t committed_bytes = 0;
  while (HasEntriesFor(peer)) {
    const Index first = peer.next_index();
    const bool committed = first <= commit_;
    const bool from_disk = !log_.InMemory(first);
    const bool probe = peer.state() == Progress::State::kProbe;
    const size_t entries_max = committed ? std::min(config_.append_entries_max, kCatchUpEntriesMax)
                                         : config_.append_entries_max;
    const size_t bytes_max =
        probe ? std::min(kProbeBytesMax, config_.append_bytes_max) : config_.append_bytes_max;
    std::vector<Entry> entries = log_.Entries(first, log_.last_index(), entries_max, bytes_max);
    size_t bytes = 0;
    for (const Entry& entry : entries) bytes += EntryBytes(entry);
    if (probe && bytes > kProbeBytesMax) {
      entries.clear();
      bytes = 0;
    }
    peer.OnSent(first - 1 + entries.size(), bytes);
    SendAppend(to, peer, log_.IdAt(first - 1), std::move(entries));
    sent = true;
    if (committed) committed_bytes += bytes;
    if (committed && committed_bytes >= 2 * log_.UntakenBytes()) break;
    if (from_disk) break;  // what was read is sent before the next read
  }
  return sent;
}

void Raft::SendAppend(MemberId to, Progress& peer, EntryId prev, std::vector<Entry> entries) {
  const Index match = prev.index + entries.size();
  peer.told_commit = std::max(peer.told_commit, std::min(commit_, match));
  next_.messages_now.push_back(
      {config_.id, to, term_,
       AppendEntries{.prev = prev,
                     .entries = std::move(entries),
                     .commit = commit_,
                     .round = round_,
                     .prev_chain = prev.index == 0 ? 0 : log_.ChainAt(prev.index),
                     .acknowledged = peer.acknowledged()}});
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

void Raft::Handle(const Message& message, const ReadIndexRequest& request) {
  const Reader reader{message.from, request.id};
  role_ == Role::kLeader ? AddRead(reader) : AnswerRead(reader, 0);
}

void Raft::AnswerRead(Reader reader, Index index, Index acknowledged) {
  if (reader.member == config_.id) {
    next_.reads.push_back({reader.id, index, acknowledged});
  } else {
    const auto peer = peers_.find(reader.member);
    if (index != 0 && peer != peers_.end()) acknowledged = peer->second.acknowledged();
    Send(reader.member,
         ReadIndexReply{.id = reader.id, .index = index, .acknowledged = acknowledged});
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
  if (confirmed < reads_.round()) return;
  for (Reader reader : reads_.TakeInFlight()) AnswerRead(reader, reads_.index());
}

void Raft::Handle(const Message& /*message*/, const ReadIndexReply& reply) {
  if (role_ != Role::kFollower || !reads_.in_flight()) return;
  if (reply.id != reads_.round() && !RAFTKV_MUTANT("late-read-reply-counts")) return;
  for (Reader reader : reads_.TakeInFlight()) {
    AnswerRead(reader, reply.index, reply.acknowledged);
  }
}

void Raft::FailReads() {
  for (Reader reader : reads_.TakeAll()) AnswerRead(reader, 0);
}

}  // namespace raftkv::raft
