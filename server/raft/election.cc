// Raft's methods about elections: leader election (§5.2), the restriction on who may win (§5.4.1),
// PreVote (thesis §9.6) and CheckQuorum (thesis §6.2).

#include <utility>

#include "server/raft/raft.h"
#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

bool Raft::MayCampaign() const { return may_vote_ && membership_.IsVoter(config_.id); }

// A pre-candidate asks whether it would be elected, in a term that nobody enters for the asking: a
// member that was cut off cannot come back with a high term and depose a working leader.
void Raft::AskWhetherToCampaign() {
  role_ = Role::kPreCandidate;
  SetLeader(kNobody);
  ResetElectionTimer();
  events_.push_back(BecamePreCandidate{term_ + 1});
  votes_.clear();
  votes_[config_.id] = true;  // an opinion, not a promise: nothing to save
  AskForVotes(term_ + 1, /*pre_vote=*/true);
  CountVotes();
}

void Raft::Campaign() {
  SetTerm(term_ + 1);
  voted_for_ = config_.id;
  role_ = Role::kCandidate;
  ResetElectionTimer();
  events_.push_back(BecameCandidate{term_});
  votes_.clear();
  AskForVotes(term_, /*pre_vote=*/false);
  if (RAFTKV_MUTANT("lead-before-vote-saved")) {
    for (Message& message : after_save_messages_) now_messages_.push_back(std::move(message));
    after_save_messages_.clear();
    votes_[config_.id] = true;
    CountVotes();
  }
}

// After the save even for a pre-vote: it says where our log ends.
void Raft::AskForVotes(Term term, bool pre_vote) {
  for (MemberId voter : membership_.voters()) {
    if (voter == config_.id) continue;
    SendAfterSave(voter, RequestVote{.last = log_.last(), .pre_vote = pre_vote}, term);
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
      } else if (votes_.count(config_.id) > 0) {  // nobody leads a term it has not saved
        BecomeLeader();
      }
      return;
  }
}

void Raft::BecomeLeader() {
  role_ = Role::kLeader;
  SetLeader(config_.id);
  uncommitted_bytes_ = log_.BytesInMemory(commit_, log_.last_index());
  for (MemberId id : membership_.everyone()) {
    if (id == config_.id) continue;
    Progress peer(log_.last_index() + 1,
                  {config_.inflight_messages_max, config_.inflight_bytes_max});
    peer.contact_tick = now_;
    peers_.emplace(id, std::move(peer));
  }
  // Entries of earlier terms commit only together with one of ours (§5.4.2), and reads wait for it
  // (§8): hence an empty one at once.
  term_start_ = log_.last_index() + 1;
  if (RAFTKV_MUTANT("noop-omitted")) {
    term_start_ = 0;
  } else {
    log_.Append({{term_, term_start_}, EntryType::kNoOp, {}});
    uncommitted_bytes_ += kEntryOverheadBytes;
  }
  BecameLeader event{.term = term_, .votes = {}, .last_index = log_.last_index()};
  for (const auto& [voter, granted] : votes_) {
    if (granted) event.votes.push_back(voter);
  }
  events_.push_back(std::move(event));
  votes_.clear();
  BeginHeartbeat();
}

void Raft::HandleRequestVote(const Message& message, const RequestVote& request) {
  const bool later_term = message.term > term_;  // only a pre-vote's, here
  const bool vote_is_free = later_term || voted_for_ == message.from ||
                            (voted_for_ == kNobody && leader_ == kNobody) ||
                            RAFTKV_MUTANT("vote-twice-in-a-term");
  const bool up_to_date = request.last >= log_.last() || RAFTKV_MUTANT("vote-ignores-log");
  const bool granted = may_vote_ && vote_is_free && up_to_date;
  if (granted) {
    if (!request.pre_vote) {
      voted_for_ = message.from;
      ResetElectionTimer();
    }
    events_.push_back(VoteGranted{message.term, message.from, request.pre_vote});
  }
  // A granted pre-vote speaks of the term that was asked about; everything else of ours.
  SendAfterSave(message.from, RequestVoteReply{.granted = granted, .pre_vote = request.pre_vote},
                granted ? message.term : term_);
}

void Raft::HandleRequestVoteReply(const Message& message, const RequestVoteReply& reply) {
  if (role_ != (reply.pre_vote ? Role::kPreCandidate : Role::kCandidate)) return;
  if (reply.pre_vote && reply.granted && message.term != term_ + 1) return;
  if (!votes_.emplace(message.from, reply.granted).second) return;
  events_.push_back(VoteReceived{message.term, message.from, reply.granted, reply.pre_vote});
  CountVotes();
}

// A leader that has not heard from a majority for an election timeout cannot commit or confirm a
// read, and may have been replaced: it makes way, so that clients look for the other one.
void Raft::CheckQuorum() {
  const uint64_t majority_heard =
      ReachedByMajority(OfVoters(now_, [](const Progress& peer) { return peer.contact_tick; }));
  if (now_ - majority_heard < uint64_t(config_.election_timeout_ticks)) return;
  events_.push_back(SteppedDown{term_, SteppedDown::Why::kNoQuorum});
  BecomeFollower(term_, kNobody);
}

}  // namespace raftkv::raft
