#ifndef RAFTKV_TESTS_SIM_HISTORY_H_
#define RAFTKV_TESTS_SIM_HISTORY_H_

// What clients were told, against the ledger. Each answer carries a revision, which makes it a
// witness of where in the order of writes it belongs; so a history of any length is checked in one
// pass instead of by a search:
//
//   I10  a read shows at least the newest revision that anybody had been told of when it was
//   invoked,
//        and exactly the model's state at its revision
//   I16  a write that was acknowledged is in the ledger, once, with the answer that the model
//   gives,
//        at a revision newer than all that anybody had been told of when it was invoked; one that
//        was refused ("certainly not applied") never is; each request is answered at most once, and
//        by its member's orderly end exactly once
//
// Together with one ledger for all members this is strict serializability of what was answered.

#include <cstdint>
#include <string>
#include <vector>

#include "server/replica/replica.h"
#include "storage/state_machine.h"
#include "tests/sim/ledger.h"
#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

std::string_view FateName(Fate fate);

class History {
 public:
  enum class Kind { kPut, kDelete, kRead };

  History(const Ledger* ledger, Marks* marks, Verdict* verdict);

  // Operations are numbered from 1.
  uint64_t Invoke(Kind kind, int member, std::string key, std::string end);
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
  Revision told() const { return told_; }

 private:
  struct Operation {
    Kind kind = Kind::kPut;
    int member = 0;
    std::string key;
    std::string end;
    Revision floor = 0;  // the newest revision anybody had been told of
    bool answered = false;
    bool lost = false;
    Fate fate = Fate::kApplied;
  };

  bool Answer(uint64_t operation, Fate fate);
  void CheckAcknowledged(uint64_t number, const Operation& operation, const ApplyResult& result);

  const Ledger* const ledger_;
  Marks* const marks_;
  Verdict* const verdict_;
  std::vector<Operation> operations_;
  Revision told_ = 0;
  uint64_t acknowledged_ = 0;
  uint64_t reads_ = 0;
  uint64_t pending_ = 0;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_HISTORY_H_
