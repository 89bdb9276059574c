// The methods of Raft about cut logs and snapshots (§7). A snapshot is taken, sent, verified and
// stored by the driver, outside the core. The core decides who needs one (Ready::snapshots_to) and
// whether one that has arrived is installed (Ready::snapshot).

#include <algorithm>

#include "server/raft/raft.h"
#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

// --- the leader

// In kReplicate a full window does not delay the snapshot, because acknowledgements of the appends
// in flight cannot supply the missing entry. In kProbe the leader waits for the answer to the
// probe, which may show that the peer has more entries. A peer that does not answer heartbeats
// would not accept a snapshot either.
bool Raft::NeedsSnapshot(const Progress& peer) const {
  return peer.next_index() < log_.first_index() && !peer.out_of_space() &&
         (peer.state() == Progress::State::kReplicate || peer.CanSend()) &&
         now_ - peer.contact_tick < uint64_t(config_.election_timeout_ticks);
}

void Raft::OnSnapshotSent(MemberId peer, bool ok) {
  if (auto it = peers_.find(peer); it != peers_.end()) {
    it->second.OnSnapshotSent(ok, log_.first_index());
  }
}

void Raft::OnLogCut() {
  log_.OnCut();
  CHECK_GE(handed_out_.applied() + 1, log_.first_index())
      << "entries were cut that are not applied";
  CHECK_LE(log_.first_index(), log_.last_index()) << "a leader's probe needs an entry to send";
}

// --- the follower

// What a snapshot contains is committed. If this log contains its last entry, the log is at least
// as good: it is kept, and the snapshot is not needed. Otherwise none of this log's entries above
// the snapshot can be committed, because the log does not agree with the committed entry that the
// snapshot ends with. So nothing is lost with them.
void Raft::Handle(const Message& message, const InstallSnapshot& install) {
  if (role_ == Role::kLeader) return;
  if (const Index conflict = ConflictWith(install); conflict != 0) {
    OnConflict(message, conflict, /*round=*/0);
    return;
  }
  if (halted_) return SetLeader(kNobody);
  if (role_ != Role::kFollower || leader_ != message.from) BecomeFollower(term_, message.from);
  leader_heard_ = now_;
  ResetElectionTimer();

  const EntryId last = install.meta.last;
  const bool newer = last.index > commit_ && !log_.Contains(last);
  if (newer || RAFTKV_MUTANT("snapshot-installed-over-a-newer-log")) {
    log_.Reset(last, install.meta.chain_hash);
    commit_ = last.index;
    handed_out_.Reset(last.index);
    next_.snapshot = install.meta;
    next_.events.push_back(SnapshotInstalled{last});
    if (membership_.Reset(last.index, install.meta.configuration)) OnConfiguration();
  } else {
    AdvanceCommit(last.index);
  }
  acknowledgement_.OnSnapshot(last.index);
}

}  // namespace raftkv::raft
