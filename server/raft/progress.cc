#include "server/raft/progress.h"

#include <algorithm>

#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

bool Progress::CanSend() const {
  if (out_of_space_) return false;
  if (state_ == State::kProbe) return !probe_outstanding_;
  if (state_ == State::kSnapshot || state_ == State::kExcluded) return false;
  return inflight_.empty() || RAFTKV_MUTANT("window-without-bound") ||
         (inflight_.size() < window_.messages_max && inflight_bytes_ < window_.bytes_max);
}

void Progress::OnSent(Index last, size_t bytes) {
  CHECK(CanSend());
  if (state_ == State::kProbe) {
    probe_outstanding_ = true;
    probe_ = {last, bytes};
    return;
  }
  CHECK_GE(last, next_index_);
  PutInFlight({last, bytes});
}

void Progress::PutInFlight(Inflight append) {
  // The first append in flight gets a full interval before it is treated as stalled.
  if (inflight_.empty()) accepted_since_heartbeat_ = true;
  inflight_.push_back(append);
  inflight_bytes_ += append.bytes;
  next_index_ = append.last + 1;
}

bool Progress::OnAccepted(Index match, uint64_t round) {
  if (state_ == State::kExcluded) return false;
  const bool moved = match > match_index_;
  if (moved) {
    match_index_ = match;
    acknowledged_ = std::max(acknowledged_, match);
    match_round_ = round;
    accepted_since_heartbeat_ = true;
    stalled_ = late_ = false;
    while (!inflight_.empty() && inflight_.front().last <= match) {
      inflight_bytes_ -= inflight_.front().bytes;
      inflight_.pop_front();
    }
    next_index_ = std::max(next_index_, match + 1);
  }
  // The reply answers the probe only if it confirms the probe's prev. A lower match comes from an
  // older message or a heartbeat and proves nothing about the probe.
  if (state_ == State::kProbe && match_index_ + 1 == next_index_) {
    state_ = State::kReplicate;
    // The peer may confirm the match before it has saved the entries of the probe.
    if (probe_outstanding_ && probe_.last > match_index_) PutInFlight(probe_);
    probe_outstanding_ = false;
  }
  return moved;
}

Progress::Rejection Progress::OnRejected(Index rejected_prev, Index next, uint64_t round,
                                         bool repairs) {
  CHECK_LE(next, rejected_prev);
  if (state_ == State::kExcluded) return Rejection::kIgnored;
  // The peer rejects a position that it had acknowledged. Either this reply is older than the
  // acknowledgement, or the peer has lost saved entries.
  const bool lost = rejected_prev <= match_index_;
  if (lost) {
    if (round <= match_round_) return Rejection::kIgnored;
    match_index_ = 0;
    if (!repairs) {
      state_ = State::kExcluded;
      ClearInflight();
      return Rejection::kLostEntries;
    }
  }
  if (state_ == State::kSnapshot) return lost ? Rejection::kLostEntries : Rejection::kIgnored;
  if (!lost && state_ == State::kProbe && rejected_prev + 1 != next_index_) {
    return Rejection::kIgnored;  // a reply to an earlier probe
  }
  state_ = State::kProbe;
  probe_outstanding_ = false;
  ClearInflight();
  next_index_ =
      std::max(RAFTKV_MUTANT("rejection-ignored") ? rejected_prev + 1 : next, match_index_ + 1);
  return lost ? Rejection::kLostEntries : Rejection::kUsed;
}

void Progress::OnUnreachable(Index first_index) {
  // Only a heartbeat repeats a probe, to limit resending. A snapshot has a stream of its own.
  if (state_ != State::kReplicate) return;
  state_ = State::kProbe;
  probe_outstanding_ = false;
  ClearInflight();
  next_index_ = std::max(match_index_ + 1, std::min(next_index_, first_index));
}

void Progress::OnOutOfSpace(bool out_of_space, Index first_index) {
  if (out_of_space == out_of_space_) return;
  out_of_space_ = out_of_space;
  OnUnreachable(first_index);  // what is in flight will not be acknowledged
}

void Progress::BecomeSnapshot() {
  CHECK(state_ != State::kSnapshot);
  state_ = State::kSnapshot;
  ClearInflight();
}

void Progress::OnSnapshotSent(bool ok, Index first_index) {
  if (state_ != State::kSnapshot) return;
  state_ = State::kProbe;
  probe_outstanding_ = !ok;
  probe_ = {};
  next_index_ = ok ? std::max(match_index_ + 1, first_index) : match_index_ + 1;
}

void Progress::OnHeartbeat() {
  stalled_ = !inflight_.empty() && !accepted_since_heartbeat_;
  late_ = stalled_ || probe_outstanding_;
  probe_outstanding_ = false;
  accepted_since_heartbeat_ = false;
}

void Progress::ClearInflight() {
  if (RAFTKV_MUTANT("window-keeps-what-was-lost")) return;
  inflight_.clear();
  inflight_bytes_ = 0;
  stalled_ = late_ = false;
}

}  // namespace raftkv::raft
