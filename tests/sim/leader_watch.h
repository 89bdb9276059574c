#ifndef RAFTKV_TESTS_SIM_LEADER_WATCH_H_
#define RAFTKV_TESTS_SIM_LEADER_WATCH_H_

// Checks one life of one member: as long as the member hears from its leader, it keeps that leader.
// It gives no other member its vote or pre-vote, enters no later term, and still knows the leader.
// So an election needs a majority that does not hear from the leader (PreVote, thesis §9.6 and
// §4.2.3).
//
// A member certainly hears from its leader if it has handled an append of the leader within an
// election timeout by its own clock, and this turn's input contains none of these: a message of a
// later term other than a usual vote request, the loss of the newest connection on which the leader
// was heard, or a transfer of leadership.
//
// The reverse is checked, too: a member that has heard nothing from its leader for three election
// timeouts no longer takes it for the leader.
//
// This class also increments the marks of early campaigns (Raft::OnPeerLost).

#include <cstdint>

#include "server/member/peer_lives.h"
#include "server/member/requests.h"
#include "server/raft/raft.h"
#include "tests/sim/marks.h"
#include "tests/sim/profile.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

class LeaderWatch {
 public:
  LeaderWatch(const Profile* profile, int member, Marks* marks, Verdict* verdict)
      : profile_(profile), member_(member), marks_(marks), verdict_(verdict) {}

  // Call it for each input that is posted for the next turn, in order.
  void OnInput(const raft::Raft& raft, const Input& input, MonotonicTime now);

  // `now` is the member's clock.
  void BeforeTurn(const raft::Raft& raft, MonotonicTime now);
  void AfterTurn(const raft::Raft& raft, MonotonicTime now);
  void OnEvent(const raft::Event& event);

 private:
  void OnMessage(const raft::Raft& raft, const raft::Message& message);
  void CheckSilence(const raft::Raft& raft, MonotonicTime now);
  bool SurelyHears(const raft::Raft& raft, MonotonicTime now) const;

  const Profile* const profile_;
  const int member_;
  Marks* const marks_;
  Verdict* const verdict_;

  // From the inputs since the last turn.
  raft::MemberId append_from_ =
      raft::kNobody;  // the last append of the current term or a later one
  bool disturbed_ = false;
  bool snapshot_ = false;
  raft::Term snapshot_term_ = 0;  // the newest one of a snapshot that arrived

  PeerLives lives_;
  raft::MemberId heard_from_ = raft::kNobody;
  uint64_t connection_ = 0;  // the newest one on which heard_from_ was heard
  MonotonicTime heard_at_ = MonotonicTime::InfinitePast();
  MonotonicTime last_turn_ = MonotonicTime::InfinitePast();
  absl::Duration silence_;  // of the leader, without the pauses of this member

  // State for the current turn.
  bool must_keep_ = false;
  raft::Term term_ = 0;
  raft::MemberId leader_ = raft::kNobody;
  bool voted_ = false;

  // Since the member lost its leader.
  raft::Term lost_term_ = 0;
  int fast_rounds_ = 0;
  bool asked_ = false;        // it asks for pre-votes
  bool transferred_ = false;  // it is a candidate without having asked
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_LEADER_WATCH_H_
