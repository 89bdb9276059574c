// The methods of Raft about elections: leader election (§5.2), the election restriction (§5.4.1),
// PreVote (thesis §9.6), CheckQuorum (thesis §6.2) and leadership transfer (thesis §3.10). The map
// from the paper's Figure 2 to functions is at the head of replication.cc.

#include <utility>

#include "server/raft/raft.h"
#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

// A member whose removal is not committed may still campaign (membership.h). Its own vote is part
// of a majority only if it is a voter of the configuration in force. A member whose disk is full
// does not campaign, because a leader must save what it proposes.
bool Raft::MayCampaign() const {
  return may_vote_ && !halted_ && !out_of_space_ &&
         (membership_.MayBeVoter(config_.id) || RAFTKV_MUTANT("learner-campaigns"));
}

// PreVote: asks the voters whether they would vote for this member in the next term. No member
// enters that term yet. So a member that was cut off does not come back with a high term and does
// not depose a working leader.
void Raft::AskWhetherToCampaign() {
  role_ = Role::kPreCandidate;
  SetLeader(kNobody);
  const bool fast = fast_rounds_ > 0;
  if (fast) --fast_rounds_;
  ResetElectionTimer();
  next_.events.push_back(BecamePreCandidate{term_ + 1, fast});
  votes_.clear();
  votes_[config_.id] = true;  // a pre-vote is not binding, so it need not be saved
  AskForVotes(term_ + 1, {.last = log_.last(), .pre_vote = true});
  CountVotes();
}

void Raft::Campaign(bool leadership_transfer) {
  SetTerm(term_ + 1);
  voted_for_ = config_.id;
  role_ = Role::kCandidate;
  ResetElectionTimer();
  next_.events.push_back(BecameCandidate{term_});
  votes_.clear();
  AskForVotes(term_, {.last = log_.last(), .leadership_transfer = leadership_transfer});
  if (RAFTKV_MUTANT("lead-before-vote-saved")) {
    for (Message& message : next_.messages_after_save)
      next_.messages_now.push_back(std::move(message));
    next_.messages_after_save.clear();
    votes_[config_.id] = true;
    CountVotes();
  }
}

// Even a pre-vote is sent after the save, because it names the last entry of our log.
void Raft::AskForVotes(Term term, RequestVote request) {
  for (MemberId voter : membership_.voters()) {
    if (voter == config_.id) continue;
    SendAfterSave(voter, request, term);
  }
}

void Raft::CountVotes() {
  switch (raft::CountVotes(membership_.voters(), votes_)) {
    case VoteResult::kPending:
      return;
    case VoteResult::kLost:
      BecomeFollower(term_, kNobody);
      return;
    case VoteResult::kWon:
      if (role_ == Role::kPreCandidate) {
        Campaign();
      } else if (votes_.count(config_.id) > 0) {  // own vote: OnSaved adds it, so the term is saved
        BecomeLeader();
      }
      return;
  }
}

void Raft::BecomeLeader() {
  role_ = Role::kLeader;
  SetLeader(config_.id);
  uncommitted_bytes_ = log_.BytesInMemory(commit_, log_.last_index());
  for (MemberId id : membership_.everyone()) AddPeer(id, log_.last_index() + 1);
  // Entries of earlier terms commit only together with an entry of this term (§5.4.2), and reads
  // wait until an entry of this term is committed (§8). So append a no-op at once.
  term_start_ = log_.last_index() + 1;
  if (RAFTKV_MUTANT("noop-omitted")) {
    term_start_ = 0;
  } else {
    AppendEntry({{term_, term_start_}, EntryType::kNoOp, {}});
    uncommitted_bytes_ += kEntryOverheadBytes;
  }
  BecameLeader event{.term = term_, .votes = {}, .last_index = log_.last_index()};
  for (const auto& [voter, granted] : votes_) {
    if (granted) event.votes.push_back(voter);
  }
  next_.events.push_back(std::move(event));
  votes_.clear();
  BeginHeartbeat();
}

