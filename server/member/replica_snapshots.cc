// The methods of Replica about cut logs and snapshots.

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "server/member/replica.h"
#include "storage/base/mutant.h"

namespace raftkv {

// --- the log is cut

void Replica::MaybeCut(const StateMachine& state_machine) {
  if (versions_.in_force() < kSnapshotVersion) return;
  const raft::Index flushed = RAFTKV_MUTANT("cut-beyond-the-flushed-index")
                                  ? state_machine.applied().index
                                  : state_machine.persisted_applied().index;
  if (flushed == considered_for_cut_) return;
  considered_for_cut_ = flushed;
  // If the disk has little space, nothing more is kept for a follower: it gets a snapshot.
  const raft::Index held =
      space_.level() == Space::Level::kEnough ? snapshot_sends_.FirstNeeded(raft_.status()) : 0;
  const raft::Index keep =
      FirstToKeep(*log_, options_.tail, flushed, held, state_machine.DiskBytes());
  if (keep == log_->first_index()) return;
  log_->Cut(keep);
  raft_.OnLogCut();
}

// --- a snapshot is sent

void Replica::SendSnapshot(raft::MemberId to) {
  snapshot_sends_.Begin(to, applied_);
  outbox_->SendSnapshot(to, raft_.term());
}

void Replica::Handle(const SnapshotSent& sent) {
  if (sent.term != raft_.term() || !snapshot_sends_.End(sent.peer)) return;  // of an old term
  raft_.OnSnapshotSent(sent.peer, sent.ok);
}

std::optional<LogStore::Tip> Replica::TipAt(raft::EntryId id) const {
  const bool in_log = id.index + 1 >= log_->first_index() && id.index <= log_->last_index();
  if (!in_log || log_->TermAt(id.index) != id.term) return std::nullopt;
  const bool of_end = RAFTKV_MUTANT("snapshot-names-the-end-of-the-log");
  return LogStore::Tip{id, log_->ChainHash(of_end ? log_->last_index() : id.index)};
}

// --- a snapshot has arrived

void Replica::Handle(SnapshotArrived arrived) {
  if (arrived_ || Rejects(arrived.message)) {
    arrived.done(false);
  } else {
    arrived_ = std::move(arrived);
  }
}

void Replica::StepSnapshot() {
  contacts_.OnHeard(arrived_->message.from.id, now_);
  versions_.OnHeard(arrived_->message.from.id, arrived_->message.from.newest_version);
  const raft::EntryId last = arrived_->snapshot->base().id;
  auto& message = std::get<raft::Message>(arrived_->message.body);
  raft::SnapshotMeta& meta = std::get<raft::InstallSnapshot>(message.body).meta;
  CHECK(meta.last == last);
  const raft::Configuration& configuration = arrived_->snapshot->configuration();
  meta.configuration = configuration.voters.empty() ? options_.configuration : configuration;
  meta.chain_hash = arrived_->snapshot->base().chain_hash;
  const bool of_this_leader = message.term >= raft_.term();
  raft_.Step(message);
  DrainReady();  // installs the snapshot, unless the log has its last entry, and saves everything
  SnapshotArrived arrived = *std::exchange(arrived_, std::nullopt);
  arrived.done(of_this_leader && raft_.commit_index() >= last.index);
}

// The steps of storage/snapshot.h. Messages of this Ready that promise what the snapshot contains
// are sent later.
void Replica::Install(const raft::SnapshotMeta& meta) {
  const LogStore::Tip base = arrived_->snapshot->base();
  CHECK(base.id == meta.last);
  if (RAFTKV_MUTANT("log-reset-before-the-state-is-replaced")) log_->Reset(base);
  std::unique_ptr<StateMachine> state = states_->Replace(std::move(arrived_->snapshot));
  if (!log_->Contains(base)) log_->Reset(base);
  states_->Replaced();

  // What this class learned from committed entries is now in the new state.
  store_ids_ = MemberStoreIds(state->store_ids());
  members_ = state->members();
  OnMembers();
  versions_.OnInstalled(state->cluster_version());
  settled_term_ = std::max(settled_term_, base.id.term);
  proposals_.OnInstalled(base.id.term);
  for (CommittedTask& task : hand_over_.committed) task.AnswerUnknown();
  hand_over_.committed.clear();
  handed_over_ = applied_ = base.id.index;
  hand_over_.installed = std::move(state);
}

}  // namespace raftkv
