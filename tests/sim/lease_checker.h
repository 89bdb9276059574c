#ifndef RAFTKV_TESTS_SIM_LEASE_CHECKER_H_
#define RAFTKV_TESTS_SIM_LEASE_CHECKER_H_

// Checks the time of leases on the virtual clock, from the entries of the ledger:
//
//   I11  A lease expires no earlier than its time to live after the commit of its last grant or
//        renewal, measured by the fastest possible clock. A new leader expires nothing for an
//        election timeout. (At the end of a run, all leases must have ended: phases.cc.)
//
// The effects of the entries on leases and keys are checked against the model (I13).

#include <cstdint>
#include <map>

#include "proto/command.pb.h"
#include "server/raft/types.h"
#include "tests/model/model.h"
#include "tests/sim/marks.h"
#include "tests/sim/rng.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

class LeaseChecker {
 public:
  // `skew`: how much faster a member's clock may run, in parts per million.
  LeaseChecker(uint32_t skew, Micros election_timeout, Marks* marks, Verdict* verdict)
      : skew_(skew), election_timeout_(election_timeout), marks_(marks), verdict_(verdict) {}

  void OnLeader(raft::Term term, Micros now) { leads_since_.emplace(term, now); }
  // The entry was committed and applied to the model. `before` are the model's leases before it.
  void OnEntry(const raft::EntryId& id, const proto::Command& command,
               const std::map<int64_t, Model::Lease>& before, const Model& model, Micros now);

 private:
  struct Renewal {
    Micros at = 0;
    raft::Term term = 0;
  };
  // The shortest time in which this duration passes on the fastest clock.
  // The members' clocks count milliseconds (World::clock_of).
  Micros OnFastestClock(Micros time) const {
    return time * 1'000'000 / (1'000'000 + skew_) - kMillisecond;
  }

  const uint32_t skew_;
  const Micros election_timeout_;
  Marks* const marks_;
  Verdict* const verdict_;
  std::map<int64_t, Renewal> renewed_;  // of leases that exist
  std::map<raft::Term, Micros> leads_since_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_LEASE_CHECKER_H_
