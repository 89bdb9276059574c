#ifndef RAFTKV_TESTS_SIM_WORLD_H_
#define RAFTKV_TESTS_SIM_WORLD_H_

// The run of one seed: a cluster, its network, disks, clients and faults on one virtual clock.
//
// Everything happens in events. They are taken from one queue in the order of (time, number of
// scheduling). All random numbers come from one generator. So a seed and a build determine the run,
// and the hash over all events (trace_hash) shows it. Nothing here reads a clock, an address or an
// unordered container.
//
//   safety phase    random faults, at the rates of the profile, until its minima are met
//   liveness phase  the faults stop; at most a minority stays down. Then there must be a leader
//                   within ten election timeouts, every running member must serve writes and reads,
//                   leadership must move when it is asked to, every request must be answered, and
//                   all members must become equal
//
// A run ends at the first broken invariant, or after the liveness phase.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "storage/base/monotonic_time.h"
#include "tests/sim/history.h"
#include "tests/sim/lease_checker.h"
#include "tests/sim/ledger.h"
#include "tests/sim/marks.h"
#include "tests/sim/member.h"
#include "tests/sim/network.h"
#include "tests/sim/profile.h"
#include "tests/sim/raft_checker.h"
#include "tests/sim/register_search.h"
#include "tests/sim/requests.h"
#include "tests/sim/rng.h"
#include "tests/sim/verdict.h"
#include "tests/sim/watchers.h"

namespace raftkv::sim {

struct RunOptions {
  uint64_t seed = 1;
  bool trace = false;        // prints each event to stdout
  bool check_core = true;    // calls raft::Invariants::Check, too; off for mutants (mutants.h)
  std::string ignored = {};  // the invariant whose violations are not reported
};

// What happened in one run, or in several.
struct Counts {
  Micros time = 0;
  uint64_t events = 0;
  uint64_t crashes = 0;
  uint64_t partitions = 0;
  uint64_t acknowledged_writes = 0;
  uint64_t reads = 0;
  uint64_t committed = 0;
  uint64_t terms = 0;
  Marks marks;

  void Add(const Counts& other);
};

struct RunResult : Counts {
  std::string invariant;  // the broken one; empty: all held
  std::string what;
  uint64_t trace_hash = 0;
};

std::string PeerUrl(raft::MemberId id, uint64_t number);

class World {
 public:
  explicit World(const RunOptions& options);
  World(const RunOptions& options, const Profile& profile);

  RunResult Run();

  // --- for members, network and checkers
  int size() const { return profile_.machines(); }
  // Machines are numbered from 0. A machine that joins again becomes a member with another id.
  int MachineOf(raft::MemberId id) const { return static_cast<int>((id - 1) % size()); }
  Micros now() const { return now_; }
  MonotonicTime clock_of(int member) const;
  Rng& rng() { return rng_; }
  const Profile& profile() const { return profile_; }
  const Profile& faults() const { return faults_; }  // the faults of the current phase
  Micros election_timeout() const { return profile_.tick * profile_.raft.election_timeout_ticks; }
  Micros longest_election_timeout() const;
  bool check_core() const { return options_.check_core; }
  Marks& marks() { return result_.marks; }
  Verdict& verdict() { return verdict_; }
  Ledger& ledger() { return ledger_; }
  LeaseChecker& lease_checker() { return lease_checker_; }
  RaftChecker& raft_checker() { return raft_checker_; }
  History& history() { return history_; }
  Network& network() { return network_; }
  Watchers& watchers() { return watchers_; }
  Member& member(int number) { return *members_[number]; }

  void ScheduleTick(int member, Micros delay);
  void ScheduleTurn(int member, Micros at);
  void ScheduleApply(int member, Micros at);
  void ScheduleApplyElsewhere(int member, Micros delay);
  void ScheduleCatchUp(int member, Micros delay);
  void ScheduleWatcher(int client, Micros delay);
  void ScheduleArrival(Micros at, Packet packet);
  void ScheduleNotice(Micros delay, int member, int peer, uint64_t epoch, bool aborted);
  void ScheduleSnapshot(Micros at, int member, uint64_t number);

  // A member that is up, or down, and does not stay down for good; -1: there is none.
  int SomeMember(bool up);
  // Whether the machine takes part: it does not stay down, and is a member by the committed
  // entries.
  bool TakesPart(int member) const;

  void OnUpgraded() { upgraded_ = true; }
  void OnDied(int member);  // inside its turn or apply
  void OnSend(int member, const PeerMessage& message);
  void OnEvent(int member, const ReplicaEvent& event);
  void OnEvent(int member, const raft::Event& event);

