#include "server/raft/raft.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

Raft::Raft(const Config& config, const Configuration& configuration, Index applied,
           const LogReader* log)
    : config_(config),
      membership_(applied, configuration),
      log_(log, config.log_cache_bytes_max),
      prng_(Prng(config.seed ^ (config.id * 0x2545f4914f6cdd1du)).Next()),
      handed_out_(applied, config.committed_bytes_max) {
  CHECK_NE(config_.id, kNobody);
  CHECK_GT(config_.heartbeat_ticks, 0);
  CHECK_GT(config_.election_timeout_ticks, config_.heartbeat_ticks);
  CHECK_GT(config_.fast_campaign_ticks, 0);
  CHECK_LE(applied, log_.last_index()) << "the state machine is ahead of the log";
  CHECK_GE(applied + 1, log_.first_index()) << "the log starts after the state machine ends";

  saved_state_ = log->hard_state();
  term_ = saved_state_.current_term;
  voted_for_ = saved_state_.voted_for;
  CHECK_GE(term_, log_.last().term);
  // The saved commit index may be older than the applied index.
  commit_ = std::max(applied, std::min(saved_state_.commit_index, log_.last_index()));
  saved_state_.commit_index = commit_;
  taken_state_ = saved_state_;
  next_read_question_ = prng_.Next();
  ReadConfigurations(applied);
  ResetElectionTimer();
}

// Inputs.

void Raft::Tick(int ticks) {
  CHECK_GE(ticks, 0);
  CHECK_LE(ticks, config_.heartbeat_ticks)
      << "the driver must limit the ticks of one call, so that a paused process does not start an "
         "election before it has read its messages";
  now_ += ticks;
  const bool interval_over = now_ - last_heartbeat_ >= uint64_t(config_.heartbeat_ticks);
  if (role_ == Role::kLeader) {
    if (now_ - transfer_started_ >= uint64_t(config_.election_timeout_ticks)) {
      transferee_ = kNobody;
    }
    if (interval_over) {
      BeginHeartbeat();
      MaybeHandOver();  // again: the message may be lost
    }
    CheckQuorum();
    return;
  }
  if (now_ - timer_started_ >= timer_length_) {
    if (MayCampaign()) {
      AskWhetherToCampaign();
    } else {
      SetLeader(kNobody);
      ResetElectionTimer();
    }
  } else if (reads_.in_flight() && interval_over) {
    // The request or its reply may be lost. Asking again is harmless: the leader answers each of
    // the two only after a round that began after the first one arrived. The waiting reads arrived
    // before that.
    last_heartbeat_ = now_;
    Send(leader_, ReadIndexRequest{.id = reads_.round()});
  }
}

void Raft::Step(Message message) {
  if (const char* why = WhyImplausible(message); why != nullptr) {
    next_.events.push_back(MessageRejected{message.from, why});
    return;
  }
  const auto* vote = std::get_if<RequestVote>(&message.body);
  const auto* vote_reply = std::get_if<RequestVoteReply>(&message.body);
  if (vote && vote->pre_vote && RAFTKV_MUTANT("pre-vote-counts-as-contact")) {
    leader_heard_ = now_;
    ResetElectionTimer();
  }

  if (message.term > term_) {
    // A member that hears from a leader drops vote requests, so that they cannot depose it
    // (thesis §4.2.3).
    const bool may_depose =
        vote && vote->leadership_transfer && !RAFTKV_MUTANT("transfer-does-not-depose");
    if (vote && HearsLeader() && !may_depose && !RAFTKV_MUTANT("vote-while-leader-is-heard")) {
      return;
    }
    // A pre-vote names a term that no member has entered yet, so it must not change ours.
    const bool of_a_future_term =
        (vote && vote->pre_vote && !RAFTKV_MUTANT("pre-vote-bumps-term")) ||
        (vote_reply && vote_reply->pre_vote && vote_reply->granted);
    if (!of_a_future_term) {
      const bool of_leader = std::holds_alternative<AppendEntries>(message.body) ||
                             std::holds_alternative<InstallSnapshot>(message.body);
      const bool transfer = transferee_ != kNobody || (vote && vote->leadership_transfer);
      BecomeFollower(message.term, of_leader ? message.from : kNobody, transfer);
    }
  } else if (message.term < term_) {
    const bool late = (vote_reply && RAFTKV_MUTANT("late-votes-count")) ||
                      (std::holds_alternative<TimeoutNow>(message.body) &&
                       RAFTKV_MUTANT("timeout-now-of-an-old-term"));
    if (RAFTKV_MUTANT("late-append-lowers-the-term") &&
        std::holds_alternative<AppendEntries>(message.body) && role_ == Role::kFollower) {
      term_ = message.term;
      voted_for_ = kNobody;
    } else if (!late) {
      AnswerLowerTerm(message);
      return;
    }
  }

  std::visit([&](auto& body) { Handle(message, body); }, message.body);
  if (message.from == leader_) {
    leader_connection_ = std::max(leader_connection_, message.connection);
  }
}

