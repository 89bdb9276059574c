// The methods of Raft about logs that contradict each other (docs/decisions/0017-older-copies.md).
// By Log Matching (§5.3) and Leader Completeness (§5.4.3) that cannot happen, unless a member has
// forgotten votes or entries that it had saved. A follower that finds such a contradiction halts,
// and tells the leader, which halts too. Two histories exist then, and writes may have been
// acknowledged in both. Only the operator can choose one.

#include <utility>

#include "server/raft/raft.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

namespace {
bool Differs(uint64_t chain, uint64_t known) {
  return chain != 0 && chain != known && !RAFTKV_MUTANT("chain-not-compared");
}
}  // namespace

// --- the follower

// Returns the index of an entry of this log that contradicts the leader's log. 0: this append shows
// no contradiction. If an append begins where this log ends, no entry is hashed here.
Index Raft::ConflictWith(const AppendEntries& append) const {
  const Index base = log_.first_index() - 1;
  const EntryId prev = append.prev;
  uint64_t chain = prev.index == 0 ? 0 : append.prev_chain;
  if (prev.index > log_.last_index()) return 0;
  if (prev.index >= base) {
    if (log_.TermAt(prev.index) != prev.term) {
      return prev.index <= commit_ && !RAFTKV_MUTANT("committed-conflict-ignored") ? prev.index : 0;
    }
    if (Differs(chain, log_.ChainAt(prev.index))) return prev.index;
  }
  Index checked = 0;  // the last entry that this log has as well
  for (const Entry& entry : append.entries) {
    if (entry.id.index >= base && !log_.Contains(entry.id)) {
      if (entry.id.index <= commit_ && !RAFTKV_MUTANT("committed-conflict-ignored")) {
        return entry.id.index;
      }
      break;
    }
    if (chain != 0 || prev.index == 0) chain = ChainAfter(chain, entry);
    if (entry.id.index >= base) checked = entry.id.index;
  }
  return checked != 0 && Differs(chain, log_.ChainAt(checked)) ? checked : 0;
}

Index Raft::ConflictWith(const InstallSnapshot& install) const {
  const EntryId last = install.meta.last;
  if (last.index + 1 < log_.first_index() || last.index > log_.last_index()) return 0;
  if (log_.Contains(last)) {
    return Differs(install.meta.chain_hash, log_.ChainAt(last.index)) ? last.index : 0;
  }
  return last.index <= commit_ && !RAFTKV_MUTANT("committed-conflict-ignored") ? last.index : 0;
}

// Answers also if this member has halted already: the sender may be another leader, which does not
// know of the contradiction yet.
void Raft::OnConflict(const Message& message, Index index, uint64_t round) {
  const EntryId entry = log_.IdAt(index);
  Halt({Halted::Why::kConflict, message.from, entry});
  SendAfterSave(message.from,
                AppendEntriesReply{.success = false,
                                   .rejected_prev = entry,
                                   .hint = entry,
                                   .round = round,
                                   .conflict = entry,
                                   .conflict_chain = log_.ChainAt(index)},
                term_);
}

// This log lacks entries that this member had acknowledged to the leader of this term. The leader
// learns it from the rejection.
void Raft::OnLostEntries(const Message& message, const AppendEntries& append) {
  Halt({Halted::Why::kLostEntries, message.from, {0, append.acknowledged}});
  SendAfterSave(message.from,
                AppendEntriesReply{.success = false,
                                   .rejected_prev = {term_, append.acknowledged},
                                   .hint = log_.last(),
                                   .round = append.round},
                term_);
}

// --- the leader

// The peer may be wrong, or its reply may be old: this leader believes only what its own log shows.
void Raft::HandleConflict(const Message& message, const AppendEntriesReply& reply) {
  const Index index = reply.conflict.index;
  if (index + 1 < log_.first_index() || index > log_.last_index()) return;
  if (log_.Contains(reply.conflict) && log_.ChainAt(index) == reply.conflict_chain) return;
  Halt({Halted::Why::kToldConflict, message.from, log_.IdAt(index)});
}

// --- both

void Raft::Halt(Halted why) {
  if (!std::exchange(halted_, true)) next_.events.push_back(why);
  if (role_ != Role::kFollower || leader_ != kNobody) BecomeFollower(term_, kNobody);
}

}  // namespace raftkv::raft
