// Detects messages that no correct peer can send. Step calls this check before it changes anything.
// So a faulty peer can neither end this process nor change its log.

#include <algorithm>

#include "server/raft/raft.h"

namespace raftkv::raft {

namespace {

// How many changes of the configuration this log would have after the highest known commit index,
// once it has the entries of `append` from `first` on. A leader never has more than one after its
// own commit index (thesis §4.1), also after a restart (HardState).
size_t UncommittedChanges(const Membership& membership, Index commit, const AppendEntries& append,
                          Index first) {
  const Index last = append.prev.index + append.entries.size();
  const Index committed = std::max(commit, std::min(append.commit, last));
  size_t changes = 0;
  if (committed < first - 1) {
    changes = membership.NumberAfter(committed) - membership.NumberAfter(first - 1);
  }
  for (const Entry& entry : append.entries) {
    const bool counts = entry.id.index >= first && entry.id.index > committed;
    if (counts && entry.type == EntryType::kConfiguration) ++changes;
  }
  return changes;
}

}  // namespace

const char* Raft::WhyImplausible(const Message& message) const {
  if (message.term < term_) return nullptr;  // its contents are ignored
  if (message.term - term_ > kTermAheadMax) return "its term is too far ahead";
  return std::visit([&](const auto& body) { return WhyImplausible(message, body); }, message.body);
}

const char* Raft::WhyImplausible(const Message& message, const AppendEntries& append) const {
  const bool this_term = message.term == term_;
  // Election Safety (§5.2).
  if (this_term && role_ == Role::kLeader) return "it claims to lead in the term of this leader";
  if (this_term && leader_ != kNobody && leader_ != message.from) {
    return "it leads in the term of another leader";
  }
  // Handle uses the entries only if this log contains append.prev. Entries before the
  // first entry of this log are committed, so they are skipped.
  if (append.prev.index + 1 >= log_.first_index() && !log_.Contains(append.prev)) return nullptr;
  for (const Entry& entry : append.entries) {
    const Index index = entry.id.index;
    if (index < log_.first_index() || log_.Contains(entry.id)) continue;
    // This is the first entry that is not in this log yet. If it conflicts with a committed one,
    // Handle halts this member (ConflictWith). A leader never changes an entry that it has sent
    // (Leader Append-Only, §5.3).
    if (index <= commit_) return nullptr;
    if (this_term && index <= acknowledgement_.match())
      return "its entry differs from one that it sent before";
    if (entry.id.term < log_.TermAt(index - 1)) return "the terms of its entries decrease";
    if (UncommittedChanges(membership_, commit_, append, index) > 1) {
      return "it has two changes of the configuration that are not committed";
    }
    break;
  }
  return nullptr;
}

// The snapshot ends with a committed entry. This member's driver has checked its contents.
const char* Raft::WhyImplausible(const Message& message, const InstallSnapshot& install) const {
  const bool this_term = message.term == term_;
  if (this_term && role_ == Role::kLeader) return "it claims to lead in the term of this leader";
  if (this_term && leader_ != kNobody && leader_ != message.from) {
    return "it leads in the term of another leader";
  }
  const EntryId last = install.meta.last;
  // Leader Completeness (§5.4.3) and Log Matching (§5.3). Entries before this log's first one are
  // committed.
  if (last.index + 1 < log_.first_index() || log_.Contains(last)) return nullptr;
  if (last.index <= commit_) return nullptr;  // a conflict: Handle halts this member
  if (last.term < log_.TermAt(commit_)) return "the term of its snapshot goes back";
  if (this_term && last.index <= acknowledgement_.match())
    return "its snapshot conflicts with its own log";
  return nullptr;
}

const char* Raft::WhyImplausible(const Message& message, const AppendEntriesReply& reply) const {
  if (message.term != term_ || role_ != Role::kLeader) return nullptr;
  if (reply.round > round_) return "it answers a heartbeat that was never sent";
  if (reply.success && reply.match > log_.last_index()) {
    return "it acknowledges entries that were never sent";
  }
  return nullptr;
}

// Only the leader of a term hands its leadership over in that term.
const char* Raft::WhyImplausible(const Message& message, const TimeoutNow& /*request*/) const {
  const bool knows_leader = message.term == term_ && leader_ != kNobody;
  return knows_leader && message.from != leader_ ? "it hands over the leadership of another leader"
                                                 : nullptr;
}

const char* Raft::WhyImplausible(const Message& message, const ReadIndexReply& reply) const {
  const bool asked = message.term == term_ && role_ == Role::kFollower && reads_.in_flight() &&
                     reply.id == reads_.round();
  return asked && message.from != leader_ ? "it answers a read index request to the leader"
                                          : nullptr;
}

}  // namespace raftkv::raft
