#ifndef RAFTKV_SERVER_MEMBER_SNAPSHOT_SENDS_H_
#define RAFTKV_SERVER_MEMBER_SNAPSHOT_SENDS_H_

// The snapshots that a leader is sending (Transport::SendSnapshot), and the entries of the log that
// its followers still need.
//
// Owned by the replica; used on the thread of the turns.

#include <map>
#include <utility>

#include "server/raft/status.h"
#include "storage/log/entry.h"

namespace raftkv {

class SnapshotSends {
 public:
  // A snapshot is sent that contains at least the entries up to `applied`.
  void OnSent(raft::MemberId to, raft::Index applied) { sending_[to] = applied; }
  // The transfer has ended. False: it is one of an earlier term.
  bool OnEnded(raft::MemberId to) { return sending_.erase(to) > 0; }
  // The leader or the term changed. Returns whether there were transfers.
  bool OnNewTerm() { return !std::exchange(sending_, {}).empty(); }

  // The first entry that a follower needs which is catching up or is sent a snapshot; 0: none.
  raft::Index FirstNeeded(const raft::Status& leader) const {
    raft::Index first = 0;
    for (const auto& [id, peer] : leader.peers) {
      raft::Index needs = 0;
      if (const auto sending = sending_.find(id); sending != sending_.end()) {
        needs = sending->second + 1;
      } else if (peer.recently_active) {
        needs = peer.match_index + 1;
      }
      if (needs != 0 && (first == 0 || needs < first)) first = needs;
    }
    return first;
  }

 private:
  std::map<raft::MemberId, raft::Index> sending_;  // the applied index when the transfer began
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_SNAPSHOT_SENDS_H_