 private:
  enum class What {
    kTick,
    kTurn,
    kApply,
    kElsewhere,
    kCatchUp,
    kArrive,
    kAborted,
    kClosed,
    kSnapshot,
    kClient,
    kWatcher,
    kStart,
    kCrash,
    kCrashLate,
    kStop,
    kTransfer,
    kChange,
    kRetire,
    kPartition,
    kHeal,
    kClog,
    kDisconnect,
    kPause,
    kSpace,
    kSpaceBack,
    kWipe,
    kWatch,
    kTear,
  };
  struct Event {
    Micros at = 0;
    uint64_t number = 0;
    What what = What::kWatch;
    int member = 0;
    int other = 0;
    // The event is only for this life of the member; 0: for any. Of kAborted and kClosed: the epoch
    // of the connection.
    uint64_t life = 0;
    std::unique_ptr<Packet> packet;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.at != b.at ? a.at > b.at : a.number > b.number;
    }
  };
  enum class Wish {
    kPut,
    kDelete,
    kSwap,
    kTxn,
    kCompact,
    kGrant,
    kRevoke,
    kRenew,
    kAlarm,
    kRead
  };  // what a client requests
  // The session in which a client writes, and its last write.
  struct ClientSession {
    int64_t lease = 0;  // 0: it has none
    uint64_t seq = 0;
    uint64_t acked = 0;
    proto::Command last = {};
    uint64_t first = 0;  // the operation that sent `last` first; 0: `last` has its answer
  };
  struct Client {
    uint64_t operation = 0;  // the one that it waits for; 0: it is between two requests
    ClientSession session = {};
  };
  enum class Phase { kSafety, kSettle, kElect, kServe, kHandOver, kConverge, kOver };

  void Push(Micros at, What what, int member = 0, int other = 0, uint64_t life = 0,
            std::unique_ptr<Packet> packet = nullptr);
  void Every(Micros mean, What what);
  void Begin();
  void Handle(Event event);
  void HandleMisfortune(const Event& event);
  void Trace(const Event& event);
  void Say(std::string_view what) const;  // to the trace

  // misfortunes.cc
  void OnCrashDue();
  void CrashNow(int member);
  void OnStopDue(int member);
  void OnTransferDue();
  void OnPartitionDue();
  void Isolate(const std::vector<bool>& inside, int shape);
  void OnClogDue();
  void OnPauseDue();
  void OnSpaceDue();
  void OnWipeDue();
  void OnTearDue();
  int SomeLeader();  // -1: there is none
  int LeaderOr(int member);

  // changes.cc
  void OnChangeDue();
  bool DrawChange(proto::ChangeMembers* change, int* joiner);
  void OnRetire(int member, bool removed);
  void NoteChange(const proto::ChangeMembers& change);
  bool ChangesSettled() const;

  // clients.cc
  void OnClientDue(int client, uint64_t operation);
  void OnAnswered(uint64_t operation, int client);
  uint64_t Ask(int member, Wish wish, int client);
  uint64_t AskInSession(int member, Wish wish, int client);
  void OnSessionAnswer(int client, const proto::Session& session, const ApplyResult& result);
  proto::Command CommandOf(Wish wish);
  uint64_t Propose(int member, proto::Command command, int client, uint64_t first = 0);
  uint64_t Renew(int member, int client);
  proto::Command AlarmChange();

  // phases.cc
  void OnWatch();
  bool MinimaMet();
  void Soften();
  void StopFaults();
  void LoseMinority();
  bool OneLeader();
  bool EveryoneServes();
  bool AlarmsLeftToMembers();
  bool HandsOver();
  bool Converged();
  void LookAtLeases();
  void CompareHashes();
  void Enter(Phase phase, Micros at_most);
  void FailLiveness(std::string_view what);

  const RunOptions options_;
  Rng rng_;
  const Profile profile_;
  Profile faults_;
  RunResult result_;
  Verdict verdict_;
  LeaseChecker lease_checker_;
  Ledger ledger_;
  RaftChecker raft_checker_;
  History history_;
  Requests requests_;
  RegisterSearch search_;
  Network network_;
  std::vector<std::unique_ptr<Member>> members_;
  Watchers watchers_;  // after members_: its streams refer to their hubs

  Micros now_ = 0;
  uint64_t renewals_ = 0;  // asked for by clients
  int64_t sessions_ = 0;   // opened by clients
  uint64_t next_event_ = 1;
  std::vector<Event> queue_;  // a heap
  std::vector<Client> clients_;

  Phase phase_ = Phase::kSafety;
  Micros deadline_ = 0;           // of the phase
  std::vector<uint64_t> probes_;  // by member: the pending operation that shows that it serves
  std::vector<int> proven_;       // by member: how many probes succeeded
  uint64_t disarming_ = 0;        // the operation that ends an alarm
  int asked_to_disarm_ = 0;       // the member that was asked for it
  struct {                        // the last transfer that was asked for in the liveness phase
    int target = -1;
    raft::Term term = 0;
    Micros at = 0;
  } transfer_;
  std::vector<bool> gone_;                  // by member: it stays down
  std::vector<raft::Index> configured_at_;  // by member: the index of the configuration in force
  Micros last_change_ = 0;                  // when it was requested
  bool softened_ = false;
  bool upgraded_ = false;             // a member was upgraded
  std::vector<int64_t> clock_rates_;  // by member, in parts per million
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_WORLD_H_
