#ifndef RAFTKV_TESTS_RAFT_NETWORK_H_
#define RAFTKV_TESTS_RAFT_NETWORK_H_

// A few cores, their disks and the network between them, driven step by step. Nothing happens by
// itself: time passes only by Tick, and a message arrives only by Deliver. After every call into a
// core, the Network checks its Invariants and three rules over several members: at most one leader
// in a term, equal committed entries, and no acknowledgement of entries that are not on disk.
//
//   Network net(3);
//   net.Elect(1);
//   net.Propose(1, "x");
//   net.Cut(1, 2);
//   net.Stabilize();
//
// If `trace` is set, every message and event is added to it as a line of text.

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/raft/invariants.h"
#include "server/raft/raft.h"
#include "tests/raft/describe.h"
#include "tests/raft/memory_disk.h"

namespace raftkv::raft {

inline Message From(MemberId from, Term term, MessageBody body, MemberId to = 1) {
  return {from, to, term, std::move(body)};
}

class Network {
 public:
  struct Member {
    Config config;
    MemoryDisk disk;
    std::unique_ptr<Raft> raft;
    Invariants invariants;
    bool hold_saves = false;  // each Ready waits in `unsaved` until Saved()
    bool hold_apply = false;  // OnApplied is not called
    bool down = false;
    bool joined = false;  // after the start of the cluster
    std::deque<Ready> unsaved;
    std::vector<Entry> applied;          // since the first start; kept over restarts
    std::vector<MemberId> snapshots_to;  // wanted by this leader and not yet sent
    std::vector<ReadIndexResult> reads;  // the answers to this member's reads
    std::vector<Event> events;
  };

  explicit Network(size_t size, std::function<void(Config&)> adjust = {}) {
    for (MemberId id = 1; id <= size; ++id) configuration_.voters.push_back(id);
    for (MemberId id : configuration_.voters) Add(id, adjust);
    for (MemberId id : configuration_.voters) Start(id);
  }

  // Starts one core for each of these disks.
  explicit Network(std::map<MemberId, MemoryDisk> disks, std::function<void(Config&)> adjust = {}) {
    for (const auto& [id, disk] : disks) configuration_.voters.push_back(id);
    for (auto& [id, disk] : disks) {
      Add(id, adjust);
      members_[id].disk = std::move(disk);
      Start(id);
    }
  }

  Raft& operator[](MemberId id) { return *members_.at(id).raft; }
  Member& member(MemberId id) { return members_.at(id); }
  const std::map<MemberId, Member>& members() const { return members_; }

  std::vector<std::string>* trace = nullptr;

  // Each of these calls into a core and then runs its turn.
  void Tick(MemberId id, int ticks = 1) {
    for (int i = 0; i < ticks; ++i) {
      Into(id, [](Raft& raft) { raft.Tick(1); });
      Turn(id);
    }
  }
  void TickAll(int ticks = 1) {
    for (int i = 0; i < ticks; ++i) {
      for (auto& [id, member] : members_) {
        if (!member.down) Tick(id);
      }
    }
  }
  void Step(Message message) {
    const MemberId to = message.to;
    Into(to, [&](Raft& raft) { raft.Step(std::move(message)); });
    Turn(to);
  }
  ProposeResult Propose(MemberId id, std::string text) {
    ProposeResult result{};
    Into(id, [&](Raft& raft) { result = raft.Propose(Payload(std::move(text))); });
    Turn(id);
    return result;
  }
  // Proposes the configuration `text` (memory_disk.h).
  ProposeResult Change(MemberId id, std::string text) {
    ProposeResult result{};
    Into(id, [&](Raft& raft) { result = raft.ProposeConfiguration(Payload(std::move(text))); });
    Turn(id);
    return result;
  }
  // Starts a member that joins. It knows no other member.
  void Join(MemberId id, const std::function<void(Config&)>& adjust = {}) {
    Add(id, adjust);
    members_[id].joined = true;
    Start(id);
  }
  void Read(MemberId id, uint64_t read) {
    Into(id, [&](Raft& raft) { raft.ReadIndex(read); });
    Turn(id);
  }
  TransferResult Transfer(MemberId id, MemberId target) {
    TransferResult result{};
    Into(id, [&](Raft& raft) { result = raft.TransferLeadership(target); });
    Turn(id);
    return result;
  }
  // The connection on which `peer` sent its appends to `id` was aborted.
  void Lose(MemberId id, MemberId peer, uint64_t connection = 0) {
    Into(id, [&](Raft& raft) { raft.OnPeerLost(peer, connection); });
    Turn(id);
  }
  // Calls into a core without running its turn, for tests that put several inputs into one turn.
  void Into(MemberId id, const std::function<void(Raft&)>& call) {
    call(*members_.at(id).raft);
    CheckMember(id);
  }

