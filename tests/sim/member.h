#ifndef RAFTKV_TESTS_SIM_MEMBER_H_
#define RAFTKV_TESTS_SIM_MEMBER_H_

// The machine of one member: its disks, its identity, and the processes that run on it one after
// another. A process consists of the product's classes LogStore, StateMachine and raftkv::Member,
// on the memory engine. It is driven as the I/O loop drives it: Post, Turn, PlanApply, Apply. The
// product's own code decides where and when to apply, flush and compact.
//
// Time inside a turn: a save takes virtual time. Messages that are sent after the save leave when
// that time is over. Until then the member is busy, and what arrives waits for the next turn. A
// pause of the process also makes the member busy. An Apply(kElsewhere) takes virtual time too, and
// turns continue meanwhile.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/member/member.h"
#include "server/raft/invariants.h"
#include "server/watch/hub.h"
#include "storage/log/log_store.h"
#include "storage/state_machine.h"
#include "tests/sim/disk.h"
#include "tests/sim/leader_watch.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

class World;

// Runs the reads of entries in another order, on one thread.
class ReversedReads final : public ParallelReads {
 public:
  bool useful() const override { return true; }
  void RunAll(size_t count, const std::function<void(size_t)>& read) override {
    while (count > 0) read(--count);
  }
};

class Member final : public Transport, public MemberObserver, public StateStore {
 public:
  Member(World* world, int number);
  ~Member() override;

  // --- lives
  void Start();
  void Crash();         // its process dies now
  void CrashAndTear();  // Crash, and its disk loses the end of the log
  void CrashSoon();     // its process dies at a random point inside its next turn or apply
  // An orderly stop. A leader may first hand its leadership over. Then the phases of server/phase.h
  // follow. World chooses a random length for each. From Decline on, clients use other members, and
  // peers' proposals are declined. From Drain on, no request is unanswered.
  void HandOverLeadership();
  void Decline();
  void Drain();
  void EndStop();
  bool stops() const { return process_->hands_over || phase() != raftkv::Phase::kServing; }
  // Asks it to transfer leadership.
  void Transfer(raft::MemberId target);
  void FlushState();
  void CloseAndCheckStored();  // at the end of a run
  // Call it while down: the machine is to join as a new member with an empty directory.
  void Rejoin(raft::MemberId id);
  void Retire();  // its process ends, and does not start again unless it rejoins
  void Wipe();    // call it while down: an empty directory with a new store id
  // From now on its disk has `bytes` of free space, of kVolume.
  void SetFreeSpace(uint64_t bytes);
  static constexpr uint64_t kVolume = 1000, kLowSpace = 100;
  void Pause(Micros duration);
  void Resume();  // pauses and stalled saves end now, and no crash is due

  bool up() const { return process_ != nullptr; }
  bool dead() const { return process_ == nullptr || process_->fuse.blown(); }
  uint64_t life() const { return life_; }
  Phase phase() const { return process_->phase.get(); }
  bool wiped() const { return wiped_; }
  raft::MemberId id() const { return id_; }
  // This machine runs no member: it has not joined yet, or its member was removed and has stopped.
  bool retired() const { return retired_; }
  bool busy() const;
  bool doomed() const { return process_->fuse.armed() || process_->dies_compacting; }
  // Whether that life of the member ended before `time`.
  bool DiedBefore(uint64_t life, Micros time) const {
    return life < ends_.size() && ends_[life] >= 0 && ends_[life] < time;
  }

  // --- events
  void Post(Input input);
  void Receive(PeerMessage message);
  void OnTick();
  void OnTurn();
  void OnApply();           // calls PlanApply, and Apply(kHere) if that is the plan
  void OnApplyElsewhere();  // calls Apply(kElsewhere), as the other thread
  void OnCatchUp();         // a worker reads what a watch has missed

  // Called before an answer to a client is sent. False: the process is dead, so nothing is sent.
  bool MaySpeak();

