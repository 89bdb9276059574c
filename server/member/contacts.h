#ifndef RAFTKV_SERVER_MEMBER_CONTACTS_H_
#define RAFTKV_SERVER_MEMBER_CONTACTS_H_

// Which peers this member hears, and to which it can forward proposals.
//
// Owned by the replica; used on the thread of the turns. The memory is bounded like that of
// PeerLives (peer_lives.h).

#include <map>
#include <set>

#include "absl/time/time.h"
#include "storage/base/monotonic_time.h"
#include "storage/log/entry.h"

namespace raftkv {

class Contacts {
 public:
  void OnHeard(raft::MemberId peer, MonotonicTime now) {
    heard_[peer] = now;
    forward_lost_.erase(peer);
  }
  // A stream of appends or heartbeats, in either direction, broke.
  void OnLost(raft::MemberId peer) { heard_.erase(peer); }
  // The stream of forwarded proposals broke. Nothing is forwarded to the peer until it sends a
  // message.
  void OnForwardLost(raft::MemberId peer) { forward_lost_.insert(peer); }

  // When the last message of the peer came, if no stream broke after it.
  MonotonicTime HeardAt(raft::MemberId peer) const {
    const auto heard = heard_.find(peer);
    return heard == heard_.end() ? MonotonicTime::InfinitePast() : heard->second;
  }
  bool MayForwardTo(raft::MemberId peer) const { return !forward_lost_.contains(peer); }
  // Whether a message of the peer came within this time, no stream broke after it, and proposals
  // can be forwarded to the peer.
  bool HearsWithin(raft::MemberId peer, absl::Duration time, MonotonicTime now) const {
    const auto heard = heard_.find(peer);
    return MayForwardTo(peer) && heard != heard_.end() && now - heard->second < time;
  }

 private:
  std::map<raft::MemberId, MonotonicTime> heard_;  // when the last message of each peer came
  std::set<raft::MemberId> forward_lost_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_CONTACTS_H_
