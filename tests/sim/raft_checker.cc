#include "tests/sim/raft_checker.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "absl/strings/str_format.h"

namespace raftkv::sim {

namespace {

std::string Name(int member) { return absl::StrFormat("n%d", member + 1); }

}  // namespace

RaftChecker::RaftChecker(int machines, int voters, absl::Duration transfer_time, Ledger* ledger,
                         Marks* marks, Verdict* verdict)
    : transfer_time_(transfer_time),
      ledger_(ledger),
      marks_(marks),
      verdict_(verdict),
      shadows_(machines) {
  for (int i = 1; i <= machines; ++i) ids_.push_back(i);
  for (int i = 1; i <= voters; ++i) configurations_[0].voters.push_back(i);
}

void RaftChecker::OnConfiguration(raft::Index index, raft::Configuration configuration) {
  configurations_[index] = std::move(configuration);
}

raft::EntryId RaftChecker::EndOf(const Shadow& shadow) {
  if (shadow.log.empty()) return {};
  return {shadow.log.back().term, shadow.log.size()};
}

const RaftChecker::Shadow& RaftChecker::ShadowOf(raft::MemberId id) const {
  static const Shadow* const none = new Shadow;
  const size_t machine = (id - 1) % shadows_.size();
  if (ids_[machine] == id) return shadows_[machine];
  const auto replaced = replaced_.find(id);
  return replaced == replaced_.end() ? *none : replaced->second;
}

// --- starts and crashes --------------------------------------------------------------------------

// A start must find exactly what was synced; after a tear, an earlier log.
void RaftChecker::OnStart(int member, const LogStore& log) {
  Shadow& shadow = shadows_[member];
  const raft::HardState found = log.hard_state();
  const raft::HardState& known = shadow.hard_state;
  if (found.current_term != known.current_term || found.voted_for != known.voted_for) {
    verdict_->Fail(
        "I7", absl::StrFormat("%s restarted with term %d and vote %d, but had saved %d and %d",
                              Name(member), found.current_term, found.voted_for, known.current_term,
                              known.voted_for));
  }
  const raft::Index last = shadow.log.size();
  if (std::exchange(shadow.torn, false)) {
    FindLoss(member, log);
  } else if (log.lost() && EndOf(shadow) >= shadow.lost_last) {  // below it, it is not repaired yet
    verdict_->Fail("I8", absl::StrFormat("%s misses entries that it never saved", Name(member)));
  } else if (log.last_index() != last ||
             (last > 0 && log.ChainHash(last) != shadow.log.back().product_chain)) {
    verdict_->Fail("I8",
                   absl::StrFormat("%s restarted with %d entries, which differ from the %d synced",
                                   Name(member), log.last_index(), last));
  }
  shadow.leads = false;
  shadow.commit = 0;
  shadow.transferee = raft::kNobody;
}

// The log is one that the member had before. Leaders may still use the acknowledgements of what is
// lost. If the member was torn before its log was repaired, what it had lost first still counts.
// The mark may be older than the end of the log that was lost.
void RaftChecker::FindLoss(int member, const LogStore& log) {
  Shadow& shadow = shadows_[member];
  if (log.lost()) shadow.lost_last = std::max(shadow.lost_last, log.lost()->last);
  shadow.must_catch_up = true;
  shadow.must_hold = ledger_->size();
  shadow.lost_logs.push_back(shadow.log);
  raft::Index same = std::min<raft::Index>(shadow.log.size(), log.last_index());
  while (same >= log.first_index() && (log.TermAt(same) != shadow.log[same - 1].term ||
                                       log.ChainHash(same) != shadow.log[same - 1].product_chain)) {
    --same;
  }
  shadow.log.resize(same);
  OnSynced(member, log);
}

void RaftChecker::OnTorn(int member) { shadows_[member].torn = true; }

void RaftChecker::OnWiped(int member) {
  Shadow fresh;
  fresh.lost_logs = std::move(shadows_[member].lost_logs);
  fresh.lost_logs.push_back(std::move(shadows_[member].log));
  shadows_[member] = std::move(fresh);
}

void RaftChecker::OnReplaced(int member, raft::MemberId id) {
  replaced_[ids_[member]] = std::exchange(shadows_[member], {});
  ids_[member] = id;
}

void RaftChecker::OnDown(int member) {
  Shadow& shadow = shadows_[member];
  if (shadow.leads && shadow.log.size() > shadow.commit) {
    marks_->Hit(Mark::kLeaderCrashedUncommitted);
    orphaned_terms_.push_back(shadow.term);
  }
  shadow.leads = false;
}

// --- messages ------------------------------------------------------------------------------------

void RaftChecker::CheckVote(raft::MemberId voter, raft::Term term, raft::MemberId candidate) {
  const auto [it, first] = votes_.emplace(std::pair{voter, term}, candidate);
  if (!first && it->second != candidate) {
    verdict_->Fail("I7", absl::StrFormat("n%d voted for both n%d and n%d in term %d", voter,
                                         it->second, candidate, term));
  }
}

// A member that had lost entries votes for the first time again. It has everything that it had
// before and that was committed when it started. What was committed later may lack here, if the
// leader did not count this member for it.
void RaftChecker::CheckCaughtUp(int member) {
  const Shadow& shadow = shadows_[member];
  for (const std::vector<Item>& lost : shadow.lost_logs) {
    raft::Index last = std::min<raft::Index>(lost.size(), shadow.must_hold);
    while (last > 0 && lost[last - 1].chain != ledger_->chain(last)) --last;
    if (last == 0) continue;
    if (shadow.log.size() < last || shadow.log[last - 1].chain != ledger_->chain(last)) {
      verdict_->Fail("I7", absl::StrFormat("%s votes, but still lacks entry %d, which it had lost "
                                           "and which is committed",
                                           Name(member), last));
    }
  }
}

void RaftChecker::OnSend(int member, const LogStore& log, bool synced,
                         const raft::Message& message) {
  Shadow& shadow = shadows_[member];
  const raft::HardState durable = synced ? log.hard_state() : shadow.hard_state;
  const raft::Index durable_last = synced ? log.last_index() : shadow.log.size();

  const auto* request = std::get_if<raft::RequestVote>(&message.body);
  const auto* vote = std::get_if<raft::RequestVoteReply>(&message.body);
  if ((request != nullptr && request->pre_vote) || (vote != nullptr && vote->pre_vote)) return;

  if (durable.current_term < message.term) {
    verdict_->Fail("I7", absl::StrFormat("%s sends a message of term %d with term %d on disk",
                                         Name(member), message.term, durable.current_term));
  }
  const bool votes = request != nullptr || (vote != nullptr && vote->granted);
  if (votes && !log.may_vote()) {
    verdict_->Fail("I7", absl::StrFormat("%s votes in term %d before its data directory allows it",
                                         Name(member), message.term));
  }
  if (votes && shadow.lost_last != raft::EntryId{}) {
    verdict_->Fail("I7", absl::StrFormat("%s votes in term %d before its log is repaired",
                                         Name(member), message.term));
  }
  if (votes) {
    const raft::MemberId candidate = request != nullptr ? message.from : message.to;
    if (durable.current_term == message.term && durable.voted_for != candidate) {
      verdict_->Fail("I7",
                     absl::StrFormat("%s votes for n%d in term %d with a vote for n%d on disk",
                                     Name(member), candidate, message.term, durable.voted_for));
    }
    CheckVote(message.from, message.term, candidate);
    if (std::exchange(shadow.must_catch_up, false)) CheckCaughtUp(member);
  }
  if (std::holds_alternative<raft::AppendEntries>(message.body)) {
    const auto [it, first] = leaders_.emplace(message.term, member);
    if (it->second != member) {
      verdict_->Fail("I1", absl::StrFormat("%s sends appends in term %d, which n%d leads",
                                           Name(member), message.term, it->second + 1));
    }
  }
  if (std::holds_alternative<raft::TimeoutNow>(message.body)) {
    const Shadow& target = ShadowOf(message.to);
    const raft::Index last = log.last_index();
    const auto holds = [&](const std::vector<Item>& items) {
      return items.size() >= last &&
             (last == 0 || items[last - 1].product_chain == log.ChainHash(last));
    };
    // In a later term, the target may have replaced what it acknowledged. It ignores the message.
    const bool later = target.hard_state.current_term > message.term;
    if (!later && !EverHeld(target, holds)) {
      verdict_->Fail("transfer", absl::StrFormat("%s asks n%d to campaign, which lacks entry %d",
                                                 Name(member), message.to, last));
    }
  }
  const auto* ack = std::get_if<raft::AppendEntriesReply>(&message.body);
  if (ack != nullptr && ack->success && ack->match > durable_last) {
    verdict_->Fail("I8", absl::StrFormat("%s acknowledges %d entries with %d synced", Name(member),
                                         ack->match, durable_last));
  }
}

// --- turns ---------------------------------------------------------------------------------------

void RaftChecker::AfterTurn(int member, const raft::Raft& raft, MonotonicTime now) {
  CheckCandidate(member, raft);
  CheckLeader(member, raft);
  CheckCommit(member, raft, raft.commit_index());
  CheckTransfer(member, raft, now);
  CheckConfiguration(member, raft);
}

void RaftChecker::OnSynced(int member, const LogStore& log) {
  Shadow& shadow = shadows_[member];
  Rebase(member, log);
  const raft::Index removed = Forget(member, log);
  shadow.hard_state = log.hard_state();
  if (shadow.hard_state.voted_for == ids_[member]) {
    newest_term_ = std::max(newest_term_, shadow.hard_state.current_term);
  }
  if (removed > 0 && shadow.leads && shadow.hard_state.current_term == shadow.term) {
    verdict_->Fail("I3", absl::StrFormat("%s removed entries while it led term %d", Name(member),
                                         shadow.term));
  }
  const raft::Index known = shadow.log.size();
  for (const raft::Entry& entry : log.Entries(known + 1, log.last_index(), SIZE_MAX)) {
    const uint64_t before = shadow.log.empty() ? 0 : shadow.log.back().chain;
    const uint64_t chain = Mix(before, EntryHash(entry));
    CheckLogMatching(member, entry.id.index, entry.id.term, chain);
    shadow.log.push_back({entry.id.term, chain, log.ChainHash(entry.id.index)});
  }
  if (EndOf(shadow) >= shadow.lost_last) shadow.lost_last = {};
}

void RaftChecker::Rebase(int member, const LogStore& log) {
  Shadow& shadow = shadows_[member];
  const raft::Index base = log.first_index() - 1;
  const auto at_base = [&] { return shadow.log[base - 1]; };
  if (base == 0 || (shadow.log.size() >= base && at_base().term == log.TermAt(base) &&
                    at_base().product_chain == log.ChainHash(base))) {
    return;
  }
  if (base > ledger_->size() || ledger_->term(base) != log.TermAt(base)) {
    verdict_->Fail("I4",
                   absl::StrFormat("the log of %s begins after entry %d, which is not committed",
                                   Name(member), base));
    return;
  }
  for (raft::Index index = base + 1;
       index <= std::min<raft::Index>(shadow.log.size(), ledger_->size()); ++index) {
    if (shadow.log[index - 1].chain != ledger_->chain(index)) break;
    verdict_->Fail("I4", absl::StrFormat("a snapshot up to %d removed entry %d of %s, which is "
                                         "committed",
                                         base, index, Name(member)));
  }
  shadow.log.resize(base);
  for (raft::Index index = 1; index <= base; ++index) {
    Item& item = shadow.log[index - 1];
    if (item.chain == ledger_->chain(index) && item.term == ledger_->term(index)) continue;
    item = {ledger_->term(index), ledger_->chain(index), 0};
  }
  shadow.log.back().product_chain = log.ChainHash(base);
}

// Searches for the last common entry from the end, so the cost depends only on the removed entries.
raft::Index RaftChecker::Forget(int member, const LogStore& log) {
  Shadow& shadow = shadows_[member];
  raft::Index same = std::min<raft::Index>(shadow.log.size(), log.last_index());
  while (same >= log.first_index() && (log.TermAt(same) != shadow.log[same - 1].term ||
                                       log.ChainHash(same) != shadow.log[same - 1].product_chain)) {
    --same;
  }
  const raft::Index removed = shadow.log.size() - same;
  // A member that has not reached the term of the commit may remove its copy of the entry, because
  // of a delayed append of an older leader. It has acknowledged nothing in that term.
  if (removed > 0 && same < ledger_->size() && ledger_->chain(same + 1) == shadow.log[same].chain &&
      shadow.hard_state.current_term >= ledger_->committed_in(same + 1)) {
    verdict_->Fail(
        "I4", absl::StrFormat("%s removed entry %d, which is committed", Name(member), same + 1));
  }
  shadow.log.resize(same);
  return removed;
}

void RaftChecker::CheckLogMatching(int member, raft::Index index, raft::Term term, uint64_t chain) {
  if (chains_.size() < index) chains_.resize(index);
  for (const auto& [seen_term, seen_chain] : chains_[index - 1]) {
    if (seen_term != term) continue;
    if (seen_chain != chain) {
      verdict_->Fail("I2",
                     absl::StrFormat("%s has entry (term %d, index %d), but its content or the "
                                     "entries before it differ from another member's",
                                     Name(member), term, index));
    }
    return;
  }
  chains_[index - 1].emplace_back(term, chain);
}

void RaftChecker::CheckSnapshot(int member, const LogStore::Tip& base,
                                const raft::Configuration& configuration) {
  const raft::Index index = base.id.index;
  const auto fail = [&](const char* what) {
    verdict_->Fail("I14", absl::StrFormat("the snapshot of %s that ends with entry %d (term %d) %s",
                                          Name(member), index, base.id.term, what));
  };
  if (index == 0 || index > ledger_->size() || ledger_->term(index) != base.id.term) {
    return fail("does not end with a committed entry");
  }
  if (product_chains_[index - 1] != base.chain_hash) {
    fail("has another chain hash than the log up to there");
  }
  if (!configuration.voters.empty() &&
      configuration != std::prev(configurations_.upper_bound(index))->second) {
    fail("has another configuration than the one in force there");
  }
}

void RaftChecker::CheckCandidate(int member, const raft::Raft& raft) {
  if (raft.term() > newest_term_) {
    verdict_->Fail("term", absl::StrFormat("%s is in term %d, and nobody was a candidate after %d",
                                           Name(member), raft.term(), newest_term_));
  }
  const bool campaigns =
      raft.role() == raft::Role::kPreCandidate || raft.role() == raft::Role::kCandidate;
  if (campaigns && !raft.membership().MayBeVoter(ids_[member])) {
    verdict_->Fail("I9", absl::StrFormat("%s campaigns in term %d, but is no voter", Name(member),
                                         raft.term()));
  }
}

void RaftChecker::CheckLeader(int member, const raft::Raft& raft) {
  Shadow& shadow = shadows_[member];
  const bool leads = raft.role() == raft::Role::kLeader;
  const bool elected = leads && !(shadow.leads && shadow.term == raft.term());
  shadow.leads = leads;
  shadow.term = raft.term();
  if (!elected) return;

  const auto [it, first] = leaders_.emplace(raft.term(), member);
  if (it->second != member) {
    verdict_->Fail("I1", absl::StrFormat("n%d and %s both lead term %d", it->second + 1,
                                         Name(member), raft.term()));
  }
  for (int other = 0; other < static_cast<int>(shadows_.size()); ++other) {
    if (other != member && shadows_[other].leads) marks_->Hit(Mark::kLeadersApart);
  }
  // Leader Completeness (§5.4): a leader has all entries that were committed in earlier terms.
  const raft::Index must_hold = ledger_->CommittedBefore(raft.term());
  if (must_hold > 0 && (shadow.log.size() < must_hold ||
                        shadow.log[must_hold - 1].chain != ledger_->chain(must_hold))) {
    verdict_->Fail("I4", absl::StrFormat("%s leads term %d without entry %d, which is committed",
                                         Name(member), raft.term(), must_hold));
  }
}

// In one turn a leader may give up a transfer, append, and begin another one to the same member.
void RaftChecker::CheckTransfer(int member, const raft::Raft& raft, MonotonicTime now) {
  Shadow& shadow = shadows_[member];
  const bool same = raft.transferee() != raft::kNobody && raft.transferee() == shadow.transferee &&
                    now < shadow.transfer_given_up;
  if (same && raft.last_index() != shadow.transferred_last) {
    verdict_->Fail("transfer", absl::StrFormat("%s appended entry %d during a transfer to n%d",
                                               Name(member), raft.last_index(), raft.transferee()));
  }
  if (raft.transferee() != shadow.transferee) shadow.transfer_given_up = now + transfer_time_;
  shadow.transferee = raft.transferee();
  shadow.transferred_last = raft.last_index();
}

void RaftChecker::CheckConfiguration(int member, const raft::Raft& raft) {
  Shadow& shadow = shadows_[member];
  const raft::Membership& membership = raft.membership();
  const raft::Index index = membership.index(), commit = raft.commit_index();
  const auto term_at = [&](raft::Index i) { return i == 0 ? 0 : shadow.log[i - 1].term; };
  if (shadow.leads && index > shadow.configured_at && index <= shadow.log.size() &&
      term_at(index) == raft.term()) {
    if (term_at(commit) != raft.term()) {
      verdict_->Fail("I9", absl::StrFormat("%s changes the members before it has committed an "
                                           "entry of term %d",
                                           Name(member), raft.term()));
    }
    if (membership.NumberAfter(commit) > 1) {
      verdict_->Fail(
          "I9", absl::StrFormat("%s has two uncommitted changes of the members", Name(member)));
    }
  }
  const bool committed = index == 0 || (index <= ledger_->known() && index <= shadow.log.size() &&
                                        shadow.log[index - 1].chain == ledger_->chain(index));
  const auto last = std::prev(configurations_.upper_bound(index));
  if (committed && !membership.voters().empty() && membership.current() != last->second) {
    verdict_->Fail("I9", absl::StrFormat("%s has another configuration in force at entry %d than "
                                         "entry %d has committed",
                                         Name(member), index, last->first));
  }
  shadow.configured_at = index;
  shadow.voters = membership.voters();
}

size_t RaftChecker::Holders(const std::vector<raft::MemberId>& voters, raft::Index index,
                            uint64_t chain) const {
  const auto holds = [&](const std::vector<Item>& log) {
    return log.size() >= index && log[index - 1].chain == chain;
  };
  return std::count_if(voters.begin(), voters.end(),
                       [&](raft::MemberId id) { return EverHeld(ShadowOf(id), holds); });
}

bool RaftChecker::EverHeld(const Shadow& shadow,
                           const std::function<bool(const std::vector<Item>&)>& holds) {
  return holds(shadow.log) || std::any_of(shadow.lost_logs.begin(), shadow.lost_logs.end(), holds);
}

void RaftChecker::OnDying(int member, const raft::Raft& raft) {
  if (raft.role() != raft::Role::kLeader) return;
  // It may have committed entries that it has not saved itself.
  const Shadow& shadow = shadows_[member];
  const raft::Index commit = std::min<raft::Index>(raft.commit_index(), shadow.log.size());
  if (commit > shadow.commit) CheckCommit(member, raft, commit);
}

void RaftChecker::CheckCommit(int member, const raft::Raft& raft, raft::Index commit) {
  Shadow& shadow = shadows_[member];
  if (commit == shadow.commit) return;
  if (commit < shadow.commit) {
    verdict_->Fail("I4", absl::StrFormat("the commit index of %s went back from %d to %d",
                                         Name(member), shadow.commit, commit));
    return;
  }
  if (commit > shadow.log.size()) {
    verdict_->Fail("I4", absl::StrFormat("%s commits %d entries but has %d", Name(member), commit,
                                         shadow.log.size()));
    return;
  }
  const raft::Index known = std::min<raft::Index>(commit, ledger_->size());
  if (known > 0 && shadow.log[known - 1].chain != ledger_->chain(known)) {
    verdict_->Fail("I4",
                   absl::StrFormat("%s commits entry %d, which differs from the committed one",
                                   Name(member), known));
    return;
  }
  // In one turn a leader may commit entries and then change the members. So a majority of the
  // voters before the turn is enough, too.
  const std::vector<raft::MemberId>& voters = raft.membership().voters();
  const auto majority_holds = [&](const std::vector<raft::MemberId>& of, const Item& item,
                                  raft::Index index) {
    return Holders(of, index, item.chain) >= of.size() / 2 + 1;
  };
  for (raft::Index index = ledger_->size() + 1; index <= commit; ++index) {
    const Item& item = shadow.log[index - 1];
    if (!majority_holds(voters, item, index) &&
        (shadow.voters.empty() || !majority_holds(shadow.voters, item, index))) {
      verdict_->Fail(
          "I6", absl::StrFormat("%s commits entry %d (term %d), which is synced on %d of %d",
                                Name(member), index, item.term, Holders(voters, index, item.chain),
                                voters.size()));
      return;
    }
    ledger_->Commit(index, item.term, item.chain, raft.term());
    product_chains_.push_back(item.product_chain);
    if (item.term < raft.term()) {
      marks_->Hit(Mark::kOldTermCommitted);
      if (std::find(orphaned_terms_.begin(), orphaned_terms_.end(), item.term) !=
          orphaned_terms_.end()) {
        marks_->Hit(Mark::kUncommittedSurvived);
      }
    }
  }
  shadow.commit = commit;
}

}  // namespace raftkv::sim
