#ifndef RAFTKV_TESTS_SIM_LEDGER_H_
#define RAFTKV_TESTS_SIM_LEDGER_H_

// The ledger is the sequence of committed entries of one run. The first commit of an index, on any
// member, adds its entry. The ledger also applies each entry to the model of the key-value store
// (tests/model). Members are checked against the ledger and the model:
//
//   I5   The entries that are handed to an applier are those of the ledger, without a gap, from the
//        applied index of its state machine on.
//   I13  Members with equal applied index have equal digests, also after restarts. Revisions,
//        compacted revisions, answers and contents are those of the model. Members with equal
//        revisions have equal hashes of the history, whatever the progress of their physical
//        compaction.
//   I14  The state in a snapshot that is sent or installed is the one right after the last entry of
//        the snapshot. The digests that it keeps are those after their entries. (raft_checker.h
//        checks the rest of I14.)
//   I16  No command is in the ledger twice. A command of a session may be in several entries: at
//        most one of them is executed, and all answers that the session gives to them are equal.
//        (history.h checks the rest of I16.)
//
// Each client command carries its operation number (MarkOperation), from which the ledger knows
// which operation an entry belongs to.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
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

// Stores the number in an unknown field of the command, which the product keeps.
void MarkOperation(uint64_t operation, proto::Command* command);
uint64_t OperationOf(const proto::Command& command);  // 0: not a client's command

// A client's read: one range, or a transaction of ranges.
using ReadQuery = std::variant<etcdserverpb::RangeRequest, etcdserverpb::TxnRequest>;

class Ledger {
 public:
  // `on_command` is called when an entry with a command was applied to the model. `before` are the
  // model's leases before it. Without `on_command`, the entries have no commands (core_run.h).
  using OnCommand =
      std::function<void(const raft::EntryId& id, const proto::Command& command,
                         const std::map<int64_t, Model::Lease>& before, const Model& model)>;
  Ledger(int members, OnCommand on_command, Verdict* verdict);

  // Adds the next entry at its first commit, which a member in term `committed_in` has reported.
  // The content of the entry follows in OnHandOver.
  void Commit(raft::Index index, raft::Term term, uint64_t chain, raft::Term committed_in);
  raft::Index size() const { return entries_.size(); }
  uint64_t chain(raft::Index index) const { return entries_[index - 1].chain; }
  raft::Term term(raft::Index index) const { return entries_[index - 1].term; }
  raft::Term committed_in(raft::Index index) const { return entries_[index - 1].committed_in; }
  // The last entry that was committed in an earlier term than `term`.
  raft::Index CommittedBefore(raft::Term term) const;

  // A member has started with this state machine.
  void OnStart(int member, const StateMachine& state_machine);
  void OnStart(int member, raft::Index applied);
  // A snapshot up to `index` replaces the state machine.
  void OnInstalled(int member, raft::Index index);
  // A member sends or installs a snapshot that ends with `last` and contains this state.
  void CheckSnapshot(int member, const raft::EntryId& last, const StateMachine& state_machine);
  void OnHandOver(int member, const std::vector<raft::Entry>& entries);
  void AfterApply(int member, const StateMachine& state_machine);
  raft::Index handed_over(int member) const { return handed_over_[member]; }

  // The index of an operation's entry; 0: it was never applied.
  raft::Index AppliedAt(uint64_t operation) const {
    return operation < applied_at_.size() ? applied_at_[operation] : 0;
  }
  // The entry of this command of a session that was executed; 0: none was.
  raft::Index ExecutedAt(const proto::Session& session) const {
    const auto found = executed_at_.find({session.lease_id(), session.seq()});
    return found == executed_at_.end() ? 0 : found->second;
  }
  // The model's state right after entry `index`.
  Model::Moment MomentAt(raft::Index index) const {
    return index == 0 ? Model::Moment() : entries_[index - 1].after;
  }
  // Compare with the model: the result of entry `index`, and the answer of a pinned state to a
  // read. Return the difference, or an empty string. `status` is set to the status of the read.
  std::string Compare(raft::Index index, const ApplyResult& result) const;
  std::string CompareRead(const StateSnapshot& snapshot, const ReadQuery& query,
                          absl::Status* status) const;
  // Checks the hash of the history up to `revision` (0: the newest). With 0, also the hash of the
  // whole state.
  void CheckHashes(int member, const StateMachine& state_machine, Revision revision);
  // Checks the hashes, and the contents at the newest revision and at some past ones.
  void CheckWhole(int member, const StateMachine& state_machine, Rng* rng);
  // Checks which versions the engine of a member has. Its physical compaction must be done.
  void CheckStored(int member, raft::Index applied, const Engine& engine);

  // With every entry whose content is known.
  const Model& model() const { return model_; }
  // The last entry whose content is known.
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
    // Set when the first member has this applied index.
    bool digest_known = false;
    uint64_t digest = 0;
  };

  void Learn(const raft::Entry& entry);
  void LearnSession(raft::Index index, const proto::Session& session, Revision before);
  void CheckState(int member, const StateMachine& state_machine);

  const OnCommand on_command_;
  Verdict* const verdict_;
  std::vector<Item> entries_;
  raft::Index known_ = 0;
  Model model_{SmallRulesOf};
  std::vector<raft::Index> handed_over_;                             // by member
  std::vector<raft::Index> applied_at_;                              // by operation
  std::map<std::pair<int64_t, uint64_t>, raft::Index> executed_at_;  // by session and number
  // The first hashes that a member reported. Hashes of keys: by (compacted, revision); from
  // kHashKvVersion on by revision alone.
  std::map<std::pair<std::optional<Revision>, Revision>, uint32_t> history_hashes_;
  std::map<raft::Index, uint32_t> hashes_;  // of the whole state, by applied index
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_LEDGER_H_
