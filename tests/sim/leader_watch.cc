#include "tests/sim/leader_watch.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_format.h"

namespace raftkv::sim {

void LeaderWatch::OnInput(const raft::Raft& raft, const Input& input, MonotonicTime now) {
  if (const auto* lost = std::get_if<PeerLost>(&input)) {
    if (lost->peer != heard_from_) return;
    if (lost->connection < connection_) {
      if (raft.leader() == lost->peer) marks_->Hit(Mark::kOldConnectionLost);
      return;
    }
    disturbed_ = true;
    connection_ = 0;
  } else if (const auto* arrived = std::get_if<SnapshotArrived>(&input)) {
    snapshot_ = true;
    const auto& message = std::get<raft::Message>(arrived->message.body);
    snapshot_term_ = std::max(snapshot_term_, message.term);
  } else if (const auto* message = std::get_if<PeerMessage>(&input)) {
    if (lives_.OnHeard(message->from.id, message->from.boot_id, message->from.reached, now) !=
        PeerLives::Verdict::kOk) {
      disturbed_ = true;  // the member ignores it, unless it decides later than `now`
      return;
    }
    // Only a member that may not vote yet gets a HelloReply.
    if (std::holds_alternative<HelloReply>(message->body)) disturbed_ = true;
    if (const auto* m = std::get_if<raft::Message>(&message->body)) OnMessage(raft, *m);
  }
}

void LeaderWatch::OnMessage(const raft::Raft& raft, const raft::Message& message) {
  const auto* vote = std::get_if<raft::RequestVote>(&message.body);
  const bool timeout_now = std::holds_alternative<raft::TimeoutNow>(message.body);
  if (message.term > raft.term() && (vote == nullptr || vote->leadership_transfer)) {
    disturbed_ = true;
  }
  if (timeout_now && message.term >= raft.term()) disturbed_ = true;
  if (timeout_now && message.term < raft.term()) marks_->Hit(Mark::kTimeoutNowLate);
  if (!std::holds_alternative<raft::AppendEntries>(message.body) || message.term < raft.term()) {
    return;
  }
  append_from_ = message.from;
  connection_ =
      message.from == heard_from_ ? std::max(connection_, message.connection) : message.connection;
  heard_from_ = message.from;
}

bool LeaderWatch::SurelyHears(const raft::Raft& raft, MonotonicTime now) const {
  const absl::Duration tick = absl::Microseconds(profile_->tick);
  const int timeout = profile_->raft.election_timeout_ticks;
  if (raft.role() == raft::Role::kLeader) return now - last_turn_ < timeout * tick / 2;
  // The turn that handled the append may have counted ticks after it.
  return raft.leader() != raft::kNobody && raft.leader() == heard_from_ &&
         now - heard_at_ < (timeout - profile_->raft.heartbeat_ticks - 1) * tick;
}

void LeaderWatch::BeforeTurn(const raft::Raft& raft, MonotonicTime now) {
  // A snapshot may be installed some turns later. It is a message of its leader's term, too.
  must_keep_ = !disturbed_ && snapshot_term_ <= raft.term() && SurelyHears(raft, now);
  disturbed_ = false;
  term_ = raft.term();
  leader_ = raft.leader();
  voted_ = false;
}

void LeaderWatch::AfterTurn(const raft::Raft& raft, MonotonicTime now) {
  const bool led = leader_ == static_cast<raft::MemberId>(member_ + 1);  // CheckQuorum may end it
  if (must_keep_ && (raft.term() != term_ || voted_ || (!led && raft.leader() != leader_))) {
    verdict_->Fail("stable", absl::StrFormat("n%d heard its leader n%d of term %d, and %s",
                                             member_ + 1, leader_, term_,
                                             voted_                 ? "voted for another"
                                             : raft.term() != term_ ? "entered a later term"
                                                                    : "no longer knows it"));
  }
  CheckSilence(raft, now);
  last_turn_ = now;
  if (raft.leader() == raft::kNobody) connection_ = 0;
  if (raft.leader() != raft::kNobody && raft.leader() == append_from_) heard_at_ = now;
  append_from_ = raft::kNobody;
}

void LeaderWatch::CheckSilence(const raft::Raft& raft, MonotonicTime now) {
  const absl::Duration tick = absl::Microseconds(profile_->tick);
  const bool heard = append_from_ == raft.leader() || std::exchange(snapshot_, false);
  if (heard || raft.leader() != leader_ || raft.role() != raft::Role::kFollower) {
    silence_ = absl::ZeroDuration();
    return;
  }
  // The member counts no more ticks in a turn.
  silence_ += std::min(now - last_turn_, profile_->raft.heartbeat_ticks * tick);
  if (raft.leader() == raft::kNobody ||
      silence_ < 3 * profile_->raft.election_timeout_ticks * tick) {
    return;
  }
  verdict_->Fail("silent",
                 absl::StrFormat("n%d has not heard its leader n%d of term %d for %s", member_ + 1,
                                 leader_, raft.term(), absl::FormatDuration(silence_)));
}

void LeaderWatch::OnEvent(const raft::Event& event) {
  if (const auto* candidate = std::get_if<raft::BecamePreCandidate>(&event)) {
    if (candidate->fast && fast_rounds_++ > 0) marks_->Hit(Mark::kEarlyRetried);
    if (!candidate->fast && fast_rounds_ > 0) {
      marks_->Hit(Mark::kEarlyGivenUp);
      fast_rounds_ = 0;
    }
    asked_ = true;
  } else if (std::holds_alternative<raft::BecameCandidate>(event)) {
    transferred_ = !std::exchange(asked_, false);
  } else if (std::holds_alternative<raft::BecameFollower>(event)) {
    asked_ = transferred_ = false;
    if (fast_rounds_ > 0) marks_->Hit(Mark::kEarlyLost);
  } else if (std::holds_alternative<raft::BecameLeader>(event)) {
    if (fast_rounds_ > 0) marks_->Hit(Mark::kEarlyWon);
    if (std::exchange(transferred_, false)) marks_->Hit(Mark::kTransferWon);
    fast_rounds_ = 0;
  } else if (const auto* changed = std::get_if<raft::LeaderChanged>(&event)) {
    if (changed->leader == raft::kNobody) {
      lost_term_ = changed->term;
    } else if (changed->leader != static_cast<raft::MemberId>(member_ + 1)) {
      if (fast_rounds_ > 0 && changed->term == lost_term_) marks_->Hit(Mark::kEarlyHeldOff);
      fast_rounds_ = 0;
    }
  } else if (const auto* vote = std::get_if<raft::VoteGranted>(&event)) {
    voted_ = voted_ || vote->candidate != leader_;
  }
}

}  // namespace raftkv::sim
