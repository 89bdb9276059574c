#ifndef RAFTKV_TESTS_SIM_RAFT_CHECKER_H_
#define RAFTKV_TESTS_SIM_RAFT_CHECKER_H_

// What must hold between members, checked after every turn of one of them and at every message that
// leaves one:
//
//   I1  at most one leader a term, ever
//   I2  two logs that hold the same (term, index) hold the same prefix: compared by a hash chain of
//       our own over what the members' logs answer
//   I3  a leader only appends
//   I4  the first commit of an index decides it: every later commit is equal, whoever
//       has been in the term of the commit never removes it, and every later leader holds it
//   I6  what is committed is on the synced storage of a majority at that moment
//   I7  a term and a vote are on disk before a message that depends on them; no vote is given
//   twice;
//       neither goes backwards over restarts
//   I8  an acknowledged match is synced; and a restart finds what was synced
//
// The checker keeps a shadow of each member's log as of its last synced batch. Checks cost what has
// changed, not what there is. The committed sequence itself is the Ledger's.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/raft/raft.h"
#include "storage/log/log_store.h"
#include "tests/sim/ledger.h"
#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

class RaftChecker {
 public:
  RaftChecker(int members, Ledger* ledger, Marks* marks, Verdict* verdict);

  // Members are named by their number from 0; their id is one more.
  void OnStart(int member, const LogStore& log);
  void OnWiped(int member);
  void OnDown(int member);
  // From inside the engine, right after a synced batch that has survived: the log store has that
  // batch in its memory already, and nothing that follows it yet.
  void OnSynced(int member, const LogStore& log);
  // `synced`: everything in the member's log engine is durable.
  void OnSend(int member, const LogStore& log, bool synced, const raft::Message& message);
  void AfterTurn(int member, const raft::Raft& raft);

  raft::Index synced_last(int member) const { return shadows_[member].log.size(); }
  raft::Term term(int member) const { return shadows_[member].term; }

 private:
  struct Item {
    raft::Term term = 0;
    uint64_t chain = 0;          // ours, over everything up to here
    uint64_t product_chain = 0;  // the log store's own
  };
  struct Shadow {
    std::vector<Item> log;  // [0] is entry 1
    // Before its directory was lost: what it acknowledged then may still be counted.
    std::vector<Item> wiped_log;
    raft::HardState hard_state;
    bool leads = false;
    raft::Term term = 0;
    raft::Index commit = 0;
  };

  // Removes from the shadow what the log does not hold (any more): the number of entries.
  raft::Index Forget(int member, const LogStore& log);
  void CheckLogMatching(int member, raft::Index index, raft::Term term, uint64_t chain);
  void CheckLeader(int member, const raft::Raft& raft);
  void CheckCommit(int member, const raft::Raft& raft);
  void CheckVote(int member, raft::Term term, raft::MemberId candidate);
  int Holders(raft::Index index, uint64_t chain) const;

  Ledger* const ledger_;
  Marks* const marks_;
  Verdict* const verdict_;
  std::vector<Shadow> shadows_;
  std::map<raft::Term, int> leaders_;
  std::map<std::pair<int, raft::Term>, raft::MemberId> votes_;
  // chains_[index - 1]: what was seen at that index, one a term.
  std::vector<std::vector<std::pair<raft::Term, uint64_t>>> chains_;
  std::vector<raft::Term> orphaned_terms_;  // of leaders that went down with uncommitted entries
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_RAFT_CHECKER_H_
