#ifndef RAFTKV_TESTS_SIM_LEASE_CHECKER_H_
#define RAFTKV_TESTS_SIM_LEASE_CHECKER_H_

// Checks the time of leases on the virtual clock, from the entries of the ledger and from looks at
// the leader:
//
//   I11  A lease expires no earlier than its time to live after the commit of its last grant or
//        renewal, measured by the fastest possible clock. A new leader expires nothing for an
//        election timeout.
//        After its time to live, measured by the slowest possible clock, a lease is gone within 2 s
//        of one leader. They begin after the leader's first election timeout. Only the time counts
//        in which the leader commits and applies entries within half a second. The time to live
//        starts when the leader's process learns of the last grant or renewal.
//        (At the end of a run, all leases must have ended: phases.cc.)
//
// The effects of the entries on leases and keys are checked against the model (I13).

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "proto/command.pb.h"
#include "server/raft/types.h"
#include "tests/model/model.h"
#include "tests/sim/marks.h"
#include "tests/sim/rng.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

class LeaseChecker {
 public:
  // A member that leads.
  struct Leader {
    int member = 0;
    uint64_t life = 0;
    raft::Term term = 0;
    raft::Index last_index = 0;
    raft::Index applied = 0;
    bool able = false;  // it is not paused, and does not hand its leadership over

    bool IsSame(const Leader& other) const {
      return member == other.member && life == other.life && term == other.term;
    }
  };
  static constexpr Micros kLookEvery = 100 * kMillisecond;

  // `skew`: how much faster or slower a member's clock may run, in parts per million.
  LeaseChecker(int members, uint32_t skew, Micros election_timeout, Marks* marks, Verdict* verdict)
      : skew_(skew),
        election_timeout_(election_timeout),
        marks_(marks),
        verdict_(verdict),
        learned_(members) {}

  void OnLeader(raft::Term term, Micros now) { leads_since_.emplace(term, now); }
  // The entry was committed and applied to the model. `before` are the model's leases before it.
  void OnEntry(const raft::EntryId& id, const proto::Command& command,
               const std::map<int64_t, Model::Lease>& before, const Model& model, Micros now);
  // The member begins a turn, in which it learns of the leases that the entries up to `applied`
  // have granted or renewed.
  void OnTurn(int member, uint64_t life, raft::Index applied, const Model& model, Micros now);
  // Call it every kLookEvery, with the leader of the newest term.
  void Look(const std::optional<Leader>& leader, const Model& model, Micros now);

 private:
  static constexpr Micros kLateMax = 2 * kSecond;
  static constexpr size_t kLooksToCommit = 5;
  struct Renewal {
    Micros at = 0;
    raft::Term term = 0;
  };
  // A grant or renewal of a lease, by the index of its entry, and a time.
  struct Timed {
    raft::Index renewed = 0;
    Micros time = 0;
  };
  // When one life of a member learned of the last renewals.
  struct Learned {
    uint64_t life = 0;
    raft::Index applied = 0;
    std::map<int64_t, Timed> leases;
  };
  // The shortest time in which this duration passes on the fastest clock.
  // The members' clocks count milliseconds (World::clock_of).
  Micros OnFastestClock(Micros time) const {
    return time * 1'000'000 / (1'000'000 + skew_) - kMillisecond;
  }
  Micros OnSlowestClock(Micros time) const {
    return time * 1'000'000 / (1'000'000 - skew_) + kMillisecond;
  }
  void StartLooking(const std::optional<Leader>& leader);
  // Whether the leader has been able to expire leases since the last look.
  bool Serves(const Leader& leader, Micros now);

  const uint32_t skew_;
  const Micros election_timeout_;
  Marks* const marks_;
  Verdict* const verdict_;
  std::map<int64_t, Renewal> renewed_;  // of leases that exist
  std::map<raft::Term, Micros> leads_since_;
  std::vector<Learned> learned_;  // by member

  std::optional<Leader> leader_;          // at the last look
  std::deque<raft::Index> last_indexes_;  // of its log, at the last looks
  std::optional<Micros> unable_since_;
  Micros expires_from_ = 0;        // it expires nothing before
  std::map<int64_t, Timed> late_;  // how long leases have been late under this leader
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_LEASE_CHECKER_H_
