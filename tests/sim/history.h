#ifndef RAFTKV_TESTS_SIM_HISTORY_H_
#define RAFTKV_TESTS_SIM_HISTORY_H_

// What clients were told, against the ledger. Each answer carries a revision, which makes it a
// witness of where in the order of writes it belongs; so a history of any length is checked in one
// pass instead of by a search:
//
//   I10  a read shows at least the newest revision, and the newest compaction, that anybody had
//        been told of when it was invoked, and answers exactly as the model's state there
//   I16  a write, transaction or compaction that was acknowledged is in the ledger, once, behind
//        everything that had been acknowledged when it was invoked, with the answer that the model
//        gives and, if it changed something, a revision newer than all that anybody had been told
//        of; one that was refused ("certainly not applied") never is; of transactions that put a
//        key if its mod_revision is r, one succeeds; each request is answered at most once, and by
//        its member's orderly end exactly once
//
// Together with one ledger for all members this is strict serializability of what was answered.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/member/requests.h"
#include "storage/state_machine.h"
#include "tests/sim/ledger.h"
#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

std::string FateName(Fate fate);

class History {
 public:
  History(const Ledger* ledger, Marks* marks, Verdict* verdict);

  // Operations are numbered from 1.
  uint64_t next() const { return operations_.size() + 1; }
  uint64_t Invoke(int member, proto::Command* command);  // puts its number into the command
  uint64_t Invoke(int member, ReadQuery query);
  void OnProposed(uint64_t operation, Fate fate, const ApplyResult& result);
  void OnRead(uint64_t operation, Fate fate, const StateMachine& state_machine);
  // The member's process ended: nobody will ever answer what it had not answered.
  void OnDown(int member);
  // When everything is over: nothing refused was applied.
  void Finish();

  bool answered(uint64_t operation) const { return operations_[operation - 1].answered; }
  bool lost(uint64_t operation) const { return operations_[operation - 1].lost; }
  bool succeeded(uint64_t operation) const {
    return answered(operation) && operations_[operation - 1].fate == Fate::kApplied;
  }
  uint64_t acknowledged_writes() const { return acknowledged_; }
  uint64_t reads() const { return reads_; }
  uint64_t pending() const { return pending_; }
  uint64_t Unanswered(int member) const;
  // What clients know, and build requests from.
  Revision told() const { return told_; }
  Revision told_compacted() const { return told_compacted_; }
  Revision told_mod(const std::string& key) const {
    const auto found = told_mods_.find(key);
    return found == told_mods_.end() ? 0 : found->second;
  }

 private:
  struct Operation {
    int member = 0;
    bool read = false;
    ReadQuery query = {};         // of a read
    proto::Command command = {};  // else
    Revision floor = 0;           // the newest revision anybody had been told of
    Revision compacted = -1;      // and the newest compaction
    raft::Index after = 0;        // the last entry of all that were acknowledged
    bool answered = false;
    bool lost = false;
    Fate fate = Fate::kApplied;
  };

  bool Answer(uint64_t operation, Fate fate);
  uint64_t Invoke(Operation operation);
  void CheckAcknowledged(uint64_t number, const Operation& operation, const ApplyResult& result);
  void Learn(uint64_t number, const proto::Command& command, const ApplyResult& result);
  void LearnTxn(uint64_t number, const etcdserverpb::TxnRequest& request,
                const ApplyResult& result);

  const Ledger* const ledger_;
  Marks* const marks_;
  Verdict* const verdict_;
  std::vector<Operation> operations_;
  Revision told_ = 0;
  Revision told_compacted_ = -1;
  raft::Index acknowledged_index_ = 0;
  std::map<std::string, Revision> told_mods_;  // of puts
  // Who put a key on the condition that its mod_revision was this one.
  std::map<std::pair<std::string, Revision>, uint64_t> swapped_;
  uint64_t acknowledged_ = 0;
  uint64_t reads_ = 0;
  uint64_t pending_ = 0;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_HISTORY_H_
