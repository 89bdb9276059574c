#include "server/raft/invariants.h"

#include <algorithm>
#include <utility>

namespace raftkv::raft {

std::vector<std::string> Invariants::Check(const Raft& raft) {
  broken_.clear();
  CheckState(raft);
  if (raft.role_ == Role::kLeader) CheckLeader(raft);
  if (seen_.anything) CheckStep(raft);
  seen_ = {.anything = true,
           .role = raft.role_,
           .term = raft.term_,
           .voted_for = raft.voted_for_,
           .leader = raft.leader_,
           .last = raft.log_.last(),
           .committed = raft.log_.IdAt(std::min(raft.commit_, raft.last_index())),
           .handed_out = raft.handed_out_.index(),
           .applied = raft.handed_out_.applied(),
           .round = raft.round_,
           .saved = raft.saved_state_};
  return std::exchange(broken_, {});
}

std::vector<std::string> Invariants::CheckBounds(const Raft& raft) {
  broken_.clear();
  const Config& config = raft.config_;
  const RaftLog& log = raft.log_;
  Require(raft.reads_.size() <= config.pending_reads_max, "pending reads are bounded");
  const HandedOut& handed_out = raft.handed_out_;
  Require(handed_out.bytes() == handed_out.last_bytes() ||
              handed_out.bytes() - handed_out.last_bytes() < config.committed_bytes_max,
          "what is handed out and not applied exceeds its bound by less than one hand-over");
  const size_t not_evictable =
      log.BytesInMemory(std::min(log.saved_index(), raft.commit_), log.last_index());
  Require(log.cached_bytes() <= config.log_cache_bytes_max + not_evictable,
          "memory for the log is bounded");
  if (raft.role_ == Role::kLeader) {
    // A new leader may take over more, and appends an entry of its own.
    const bool proposed =
        log.last_index() >= raft.commit_ + 2 && log.IdAt(log.last_index() - 1).term == raft.term_;
    Require(!proposed || raft.uncommitted_bytes_ <= config.uncommitted_bytes_max,
            "proposals that are not committed are bounded, or one alone");
  }
  for (const auto& [id, peer] : raft.peers_) {
    Require(peer.inflight_messages() <= config.inflight_messages_max,
            "messages in flight are bounded");
    Require(peer.inflight_messages() <= 1 ||
                peer.inflight_bytes() - peer.last_inflight_bytes() < config.inflight_bytes_max,
            "bytes in flight exceed the window by less than one message");
  }
  return std::exchange(broken_, {});
}

void Invariants::Require(bool holds, const char* what) {
  if (!holds) broken_.push_back(what);
}

void Invariants::CheckState(const Raft& raft) {
  const RaftLog& log = raft.log_;
  const Index saved = log.saved_index();
  Require(raft.handed_out_.applied() <= raft.handed_out_.index(), "applied <= handed out");
  Require(raft.handed_out_.index() <= raft.commit_, "handed out <= commit");
  Require(raft.handed_out_.index() <= saved || log.resetting(),
          "only saved entries are handed out");
  Require(raft.handed_out_.applied() + 1 >= log.first_index(), "only applied entries are cut");
  Require(raft.commit_ <= log.last_index(), "commit <= last");
  Require(saved <= log.last_index(), "saved <= last");
  Require(log.last().term <= raft.term_, "no entry has a term above the current one");
  Require(raft.membership_.index() <= log.last_index(), "the configuration in force is in the log");
  Require(raft.acknowledgement_.match() <= log.last_index(), "acknowledged entries are in the log");

  Require(raft.saved_state_.current_term <= raft.taken_state_.current_term &&
              raft.taken_state_.current_term <= raft.term_,
          "terms are saved in order");
  Require(raft.role_ != Role::kCandidate || raft.voted_for_ == raft.config_.id,
          "a candidate votes for itself");
  Require(raft.role_ == Role::kLeader || raft.peers_.empty(), "only a leader tracks peers");
  Require(raft.role_ == Role::kLeader || raft.transferee_ == kNobody,
          "only a leader transfers its leadership");
  Require((raft.role_ == Role::kLeader) == (raft.leader_ == raft.config_.id),
          "a member names itself as leader exactly while it is the leader");
  Require(raft.leader_ != kNobody || raft.reads_.size() == 0, "reads wait only for a leader");
  Require(raft.leader_ != kNobody || !raft.acknowledgement_.due(),
          "a reply is due only to a leader");
  Require(raft.leader_ == kNobody || raft.fast_rounds_ == 0, "with a leader no round is early");
}

void Invariants::CheckLeader(const Raft& raft) {
  Require(raft.voted_for_ == raft.config_.id, "a leader voted for itself");
  Require(raft.saved_state_.current_term == raft.term_ &&
              raft.saved_state_.voted_for == raft.config_.id,
          "a leader has saved its term and its vote");
  Require(raft.uncommitted_bytes_ == raft.log_.BytesInMemory(raft.commit_, raft.last_index()),
          "uncommitted_bytes equals the bytes of the uncommitted entries");
  const std::vector<MemberId>& everyone = raft.membership_.everyone();
  for (MemberId id : everyone) {
    Require(id == raft.config_.id || raft.peers_.contains(id), "a leader tracks every member");
  }
  Require(raft.membership_.NumberAfter(raft.commit_) <= 1,
          "at most one change of the configuration is uncommitted");
  for (const auto& [id, peer] : raft.peers_) {
    const Index configured = raft.membership_.index();
    Require(std::binary_search(everyone.begin(), everyone.end(), id) || configured > raft.commit_ ||
                peer.told_commit < configured,
            "a leader tracks members, and others until they are told that they were removed");
    Require(peer.match_index() < peer.next_index(), "match < next");
    Require(peer.next_index() <= raft.last_index() + 1, "next <= last + 1");
    Require(peer.inflight_messages() > 0 || peer.inflight_bytes() == 0,
            "no messages in flight means no bytes in flight");
  }
}

void Invariants::CheckStep(const Raft& raft) {
  const bool same_term = raft.term_ == seen_.term;
  Require(raft.term_ >= seen_.term, "the term does not decrease");
  Require(!same_term || seen_.voted_for == kNobody || raft.voted_for_ == seen_.voted_for,
          "at most one vote in a term");
  Require(!same_term || seen_.leader == kNobody || raft.leader_ == kNobody ||
              raft.leader_ == seen_.leader,
          "at most one leader in a term");
  Require(!same_term || seen_.role != Role::kLeader || raft.role_ == Role::kLeader ||
              raft.role_ == Role::kFollower,
          "a leader that steps down becomes a follower");
  Require(raft.commit_ >= seen_.committed.index, "the commit index does not decrease");
  Require(
      seen_.committed.index + 1 < raft.log_.first_index() || raft.log_.Contains(seen_.committed),
      "committed entries are never removed");
  Require(raft.handed_out_.index() >= seen_.handed_out, "the handed-out index does not decrease");
  Require(raft.handed_out_.applied() >= seen_.applied, "the applied index does not decrease");
  Require(raft.round_ >= seen_.round, "the heartbeat round does not decrease");
  Require(raft.saved_state_.current_term >= seen_.saved.current_term,
          "the saved term does not decrease");
  Require(!(same_term && seen_.role == Role::kLeader && raft.role_ == Role::kLeader) ||
              raft.log_.Contains(seen_.last),
          "a leader only appends to its log");
}

}  // namespace raftkv::raft