  // --- state
  const raft::Raft& raft() const { return process_->member->replica().raft(); }
  MemberStatus status() const { return process_->member->Status(); }
  const StateMachine& state_machine() const { return *process_->state_machine; }
  // There is something to compact, and this member compacts (in some runs one member never does:
  // asleep()).
  bool must_compact() const { return !asleep() && state_machine().compacting(); }
  const LogStore& log() const { return *process_->log; }
  watch::Hub* hub() { return process_->hub.get(); }
  bool leads() const { return up() && raft().role() == raft::Role::kLeader; }
  bool idle() const {
    return up() && !process_->has_input && !process_->member->has_to_apply() &&
           !process_->member->applying_elsewhere();
  }
  // True: this member's own log says that it was removed.
  bool KnowsItsRemoval() const { return process_->member->replica().members().removed(id_); }
  const std::string& store_id() const { return store_id_; }
  ClusterVersion newest_version() const { return newest_version_; }
  // Whether its program opens the state on this disk. A removed member of an older release may get
  // the snapshot of a cluster version that it does not know.
  bool Opens(const std::shared_ptr<MemoryDisk>& disk);

  void Send(PeerMessage message) override;                                            // Transport
  void SendSnapshot(raft::MemberId to, raft::Term term) override;                     // Transport
  void StopSnapshots() override;                                                      // Transport
  std::unique_ptr<StateMachine> Replace(std::unique_ptr<ReceivedSnapshot>) override;  // StateStore
  void Replaced() override;                                                           // StateStore
  void OnEvent(const ReplicaEvent& event) override;                  // MemberObserver
  void OnCommitted(absl::Span<const raft::Entry> entries) override;  // MemberObserver
  void OnRevision(Revision newest) override;                         // MemberObserver

 private:
  enum class Doing { kNothing, kTurn, kApply, kCompact, kInstall };

  struct Process {
    Fuse fuse;
    std::unique_ptr<LogStore> log;
    std::unique_ptr<StateMachine> state_machine;
    const Engine* engine = nullptr;  // of the state machine
    PhaseValue phase;
    std::unique_ptr<raftkv::Member> member;
    std::unique_ptr<watch::Hub> hub;
    std::deque<watch::CatchUp> catch_ups;  // taken from the hub
    raft::Invariants invariants;
    std::optional<LeaderWatch> leader_watch;
    bool has_input = false;              // something has arrived for the next turn
    std::vector<raft::Entry> committed;  // in this turn
    Revision told_revision = 0;          // by OnRevision
    raft::Index installed = 0;           // the last entry of a snapshot, in this turn; 0: none
    bool learns_installed = false;       // the next turn learns the leases of a snapshot
    raft::Index first_index = 1;         // of the log, when it was last looked at
    std::optional<Micros> turn_at;
    std::optional<Micros> apply_at;
    bool compact_only = false;   // at apply_at there is only compaction to do
    bool elsewhere = false;      // an Apply(kElsewhere) is running
    bool turned_beside = false;  // a turn has run since that Apply began
    Micros stalled_until = 0;    // until then the engine reports that writes would wait
    int compact_steps = 0;       // steps of the physical compaction that is running
    Micros busy_until = 0;
    Micros lag = 0;  // virtual time that the saves of this turn took so far
    bool saved_in_turn = false;
    bool sent_in_turn = false;     // an append with entries
    bool hands_over = false;       // it will stop, and began to hand its leadership over
    bool dies_compacting = false;  // it will die in its next step of the physical compaction
    Doing doing = Doing::kNothing;
  };

  MemberOptions Options();
  StateMachineOptions StateOptions();
  Disk::StateHooks StateHooks(Process* process);
  void OnSync();
  void OnBlow(bool by_send);
  void ScheduleTurn(Micros delay);
  void ScheduleApply();
  ApplyPlan Plan();
  bool AfterApplying();
  bool asleep() const;
  void Turn();
  watch::HubOptions WatchOptions() const;
  void RunHub();
  void EndLife(bool in_order);
  void Check();
  // Checks a snapshot that is sent or installed.
  void CheckSnapshot(const LogStore::Tip& base, const raft::Configuration& configuration,
                     const StateMachine& state_machine);

  World* const world_;
  const int number_;
  Disk disk_;
  std::string store_id_;
  raft::MemberId id_;
  bool joins_ = false;  // after the start of the cluster
  bool retired_ = false;
  uint64_t url_ = 0;  // number of its client URL
  bool wiped_ = false;
  ClusterVersion newest_version_ = kNewestVersion;  // the newest one that its program knows
  uint64_t free_space_ = kVolume;
  uint64_t life_ = 0;
  raft::Index applied_before_ = 0;
  Revision compacted_before_ = -1;
  std::vector<Micros> ends_;  // when each life ended; -1: it has not
  ReversedReads reads_;
  std::unique_ptr<Process> process_;
  bool sending_ = false;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_MEMBER_H_
