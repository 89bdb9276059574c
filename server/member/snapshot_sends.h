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
  // A snapshot is sent from now on. It contains at least the entries up to `applied`.
  void Begin(raft::MemberId to, raft::Index applied) { sending_[to] = applied; }
  // The peer has the snapshot, or sending it has failed. False: it was not being sent.
  bool End(raft::MemberId to) { return sending_.erase(to) > 0; }
  // The leader or the term changed. Returns whether snapshots were being sent.
  bool OnNewTerm() { return !std::exchange(sending_, {}).empty(); }

  // The first entry that is needed by a follower that is catching up or is being sent a snapshot;
  // 0: none.
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
  std::map<raft::MemberId, raft::Index> sending_;  // the applied index at Begin
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_SNAPSHOT_SENDS_H_