ProposeResult Raft::Propose(Payload payload) {
  return AppendProposal(EntryType::kCommand, std::move(payload));
}

ProposeResult Raft::AppendProposal(EntryType type, Payload payload) {
  if (role_ != Role::kLeader) return ProposeResult::kNotLeader;
  if (transferee_ != kNobody && !RAFTKV_MUTANT("propose-during-transfer")) {
    return ProposeResult::kTransferring;
  }
  Entry entry{{term_, log_.last_index() + 1}, type, std::move(payload)};
  const size_t bytes = EntryBytes(entry);
  if (uncommitted_bytes_ > 0 && uncommitted_bytes_ + bytes > config_.uncommitted_bytes_max) {
    if (!RAFTKV_MUTANT("full-leader-replaces-an-entry")) return ProposeResult::kTooManyRequests;
    const size_t replaced = log_.BytesInMemory(log_.last_index() - 1, log_.last_index());
    if (bytes > replaced) return ProposeResult::kTooManyRequests;
    uncommitted_bytes_ -= replaced;
    TruncateLog(--entry.id.index);
  }
  uncommitted_bytes_ += bytes;
  AppendEntry(std::move(entry));
  if (RAFTKV_MUTANT("count-self-before-save")) MaybeCommit();
  return ProposeResult::kAccepted;
}

void Raft::ReadIndex(uint64_t id) { AddRead({config_.id, id}); }

void Raft::OnPeerLost(MemberId peer, uint64_t connection) {
  if (peer != leader_) return;
  if (connection < leader_connection_ && !RAFTKV_MUTANT("fast-campaign-on-old-connection")) return;
  SetLeader(kNobody);
  if (!MayCampaign()) return;
  fast_rounds_ = kFastRounds;
  timer_started_ = now_;
  timer_length_ = prng_.Below(config_.fast_campaign_ticks + 1);
}

void Raft::OnUnreachable(MemberId peer) {
  if (auto it = peers_.find(peer); it != peers_.end()) {
    it->second.OnUnreachable(log_.first_index());
  }
}

void Raft::SetVoting(bool may_vote, bool repairs) {
  may_vote_ = may_vote;
  repairs_ = repairs;
  if (!may_vote && role_ != Role::kFollower) BecomeFollower(term_, kNobody);
}

void Raft::SetOutOfSpace(bool out_of_space) {
  if (out_of_space == out_of_space_) return;
  out_of_space_ = out_of_space;
  if (leader_ != kNobody && role_ == Role::kFollower) acknowledgement_.OnSpaceChanged();
  const bool campaigns = role_ == Role::kPreCandidate || role_ == Role::kCandidate;
  if (out_of_space && campaigns) BecomeFollower(term_, kNobody);
}

void Raft::StepDown() {
  if (role_ == Role::kLeader) BecomeFollower(term_, kNobody);
}

// Terms and roles.

