#ifndef RAFTKV_TESTS_SIM_MEMBER_H_
#define RAFTKV_TESTS_SIM_MEMBER_H_

// One member as the product builds it: LogStore, StateMachine, Replica and Applier, on the memory
// engine, driven as the I/O loop does: collect what has arrived, one turn for all of it, then some
// of the apply queue. Its disks and its identity outlive its process; everything else is a *life*.
//
// Time inside a turn: a save takes virtual time, so what is sent after it departs later, and the
// member is busy until then (a pause of the process is the same thing without a reason). What
// arrives meanwhile waits for the next turn.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/member/applier.h"
#include "server/member/replica.h"
#include "server/member/transport.h"
#include "server/raft/invariants.h"
#include "storage/log/log_store.h"
#include "storage/state_machine.h"
#include "tests/sim/disk.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

class World;

class Member final : public Transport {
 public:
  Member(World* world, int number);
  ~Member() override;

  // --- lives
  void Start();
  void Crash();      // its process dies now
  void CrashSoon();  // somewhere inside what it does next
  void StopInOrder();
  void FlushState();
  void CloseAndCheckStored();  // at the end of a run
  void Wipe();                 // of one that is down: an empty directory with a new store id
  void Pause(Micros duration);
  void Resume();  // pauses and stalled saves end now, and no crash is due

  bool up() const { return process_ != nullptr; }
  bool dead() const { return process_ == nullptr || process_->fuse.blown(); }
  uint64_t life() const { return life_; }
  bool wiped() const { return wiped_; }
  bool busy() const;
  bool doomed() const { return process_->fuse.armed() || process_->dies_compacting; }
  // Whether that life ended before the time.
  bool DiedBefore(uint64_t life, Micros time) const {
    return life < ends_.size() && ends_[life] >= 0 && ends_[life] < time;
  }

  // --- events
  void Post(ReplicaInput input);
  void Receive(PeerMessage message);
  void OnTick();
  void OnTurn();
  void OnApply();
  void OnCompact();

  // An answer to a client is about to leave. False: it does not, the process is dead.
  bool MaySpeak();

  // --- look
  const Replica& replica() const { return *process_->replica; }
  const StateMachine& state_machine() const { return *process_->state_machine; }
  // Physical compaction lies before it, and will be done.
  bool must_compact() const { return !asleep() && state_machine().compacting(); }
  const LogStore& log() const { return *process_->log; }
  bool leads() const { return up() && replica().raft().role() == raft::Role::kLeader; }
  bool idle() const { return up() && process_->applier->empty() && process_->inbox.empty(); }
  const std::string& store_id() const { return store_id_; }

  void Send(PeerMessage message) override;  // Transport: called by the replica

 private:
  enum class Doing { kNothing, kTurn, kApply, kCompact };

  struct Process {
    Fuse fuse;
    std::unique_ptr<LogStore> log;
    std::unique_ptr<StateMachine> state_machine;
    std::unique_ptr<Applier> applier;
    std::unique_ptr<Replica> replica;
    raft::Invariants invariants;
    std::vector<ReplicaInput> inbox;
    std::vector<raft::Entry> handed_over;  // in this turn
    std::optional<Micros> turn_at;
    std::optional<Micros> apply_at;
    std::optional<Micros> compact_at;
    int compact_steps = 0;  // without an end
    Micros busy_until = 0;
    Micros lag = 0;  // of this turn, so far
    bool saved_in_turn = false;
    bool dies_compacting = false;  // in its next step of the physical compaction
    Doing doing = Doing::kNothing;
  };

  ReplicaOptions Options() const;
  void OnSync();
  void OnBlow(bool by_send);
  void OnEvent(const ReplicaEvent& event);
  void ScheduleTurn(Micros delay);
  void ScheduleApply();
  void ScheduleCompaction();
  bool asleep() const;
  void Turn();
  void EndLife();
  void Check();

  World* const world_;
  const int number_;
  Disk disk_;
  std::string store_id_;
  bool wiped_ = false;
  uint64_t life_ = 0;
  raft::Index applied_before_ = 0;
  Revision compacted_before_ = -1;
  std::vector<Micros> ends_;  // by life; -1 while it lasts
  std::unique_ptr<Process> process_;
  bool sending_ = false;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_MEMBER_H_
