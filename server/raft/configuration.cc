// The methods of Raft about changes of the members (thesis §4): one voter at a time, each
// configuration in force from the moment that its entry is appended.

#include <algorithm>
#include <utility>

#include "server/raft/raft.h"
#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

namespace {
constexpr size_t kReadBytes = 1 << 20;
}  // namespace

// At a restart: reads the configurations of the entries that are not applied yet.
void Raft::ReadConfigurations(Index applied) {
  if (RAFTKV_MUTANT("configuration-forgotten-at-restart")) return;
  for (Index next = applied + 1; next <= log_.last_index();) {
    for (const Entry& entry : log_.Entries(next, log_.last_index(), SIZE_MAX, kReadBytes)) {
      if (entry.type == EntryType::kConfiguration) {
        membership_.Append(entry.id.index, config_.configuration_of(entry.payload.view()));
      }
      next = entry.id.index + 1;
    }
  }
  membership_.Commit(commit_);
}

void Raft::AppendEntry(Entry entry) {
  const bool changes = entry.type == EntryType::kConfiguration;
  if (changes) {
    membership_.Append(entry.id.index, config_.configuration_of(entry.payload.view()));
  }
  log_.Append(std::move(entry));
  if (changes) OnConfiguration();
}

void Raft::TruncateLog(Index first) {
  log_.TruncateFrom(first);
  if (membership_.TruncateFrom(first)) OnConfiguration();
}

bool Raft::MayChangeConfiguration() const {
  // The change before this one may be uncommitted, or a new leader may not know yet that it is
  // committed. Two changes at once, or one that begins before this leader has committed an entry of
  // its own term, could lead to two majorities without a common member (thesis §4.1 and the
  // correction of 2015).
  const bool own_term = commit_ >= term_start_ || RAFTKV_MUTANT("change-before-own-commit");
  const bool alone = membership_.index() <= commit_ || RAFTKV_MUTANT("two-changes-at-once");
  return own_term && alone;
}

ProposeResult Raft::ProposeConfiguration(Payload payload) {
  if (role_ != Role::kLeader) return ProposeResult::kNotLeader;
  if (!MayChangeConfiguration()) return ProposeResult::kChangePending;
  CHECK(membership_.IsSingleChange(config_.configuration_of(payload.view())))
      << "more than one voter would change";
  return AppendProposal(EntryType::kConfiguration, std::move(payload));
}

// Another configuration is in force.
void Raft::OnConfiguration() {
  next_.events.push_back(ConfigurationChanged{membership_.index(), membership_.current()});
  if (role_ != Role::kLeader) return;
  // A new peer is sent this entry first; its answer tells where its log ends.
  for (MemberId id : membership_.everyone()) AddPeer(id, membership_.index());
  if (!membership_.IsVoter(transferee_)) transferee_ = kNobody;
  // Without the member that was removed, those that have answered may be a majority.
  MaybeConfirmReads();
}

void Raft::AddPeer(MemberId id, Index next_index) {
  if (id == config_.id || peers_.contains(id)) return;
  Progress peer(next_index, {config_.inflight_messages_max, config_.inflight_bytes_max});
  peer.contact_tick = now_;
  peers_.emplace(id, std::move(peer));
}

// The leader sends a removed member the entry that removes it, and tells it once that this entry is
// committed. The member then answers its clients and stops. The leader does not wait for a removed
// member that does not answer.
void Raft::ForgetRemovedPeers() {
  const std::vector<MemberId>& everyone = membership_.everyone();
  if (peers_.size() < everyone.size() || membership_.index() > commit_) return;
  std::erase_if(peers_, [&](const auto& item) {
    const auto& [id, peer] = item;
    if (std::binary_search(everyone.begin(), everyone.end(), id)) return false;
    return peer.told_commit >= membership_.index() ||
           now_ - peer.contact_tick >= uint64_t(config_.election_timeout_ticks);
  });
}

// A leader that is no longer a voter leads only until its removal is committed (thesis §4.2.2). The
// next leader needs no round of pre-votes, because this leader asks it to campaign.
void Raft::MaybeStepAside() {
  if (role_ != Role::kLeader || membership_.IsVoter(config_.id)) return;
  if (membership_.index() > commit_) return;
  const MemberId best = BestTransferee();
  if (best != kNobody && peers_.at(best).match_index() == log_.last_index()) {
    Send(best, TimeoutNow{});
  }
  next_.events.push_back(SteppedDown{term_, SteppedDown::Why::kNoVoter});
  BecomeFollower(term_, kNobody, /*transfer=*/true);
}

}  // namespace raftkv::raft