void Raft::BecomeFollower(Term term, MemberId leader, bool transfer) {
  const bool was_follower = role_ == Role::kFollower;
  const bool new_term = term > term_;
  if (role_ == Role::kLeader && new_term) {
    using Why = SteppedDown::Why;
    next_.events.push_back(SteppedDown{term, transfer ? Why::kTransfer : Why::kHigherTerm});
  }
  role_ = Role::kFollower;
  votes_.clear();
  peers_.clear();
  transferee_ = kNobody;
  announce_round_ = false;
  if (new_term) SetTerm(term);
  if (RAFTKV_MUTANT("same-term-stepdown-clears-vote") && !new_term) voted_for_ = kNobody;
  if (!was_follower || new_term) next_.events.push_back(BecameFollower{term_, leader});
  SetLeader(leader, transfer);
  // A follower's election timer keeps running: a higher term alone is no sign of a leader (§5.2).
  if (!was_follower) ResetElectionTimer();
}

void Raft::SetTerm(Term term) {
  CHECK_GT(term, term_);
  term_ = term;
  voted_for_ = kNobody;
  acknowledgement_ = {};
}

void Raft::SetLeader(MemberId leader, bool transfer) {
  if (leader == leader_) return;
  FailReads();
  acknowledgement_.OnLeaderChanged();
  leader_ = leader;
  leader_connection_ = 0;
  fast_rounds_ = 0;
  next_.events.push_back(LeaderChanged{term_, leader, transfer});
}

void Raft::ResetElectionTimer() {
  timer_started_ = now_;
  // The only voter need not wait, unless it hears a leader: that leader is being removed, and leads
  // until its removal is committed.
  const bool alone =
      membership_.voters().size() == 1 && membership_.IsVoter(config_.id) && leader_ == kNobody;
  const uint64_t base = config_.election_timeout_ticks;
  timer_length_ = alone ? 1 : base + prng_.Below(base);
  if (fast_rounds_ > 0) {
    const uint64_t fast = config_.fast_campaign_ticks;
    timer_length_ = std::min(timer_length_, fast + prng_.Below(2 * fast));
  }
}

bool Raft::HearsLeader() const {
  if (role_ == Role::kLeader) return true;  // without a majority, CheckQuorum makes it step down
  return leader_ != kNobody && now_ - leader_heard_ < uint64_t(config_.election_timeout_ticks);
}

// Tells a leader or candidate of an old term the current term (§5.1); the reply's other fields do
// not matter. Replies and read requests of an old term are dropped: a follower learns the term from
// its new leader.
void Raft::AnswerLowerTerm(const Message& message) {
  if (const auto* vote = std::get_if<RequestVote>(&message.body)) {
    SendAfterSave(message.from, RequestVoteReply{.granted = false, .pre_vote = vote->pre_vote},
                  term_);
  } else if (std::holds_alternative<AppendEntries>(message.body) ||
             std::holds_alternative<InstallSnapshot>(message.body)) {
    SendAfterSave(message.from, AppendEntriesReply{}, term_);
  }
}

// Messages and Ready.

void Raft::Send(MemberId to, MessageBody body) {
  const bool saved = saved_state_.current_term == term_;
  auto& queue = saved ? next_.messages_now : next_.messages_after_save;
  queue.push_back({config_.id, to, term_, std::move(body)});
}

void Raft::SendAfterSave(MemberId to, MessageBody body, Term term) {
  next_.messages_after_save.push_back({config_.id, to, term, std::move(body)});
}

bool Raft::HardStateChanged() const {
  return term_ != taken_state_.current_term || voted_for_ != taken_state_.voted_for;
}

bool Raft::HasCommitted() const {
  return handed_out_.index() < std::min(commit_, log_.saved_index()) && !handed_out_.full();
}

bool Raft::HasReady() const {
  if (HasUrgentReady()) return true;
  for (const auto& [id, peer] : peers_) {
    if (HasEntriesFor(peer)) return true;
  }
  return false;
}

bool Raft::HasUrgentReady() const {
  if (!next_.messages_now.empty() || !next_.messages_after_save.empty() || !next_.reads.empty() ||
      !next_.events.empty() || next_.snapshot || HardStateChanged() || log_.HasUntaken() ||
      HasCommitted() || acknowledgement_.due() || ReadsWantRound() || announce_round_) {
    return true;
  }
  for (const auto& [id, peer] : peers_) {
    const bool catches_up = peer.next_index() <= commit_;
    if (HasEntriesFor(peer) && !catches_up) return true;
    if (HasNewsOfCommitsFor(peer) || NeedsSnapshot(peer)) return true;
  }
  return false;
}

