#ifndef RAFTKV_TESTS_SIM_HISTORY_H_
#define RAFTKV_TESTS_SIM_HISTORY_H_

// Checks the answers that clients got against the ledger. Each answer has a revision, which tells
// its position in the order of writes. So a history of any length is checked in one pass, without a
// search. A revision is *known* when an answer to some client had it. The rules:
//
//   I10  A read shows at least the newest revision and compaction that were known when it was
//        invoked. Its answer is that of the model at the revision that it shows.
//   I16  An acknowledged write, transaction or compaction is in the ledger exactly once, after
//        everything that was acknowledged when it was invoked, and with the model's answer. If it
//        changed keys, its revision is newer than all that were known then. A request that
//        certainly failed is never in the ledger. Of the transactions that put a key if its
//        mod_revision is r, at most one succeeds. Operations that send the same command of a
//        session are one request in this respect. Each request is answered at most once; if its
//        member has stopped orderly, exactly once.
//
// Together with one ledger for all members, this means that the answers are strictly serializable.

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
  // Adds the number to the command. `first`: the operation that has sent the same command of a
  // session before; 0: none.
  uint64_t Invoke(int member, proto::Command* command, uint64_t first = 0);
  uint64_t Invoke(int member, ReadQuery query);
  void OnProposed(uint64_t operation, Fate fate, const ApplyResult& result);
  void OnRead(uint64_t operation, Fate fate, const StateMachine& state_machine);
  // The member's process ended. Its unanswered operations will never be answered.
  void OnDown(int member);
  // Call it at the end of a run. Checks that no operation that certainly failed was applied.
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
  // The clients' knowledge, from which they build requests.
  Revision known_revision() const { return known_revision_; }
  Revision known_compacted() const { return known_compacted_; }
  Revision known_mod(const std::string& key) const {
    const auto found = known_mods_.find(key);
    return found == known_mods_.end() ? 0 : found->second;
  }

 private:
  struct Operation {
    int member = 0;
    bool read = false;
    ReadQuery query = {};         // if it is a read
    proto::Command command = {};  // otherwise
    // When it was invoked:
    Revision floor = 0;       // the newest known revision
    Revision compacted = -1;  // the newest known compaction
    raft::Index after = 0;    // the last acknowledged entry
    uint64_t first = 0;       // the operation itself, or the one that it repeats
    bool answered = false;
    bool lost = false;
    Fate fate = Fate::kApplied;
  };

  bool Answer(uint64_t operation, Fate fate);
  uint64_t Invoke(Operation operation);
  void CheckAcknowledged(uint64_t number, const Operation& operation, const ApplyResult& result);
  // Whether the session has answered with an error of its own.
  bool RejectedBySession(const proto::Command& command, const ApplyResult& result);
  void Learn(uint64_t number, const proto::Command& command, const ApplyResult& result);
  void LearnTxn(uint64_t number, const etcdserverpb::TxnRequest& request,
                const ApplyResult& result);

  const Ledger* const ledger_;
  Marks* const marks_;
  Verdict* const verdict_;
  std::vector<Operation> operations_;
  Revision known_revision_ = 0;
  Revision known_compacted_ = -1;
  raft::Index acknowledged_index_ = 0;
  std::map<std::string, Revision> known_mods_;  // by key: the mod_revision of the last known put
  // The operation that put a key on the condition that its mod_revision was this one.
  std::map<std::pair<std::string, Revision>, uint64_t> swapped_;
  uint64_t acknowledged_ = 0;
  uint64_t reads_ = 0;
  uint64_t pending_ = 0;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_HISTORY_H_
