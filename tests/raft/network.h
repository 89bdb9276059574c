#ifndef RAFTKV_TESTS_RAFT_NETWORK_H_
#define RAFTKV_TESTS_RAFT_NETWORK_H_

// A few cores, their disks and the wire between them, driven step by step. Nothing happens by
// itself: time passes by Tick, a message arrives by Deliver. After every call into a core its
// Invariants are checked, and the promises that concern several members: one leader a term, one
// history of committed entries, no acknowledgement of what is not on disk.
//
//   Network net(3);
//   net.Elect(1);
//   net.Propose(1, "x");
//   net.Cut(1, 2);
//   net.Stabilize();
//
// With a `trace`, everything that members say and do is noted there in words.

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

class Network {
 public:
  struct Member {
    Config config;
    MemoryDisk disk;
    std::unique_ptr<Raft> raft;
    Invariants invariants;
    bool hold_saves = false;  // Readys wait in `unsaved` for Saved()
    bool hold_apply = false;  // nothing is acknowledged as applied
    bool down = false;
    std::deque<Ready> unsaved;
    std::vector<Entry> applied;          // over all lives
    std::vector<ReadIndexResult> reads;  // answered
    std::vector<Event> events;
  };

  explicit Network(size_t size, std::function<void(Config&)> adjust = {}) {
    for (MemberId id = 1; id <= size; ++id) configuration_.voters.push_back(id);
    for (MemberId id : configuration_.voters) Add(id, adjust);
    for (MemberId id : configuration_.voters) Start(id);
  }

  // Cores whose disks hold something already.
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

  // Calls into a core, followed by its turn.
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
  void Read(MemberId id, uint64_t read) {
    Into(id, [&](Raft& raft) { raft.ReadIndex(read); });
    Turn(id);
  }
  // Calls only: for tests that put several inputs into one turn.
  void Into(MemberId id, const std::function<void(Raft&)>& call) {
    call(*members_.at(id).raft);
    CheckMember(id);
  }

  // Takes Readys until there are none.
  void Turn(MemberId id);

  // The oldest `count` Readys reach the disk.
  void Saved(MemberId id, size_t count = 1);

  // The wire.

  void Cut(MemberId a, MemberId b) { cuts_.insert({{a, b}, {b, a}}); }
  void CutOneWay(MemberId from, MemberId to) { cuts_.insert({from, to}); }
  void Isolate(MemberId id) {
    for (const auto& [other, member] : members_) {
      if (other != id) Cut(id, other);
    }
  }
  void Recover() { cuts_.clear(); }
  std::deque<Message>& wire() { return wire_; }

  // What `from` has sent (to anyone, or to `to`) and was not delivered; removed from the wire.
  std::vector<Message> TakeSent(MemberId from, MemberId to = kNobody);

  // The nth message from `from` to `to`; false if there is none.
  bool Deliver(MemberId from, MemberId to, size_t nth = 0);
  void DropAll() { wire_.clear(); }

  // Delivers what `wanted` says, and what comes of it; the rest stays on the wire.
  void StabilizeOnly(const std::function<bool(const Message&)>& wanted);

  // Delivers until nothing is under way.
  void Stabilize();

  // Time passes for all, messages arrive, until nobody has anything to say but heartbeats.
  void RunFor(int ticks) {
    for (int i = 0; i < ticks; ++i) {
      TickAll();
      Stabilize();
    }
  }

  // Only `id` notices that time passes, until it asks for votes; the others forget their leader
  // first, as they would by then.
  void Campaign(MemberId id);
  void Elect(MemberId id);

  // Crash and start again: what was not saved is lost; the state machine keeps what it applied.
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

  void CheckMember(MemberId id);

  // Acknowledgements and votes may leave only for what the disk holds.
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