Ready Raft::TakeReady() {
  if (ReadsWantRound()) BeginReadRound();
  if (role_ == Role::kLeader) {
    for (auto& [id, peer] : peers_) {
      if (!NeedsSnapshot(peer)) continue;
      peer.BecomeSnapshot();
      next_.snapshots_to.push_back(id);
      next_.events.push_back(SnapshotNeeded{id, peer.next_index()});
    }
    SendToPeers();
    ForgetRemovedPeers();
  }
  if (acknowledgement_.due()) AcknowledgeToLeader();

  Ready ready = std::exchange(next_, {});
  ready.number = ++ready_number_;
  ready.entries = log_.TakeUntaken(ready.number);
  if (!ready.entries.empty() || HardStateChanged() || ready.snapshot) {
    taken_state_ = {term_, voted_for_, commit_};
    if (RAFTKV_MUTANT("saved-commit-index-is-the-last")) {
      taken_state_.commit_index = log_.last_index();
    }
    ready.hard_state = taken_state_;
    saving_.push_back({ready.number, taken_state_});
  }
  TakeCommitted(&ready);
  if (RAFTKV_MUTANT("reply-before-save")) {
    std::move(ready.messages_after_save.begin(), ready.messages_after_save.end(),
              std::back_inserter(ready.messages_now));
    ready.messages_after_save.clear();
  }
  return ready;
}

void Raft::TakeCommitted(Ready* ready) {
  if (!HasCommitted()) return;
  const Index end = std::min(commit_, log_.saved_index());
  const Index before = handed_out_.index();
  ready->committed = log_.Entries(before + 1, end, end - before, handed_out_.room());
  size_t bytes = 0;
  for (const Entry& entry : ready->committed) bytes += EntryBytes(entry);
  handed_out_.Add(ready->committed.back().id.index, bytes);
}

void Raft::OnSaved(uint64_t ready_number) {
  CHECK_LE(ready_number, ready_number_);
  while (!saving_.empty() && saving_.front().ready_number <= ready_number) {
    saved_state_ = saving_.front().state;
    saving_.pop_front();
  }
  if (role_ == Role::kCandidate && saved_state_.current_term == term_ &&
      votes_.emplace(config_.id, true).second) {
    CHECK_EQ(saved_state_.voted_for, config_.id);
    CountVotes();
  }
  if (log_.OnSaved(ready_number)) {
    if (role_ == Role::kLeader) MaybeCommit();
    log_.Evict(commit_);
  }
}

void Raft::OnApplied(Index index) {
  CHECK_LE(index, handed_out_.index());
  handed_out_.OnApplied(index);
}

Status Raft::status() const {
  Status status{.id = config_.id,
                .role = role_,
                .term = term_,
                .voted_for = voted_for_,
                .leader = leader_,
                .commit_index = commit_,
                .applied_index = handed_out_.applied(),
                .first_index = log_.first_index(),
                .last_index = log_.last_index(),
                .last_term = log_.last().term};
  for (const auto& [id, peer] : peers_) {
    status.peers[id] = {
        .match_index = peer.match_index(),
        .next_index = peer.next_index(),
        .recently_active = now_ - peer.contact_tick < uint64_t(config_.election_timeout_ticks),
        .inflight_messages = peer.inflight_messages()};
  }
  return status;
}

VoterValues Raft::OfVoters(uint64_t own, uint64_t (*of_peer)(const Progress&)) const {
  VoterValues values;
  const bool all = RAFTKV_MUTANT("learners-count");
  for (MemberId voter : all ? membership_.everyone() : membership_.voters()) {
    values.push_back(voter == config_.id ? own : of_peer(peers_.at(voter)));
  }
  if (RAFTKV_MUTANT("removed-leader-counts-itself") && !membership_.IsVoter(config_.id)) {
    values.push_back(own);
  }
  return values;
}

}  // namespace raftkv::raft