  // Takes and carries out Ready values until there are none.
  void Turn(MemberId id);

  // Saves the oldest `count` of the member's unsaved Ready values.
  void Saved(MemberId id, size_t count = 1);

  // Removes the entries below `first` from the member's log, or as many as its rules allow. Each
  // must be applied, and one must stay.
  void CutLog(MemberId id, Index first);
  // Sends the first snapshot that the leader wants to send, of its state machine as it is now, as a
  // message. The test tells the leader its result by SnapshotSent.
  bool SendSnapshot(MemberId id);
  void SnapshotSent(MemberId id, MemberId to, bool ok) {
    Into(id, [&](Raft& raft) { raft.OnSnapshotSent(to, ok); });
    Turn(id);
  }
  // Whether Stabilize and RunFor send the wanted snapshots at once.
  bool send_snapshots = true;

  // The network.

  void Cut(MemberId a, MemberId b) { cuts_.insert({{a, b}, {b, a}}); }
  void CutOneWay(MemberId from, MemberId to) { cuts_.insert({from, to}); }
  void Isolate(MemberId id) {
    for (const auto& [other, member] : members_) {
      if (other != id) Cut(id, other);
    }
  }
  void Recover() { cuts_.clear(); }
  std::deque<Message>& wire() { return wire_; }

  // Removes and returns the undelivered messages of `from`, to all members or only to `to`.
  std::vector<Message> TakeSent(MemberId from, MemberId to = kNobody);

  // Delivers the nth message from `from` to `to`; false if there is none.
  bool Deliver(MemberId from, MemberId to, size_t nth = 0);
  void DropAll() { wire_.clear(); }

  // Delivers the messages that `wanted` accepts, also those sent meanwhile. The others stay
  // undelivered.
  void StabilizeOnly(const std::function<bool(const Message&)>& wanted);

  // Delivers messages until there are none.
  void Stabilize();

  // `ticks` times: ticks every member once, then delivers all messages.
  void RunFor(int ticks) {
    for (int i = 0; i < ticks; ++i) {
      TickAll();
      Stabilize();
    }
  }

  // Ticks `id` alone until it asks for votes.
  void Campaign(MemberId id);
  // First ticks the other followers until they no longer protect their leader, then runs Campaign
  // and delivers all messages.
  void Elect(MemberId id);

  // A crash loses the unsaved Ready values. The state machine keeps the applied entries.
  void Crash(MemberId id) {
    Member& member = members_.at(id);
    member.down = true;
    member.unsaved.clear();
  }
  void Start(MemberId id);
  void Restart(MemberId id) {
    Crash(id);
    Start(id);
  }

 private:
  void Add(MemberId id, const std::function<void(Config&)>& adjust) {
    Config config = TestConfig(id);
    if (adjust) adjust(config);
    members_[id].config = config;
  }

  void Post(Message message) {
    const bool lost = cuts_.count({message.from, message.to}) > 0;
    if (trace) trace->push_back(Describe(message) + (lost ? "   LOST" : ""));
    if (!lost) wire_.push_back(std::move(message));
  }

  void Trace(MemberId id, const std::string& text) {
    if (trace) trace->push_back(std::to_string(id) + ": " + text);
  }

  // The configuration in force after what the member's state machine has applied.
  Configuration AppliedConfiguration(const Member& member) const;
  void CheckMember(MemberId id);

  // Checks that nothing in messages_now and committed depends on data that is not on disk.
  void CheckReady(MemberId id, const Ready& ready);

  Configuration configuration_;
  std::map<MemberId, Member> members_;
  std::set<std::pair<MemberId, MemberId>> cuts_;
  std::deque<Message> wire_;
  std::map<Index, Entry> ledger_;
  std::map<Term, MemberId> leaders_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_TESTS_RAFT_NETWORK_H_
