#ifndef RAFTKV_TESTS_SIM_LEDGER_H_
#define RAFTKV_TESTS_SIM_LEDGER_H_

// The committed sequence, as the first commit of each index has fixed it, and what the model of the
// key-value store (tests/model) says that it means. Members are compared with it, never it with
// them:
//
//   I5   what is handed to an applier is the ledger, without a gap, from where its state machine
//        stood
//   I13  equal digests at equal applied index, on every member, however often it was restarted;
//        revisions, compacted revisions, answers and contents as the model's; equal hashes of the
//        history at equal revisions, however far a member's physical compaction is
//   I16  (its part) no command is in the ledger twice
//
// Clients mark each command with an operation number which survives in its bytes: OperationOf.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "proto/command.pb.h"
#include "server/raft/types.h"
#include "storage/state_machine.h"
#include "tests/model/model.h"
#include "tests/model/small_rules.h"
#include "tests/sim/rng.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

uint64_t HashBytes(std::string_view bytes);
uint64_t EntryHash(const raft::Entry& entry);

// The number rides in a field that the product does not know and so carries along.
void MarkOperation(uint64_t operation, proto::Command* command);
uint64_t OperationOf(const proto::Command& command);  // 0: not a client's

// What a client reads: one range, or a transaction of ranges.
using ReadQuery = std::variant<etcdserverpb::RangeRequest, etcdserverpb::TxnRequest>;

class Ledger {
 public:
  explicit Ledger(int members, Verdict* verdict);

  // The next entry's first commit, seen at a member in `committed_in`. Its content is told later.
  void Commit(raft::Index index, raft::Term term, uint64_t chain, raft::Term committed_in);
  raft::Index size() const { return entries_.size(); }
  uint64_t chain(raft::Index index) const { return entries_[index - 1].chain; }
  raft::Term committed_in(raft::Index index) const { return entries_[index - 1].committed_in; }
  // The last entry that was committed in an earlier term than `term`.
  raft::Index CommittedBefore(raft::Term term) const;

  // A member's state machine starts at `applied`.
  void OnStart(int member, const StateMachine& state_machine);
  void OnHandOver(int member, const std::vector<raft::Entry>& entries);
  void AfterApply(int member, const StateMachine& state_machine);
  raft::Index handed_over(int member) const { return handed_over_[member]; }

  // Operations by number; 0: never applied.
  raft::Index AppliedAt(uint64_t operation) const {
    return operation < applied_at_.size() ? applied_at_[operation] : 0;
  }
  // What the store was right after entry `index`.
  Model::Moment MomentAt(raft::Index index) const {
    return index == 0 ? Model::Moment() : entries_[index - 1].after;
  }
  // Against the model, empty or the difference: what entry `index` answered, and what a pinned
  // state answers to a read. `status` is what both answered.
  std::string Compare(raft::Index index, const ApplyResult& result) const;
  std::string CompareRead(const StateSnapshot& snapshot, const ReadQuery& query,
                          absl::Status* status) const;
  // Hashes of the history up to `revision` (0: the newest), and of everything.
  void CheckHashes(int member, const StateMachine& state_machine, Revision revision);
  // Everything that can be read: the newest, some of the past, the hashes.
  void CheckWhole(int member, const StateMachine& state_machine, Rng* rng);
  // Of a member whose physical compaction is done, what its engine holds.
  void CheckStored(int member, raft::Index applied, const Engine& engine);

  // Everything committed is known, content included.
  raft::Index known() const { return known_; }

 private:
  struct Item {
    raft::Term term = 0;
    uint64_t chain = 0;
    raft::Term committed_in = 0;
    // Valid up to known_.
    uint64_t hash = 0;
    Model::Answer expected;
    Model::Moment after = {};
    // Valid once some member stood exactly here.
    bool digest_known = false;
    uint64_t digest = 0;
  };

  void Learn(const raft::Entry& entry);
  void CheckState(int member, const StateMachine& state_machine);

  Verdict* const verdict_;
  std::vector<Item> entries_;
  raft::Index known_ = 0;
  Model model_{SmallRulesOf};
  std::vector<raft::Index> handed_over_;  // by member
  std::vector<raft::Index> applied_at_;   // by operation
  // As first seen: by compacted revision and revision; by applied index.
  std::map<std::pair<Revision, Revision>, uint32_t> history_hashes_;
  std::map<raft::Index, uint32_t> hashes_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_LEDGER_H_
