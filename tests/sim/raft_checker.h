#ifndef RAFTKV_TESTS_SIM_RAFT_CHECKER_H_
#define RAFTKV_TESTS_SIM_RAFT_CHECKER_H_

// Checks the invariants of Raft over all members, after every turn of a member and at every message
// that a member sends:
//
//   I1  There is at most one leader in a term.
//   I2  Two logs that have the same (term, index) have the same prefix. The checker compares hash
//       chains that it computes itself over the entries.
//   I3  A leader only appends to its log.
//   I4  The first commit of an index decides its entry: every later commit is equal; a member that
//       has reached the term of the commit never removes the entry; every later leader has it.
//   I6  When an entry is committed, it is synced on a majority of the voters.
//   I7  A term and a vote are on disk before a message that depends on them is sent. A member
//       votes for at most one candidate in a term, and only if its data directory allows it. If
//       its log has lost its end, it does not vote before the log is as up-to-date again and has
//       everything of what was lost that was committed at its start. A restart finds the saved
//       term and vote.
//   I9  A leader changes the members only after it has committed an entry of its term, one voter at
//       a time, and while no other change is uncommitted. If the configuration in force at a member
//       comes from a committed entry, it is equal to the configuration in that entry. Learners do
//       not campaign.
//   I8  An acknowledged match is synced. A restart finds all synced entries.
//   I14 A snapshot that is sent or installed ends with a committed entry. Its chain hash is that of
//       the log up to there, and its configuration is the one in force there (ledger.h checks its
//       state).
//
//   term  A member enters a term only after some member became a candidate in it or in a later one.
//
//   transfer  A leader asks only a member that holds its whole log to campaign, and appends nothing
//       while it hands its leadership over.
//
// A member's log may be cut at its front, and a snapshot may replace it. The entries before its
// first one are then still treated as entries of the log.
//
// The checker keeps a copy of the metadata of each member's log as of its last synced batch (its
// shadow). A check costs time in proportion to the change. The ledger has the committed entries.

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/raft/raft.h"
#include "storage/base/monotonic_time.h"
#include "storage/log/log_store.h"
#include "tests/sim/ledger.h"
#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

class RaftChecker {
 public:
  // A leader does not give up a transfer of its leadership within `transfer_time`.
  RaftChecker(int machines, int voters, absl::Duration transfer_time, Ledger* ledger, Marks* marks,
              Verdict* verdict);

  // `member` is the number of a machine, from 0. At first its id is one more.
  void OnStart(int member, const LogStore& log);
  void OnWiped(int member);
  void OnTorn(int member);  // the next start finds that the log has lost its end
  void OnReplaced(int member, raft::MemberId id);  // the machine is another member from now on
  void OnDown(int member);
  // Its process dies now, within a turn. If it leads, others may know what it has committed in this
  // turn, by a configuration that they do not have.
  void OnDying(int member, const raft::Raft& raft);
  // Entry `index` is committed and has this configuration.
  void OnConfiguration(raft::Index index, raft::Configuration configuration);
  // A member sends or installs a snapshot that ends with `base`. `configuration`: the one that it
  // contains; it has no voters if the log does not have the members yet.
  void CheckSnapshot(int member, const LogStore::Tip& base,
                     const raft::Configuration& configuration);
  // Called by the engine right after a synced batch. At this time the log store's memory has this
  // batch and nothing later.
  void OnSynced(int member, const LogStore& log);
  // `synced`: whether everything in the member's log engine is durable.
  void OnSend(int member, const LogStore& log, bool synced, const raft::Message& message);
  // `now` is on the member's clock.
  void AfterTurn(int member, const raft::Raft& raft, MonotonicTime now);

  raft::Index synced_last(int member) const { return shadows_[member].log.size(); }
  raft::Term term(int member) const { return shadows_[member].term; }

 private:
  struct Item {
    raft::Term term = 0;
    uint64_t chain = 0;          // the checker's hash of the log up to here
    uint64_t product_chain = 0;  // the log store's hash of the same
  };
  struct Shadow {
    std::vector<Item> log;  // [0] is entry 1
    // The logs before the data directory was wiped, or before the log lost its end. Leaders may
    // still use their acknowledgements.
    std::vector<std::vector<Item>> lost_logs;
    bool torn = false;           // the next start finds an earlier log
    raft::EntryId lost_last;     // the mark of the lost end, until the log is as up-to-date again
    bool must_catch_up = false;  // the log has lost its end, and the member has not voted since
    raft::Index must_hold = 0;   // what was committed at that start
    raft::HardState hard_state;
    bool leads = false;
    raft::Term term = 0;
    raft::Index commit = 0;
    raft::MemberId transferee = raft::kNobody;
    MonotonicTime transfer_given_up;   // when the transfer to it ends if it has not succeeded
    raft::Index transferred_last = 0;  // the end of the log when the transfer began
    raft::Index configured_at = 0;     // the index of the configuration, and its voters
    std::vector<raft::MemberId> voters;
  };

  void FindLoss(int member, const LogStore& log);
  // After a snapshot replaced the log: its entries are now those of the ledger.
  void Rebase(int member, const LogStore& log);
  // Removes from the shadow the entries that the log no longer has. Returns how many.
  raft::Index Forget(int member, const LogStore& log);
  void CheckLogMatching(int member, raft::Index index, raft::Term term, uint64_t chain);
  void CheckCandidate(int member, const raft::Raft& raft);
  void CheckLeader(int member, const raft::Raft& raft);
  // The member knows that the entries up to `commit` are committed.
  void CheckCommit(int member, const raft::Raft& raft, raft::Index commit);
  void CheckTransfer(int member, const raft::Raft& raft, MonotonicTime now);
  void CheckConfiguration(int member, const raft::Raft& raft);
  void CheckVote(raft::MemberId voter, raft::Term term, raft::MemberId candidate);
  void CheckCaughtUp(int member);
  static bool EverHeld(const Shadow& shadow,
                       const std::function<bool(const std::vector<Item>&)>& holds);
  static raft::EntryId EndOf(const Shadow& shadow);  // its last entry
  const Shadow& ShadowOf(raft::MemberId id) const;
  size_t Holders(const std::vector<raft::MemberId>& voters, raft::Index index,
                 uint64_t chain) const;

  const absl::Duration transfer_time_;
  Ledger* const ledger_;
  Marks* const marks_;
  Verdict* const verdict_;
  std::vector<Shadow> shadows_;
  std::vector<raft::MemberId> ids_;                            // by machine
  std::map<raft::MemberId, Shadow> replaced_;                  // of earlier ids
  std::map<raft::Index, raft::Configuration> configurations_;  // committed; 0: the first one
  std::vector<uint64_t> product_chains_;  // [index - 1]: Item::product_chain of the committed entry
  raft::Term newest_term_ = 0;            // in which a member has voted for itself
  std::map<raft::Term, int> leaders_;
  std::map<std::pair<raft::MemberId, raft::Term>, raft::MemberId> votes_;
  // chains_[index - 1]: the hash at that index for each term that was seen there.
  std::vector<std::vector<std::pair<raft::Term, uint64_t>>> chains_;
  std::vector<raft::Term> orphaned_terms_;  // of leaders that crashed with uncommitted entries
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_RAFT_CHECKER_H_