void Raft::Handle(const Message& message, const RequestVote& request) {
  // Can be true only for a pre-vote: for a vote, Step has raised term_ already.
  const bool later_term = message.term > term_;
  const bool vote_is_free = later_term || voted_for_ == message.from ||
                            (voted_for_ == kNobody && leader_ == kNobody) ||
                            RAFTKV_MUTANT("vote-twice-in-a-term");
  const bool up_to_date = RAFTKV_MUTANT("longer-log-is-newer")
                              ? request.last.index >= log_.last().index
                              : request.last >= log_.last() || RAFTKV_MUTANT("vote-ignores-log");
  // The pre-vote request is old: this term already has a leader. Do not help to start another
  // election.
  const bool too_late = request.pre_vote && !later_term && leader_ != kNobody;
  const bool granted = may_vote_ && !halted_ && vote_is_free && up_to_date && !too_late;
  const bool repeated = !later_term && voted_for_ == message.from;
  if (granted && request.pre_vote) {
    next_.events.push_back(VoteGranted{message.term, message.from, /*pre_vote=*/true});
  } else if (granted && !repeated) {
    voted_for_ = message.from;
    fast_rounds_ = 0;  // the candidate retries if its round is lost
    ResetElectionTimer();
    next_.events.push_back(VoteGranted{message.term, message.from, /*pre_vote=*/false});
  }
  // A granted pre-vote carries the term that was asked about; any other reply carries our term.
  SendAfterSave(message.from, RequestVoteReply{.granted = granted, .pre_vote = request.pre_vote},
                granted && !RAFTKV_MUTANT("pre-vote-reply-of-own-term") ? message.term : term_);
}

void Raft::Handle(const Message& message, const RequestVoteReply& reply) {
  if (role_ != (reply.pre_vote ? Role::kPreCandidate : Role::kCandidate)) return;
  if (reply.pre_vote && reply.granted && message.term != term_ + 1) return;
  if (!votes_.emplace(message.from, reply.granted).second) return;
  next_.events.push_back(VoteReceived{message.term, message.from, reply.granted, reply.pre_vote});
  CountVotes();
}

// A leader that has not heard from a majority for an election timeout cannot commit entries or
// confirm reads, and another leader may exist. It steps down, so that clients try other members.
void Raft::CheckQuorum() {
  const uint64_t majority_heard =
      ReachedByMajority(OfVoters(now_, [](const Progress& peer) { return peer.contact_tick; }));
  if (now_ - majority_heard < uint64_t(config_.election_timeout_ticks)) return;
  next_.events.push_back(SteppedDown{term_, SteppedDown::Why::kNoQuorum});
  BecomeFollower(term_, kNobody);
}

// Leadership transfer (thesis §3.10).

TransferResult Raft::TransferLeadership(MemberId target) {
  if (role_ != Role::kLeader) return TransferResult::kNotLeader;
  if (target == config_.id || !membership_.IsVoter(target)) return TransferResult::kBadTarget;
  if (target == transferee_) return TransferResult::kStarted;
  transferee_ = target;
  transfer_started_ = now_;
  MaybeHandOver();
  return TransferResult::kStarted;
}

MemberId Raft::BestTransferee() const {
  MemberId best = kNobody;
  for (MemberId voter : membership_.voters()) {
    const auto peer = peers_.find(voter);
    if (peer == peers_.end()) continue;  // this member itself
    if (peer->second.out_of_space()) continue;
    if (now_ - peer->second.contact_tick >= uint64_t(config_.election_timeout_ticks)) continue;
    if (best == kNobody || peer->second.match_index() > peers_.at(best).match_index()) best = voter;
  }
  return best;
}

// The target must hold the whole log; otherwise it loses the election. The whole log must be
// committed, so that the change of leader leaves no client's request with an unknown outcome.
void Raft::MaybeHandOver() {
  if (transferee_ == kNobody) return;
  const bool ready =
      commit_ == log_.last_index() && peers_.at(transferee_).match_index() == log_.last_index();
  if (ready || RAFTKV_MUTANT("transfer-to-a-member-behind")) Send(transferee_, TimeoutNow{});
}

// No round of pre-votes comes first, because the leader itself asked for this election. If the
// election is lost, rounds with pre-votes follow early, because the leader has stepped down
// meanwhile.
void Raft::Handle(const Message& /*message*/, const TimeoutNow& /*request*/) {
  if (role_ == Role::kLeader || !MayCampaign()) return;
  SetLeader(kNobody, /*transfer=*/true);
  fast_rounds_ = kFastRounds - 1;
  Campaign(/*leadership_transfer=*/true);
}

}  // namespace raftkv::raft
