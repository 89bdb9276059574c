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
  void Turn(MemberId id) {
    Member& member = members_.at(id);
    for (int i = 0; member.raft->HasReady(); ++i) {
      ASSERT_LT(i, 1000) << "member " << id << " never comes to rest";
      Ready ready = member.raft->TakeReady();
      CheckReady(id, ready);
      for (const Event& event : ready.events) {
        Trace(id, Describe(event));
        member.events.push_back(event);
      }
      for (Message& message : ready.messages_now) Post(std::move(message));
      ready.messages_now.clear();
      if (!ready.entries.empty()) Trace(id, "writes " + Describe(ready.entries));
      for (const Entry& entry : ready.committed) {
        Trace(id, "applies " + Describe(entry));
        member.applied.push_back(entry);
        ASSERT_EQ(ledger_.emplace(entry.id.index, entry).first->second, entry)
            << "two histories at index " << entry.id.index;
      }
      for (const ReadIndexResult& read : ready.reads) {
        Trace(id, Describe(read));
        member.reads.push_back(read);
      }
      if (!ready.committed.empty() && !member.hold_apply) {
        member.raft->OnApplied(ready.committed.back().id.index);
      }
      member.unsaved.push_back(std::move(ready));
      if (!member.hold_saves) Saved(id);
    }
  }

  // The oldest `count` Readys reach the disk.
  void Saved(MemberId id, size_t count = 1) {
    Member& member = members_.at(id);
    for (; count > 0 && !member.unsaved.empty(); --count) {
      Ready ready = std::move(member.unsaved.front());
      member.unsaved.pop_front();
      member.disk.Save(ready);
      member.raft->OnSaved(ready.number);
      CheckMember(id);
      for (Message& message : ready.messages_after_save) Post(std::move(message));
    }
    if (member.hold_saves) Turn(id);
  }

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
  std::vector<Message> TakeSent(MemberId from, MemberId to = kNobody) {
    std::vector<Message> taken;
    std::deque<Message> rest;
    for (Message& message : wire_) {
      const bool match = message.from == from && (to == kNobody || message.to == to);
      match ? taken.push_back(std::move(message)) : rest.push_back(std::move(message));
    }
    wire_.swap(rest);
    return taken;
  }

  // The nth message from `from` to `to`; false if there is none.
  bool Deliver(MemberId from, MemberId to, size_t nth = 0) {
    for (auto it = wire_.begin(); it != wire_.end(); ++it) {
      if (it->from != from || it->to != to || nth-- > 0) continue;
      Message message = std::move(*it);
      wire_.erase(it);
      if (!members_.at(to).down) Step(std::move(message));
      return true;
    }
    return false;
  }
  void DropAll() { wire_.clear(); }

  // Delivers what `wanted` says, and what comes of it; the rest stays on the wire.
  void StabilizeOnly(const std::function<bool(const Message&)>& wanted) {
    for (int i = 0; i < 100000; ++i) {
      const auto found = std::find_if(wire_.begin(), wire_.end(), wanted);
      if (found == wire_.end()) return;
      Message message = std::move(*found);
      wire_.erase(found);
      if (!members_.at(message.to).down) Step(std::move(message));
    }
  }

  // Delivers until nothing is under way.
  void Stabilize() {
    for (int i = 0; !wire_.empty(); ++i) {
      ASSERT_LT(i, 100000) << "the members never come to rest";
      Message message = std::move(wire_.front());
      wire_.pop_front();
      const auto to = members_.find(message.to);
      if (to != members_.end() && !to->second.down) Step(std::move(message));
    }
  }

  // Time passes for all, messages arrive, until nobody has anything to say but heartbeats.
  void RunFor(int ticks) {
    for (int i = 0; i < ticks; ++i) {
      TickAll();
      Stabilize();
    }
  }

  // Only `id` notices that time passes, until it asks for votes; the others forget their leader
  // first, as they would by then.
  void Campaign(MemberId id) {
    const Term before = (*this)[id].term();
    for (int i = 0; i < 40 && (*this)[id].role() == Role::kFollower; ++i) {
      Tick(id);
    }
    ASSERT_TRUE((*this)[id].role() != Role::kFollower || (*this)[id].term() > before);
  }
  void Elect(MemberId id) {
    for (auto& [other, member] : members_) {
      // Long enough to lose the lease, short enough not to campaign.
      if (other != id && !member.down && (*this)[other].role() == Role::kFollower &&
          (*this)[other].leader() != kNobody) {
        Into(other, [](Raft& raft) {
          for (int i = 0; i < 10; ++i) raft.Tick(1);
        });
        Turn(other);
      }
    }
    Campaign(id);
    Stabilize();
    ASSERT_EQ((*this)[id].role(), Role::kLeader);
  }

  // Crash and start again: what was not saved is lost; the state machine keeps what it applied.
  void Crash(MemberId id) {
    Member& member = members_.at(id);
    member.down = true;
    member.unsaved.clear();
  }
  void Start(MemberId id) {
    Member& member = members_.at(id);
    member.down = false;
    member.unsaved.clear();
    ++member.config.seed;
    const Index applied = std::max<Index>(
        member.applied.empty() ? 0 : member.applied.back().id.index, member.disk.first_index() - 1);
    member.raft = std::make_unique<Raft>(member.config, configuration_, applied, &member.disk);
    member.invariants = Invariants();
    CheckMember(id);
  }
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

  void CheckMember(MemberId id) {
    Member& member = members_.at(id);
    for (const std::string& broken : member.invariants.Check(*member.raft)) {
      ADD_FAILURE() << "member " << id << ": " << broken;
    }
    if (member.raft->role() == Role::kLeader) {
      const auto leader = leaders_.emplace(member.raft->term(), id).first;
      EXPECT_EQ(leader->second, id) << "two leaders in term " << member.raft->term();
    }
  }

  // Acknowledgements and votes may leave only for what the disk holds.
  void CheckReady(MemberId id, const Ready& ready) {
    const MemoryDisk& disk = members_.at(id).disk;
    for (const Message& message : ready.messages_now) {
      EXPECT_LE(message.term, disk.hard_state().current_term) << "an unsaved term leaves";
      EXPECT_FALSE(std::holds_alternative<RequestVote>(message.body));
      EXPECT_FALSE(std::holds_alternative<RequestVoteReply>(message.body));
      if (const auto* reply = std::get_if<AppendEntriesReply>(&message.body)) {
        EXPECT_TRUE(reply->success);
        EXPECT_LE(reply->match, disk.last_index()) << "unsaved entries are acknowledged";
      }
    }
    for (const Entry& entry : ready.committed) {
      EXPECT_LE(entry.id.index, disk.last_index()) << "an unsaved entry is applied";
    }
  }

  Configuration configuration_;
  std::map<MemberId, Member> members_;
  std::set<std::pair<MemberId, MemberId>> cuts_;
  std::deque<Message> wire_;
  std::map<Index, Entry> ledger_;
  std::map<Term, MemberId> leaders_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_TESTS_RAFT_NETWORK_H_
