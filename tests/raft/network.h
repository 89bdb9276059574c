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
// Limits are tiny (TestConfig), so that edges happen in every test.

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

namespace raftkv::raft {

inline Config TestConfig(MemberId id) {
  Config config;
  config.id = id;
  config.election_timeout_ticks = 10;
  config.heartbeat_ticks = 2;
  config.append_entries_max = 4;
  config.append_bytes_max = 256;
  config.inflight_messages_max = 3;
  config.inflight_bytes_max = 1024;
  config.uncommitted_bytes_max = 1 << 16;
  config.committed_bytes_max = 256;
  config.pending_reads_max = 8;
  config.log_cache_bytes_max = 128;
  config.seed = 7;
  return config;
}

inline Entry Command(Term term, Index index, std::string text = "x") {
  return {{term, index}, EntryType::kCommand, Payload(std::move(text))};
}

// Commands of these terms, from index 1 on.
inline std::vector<Entry> LogOfTerms(const std::vector<Term>& terms) {
  std::vector<Entry> entries;
  for (Term term : terms) entries.push_back(Command(term, entries.size() + 1));
  return entries;
}

// What survives a crash. May be cut at the front.
class MemoryDisk : public LogReader {
 public:
  MemoryDisk() = default;
  MemoryDisk(HardState state, std::vector<Entry> entries, EntryId before = {})
      : state_(state), before_(before), entries_(std::move(entries)) {}

  HardState hard_state() const override { return state_; }
  Index first_index() const override { return before_.index + 1; }
  Index last_index() const override { return before_.index + entries_.size(); }
  Term TermAt(Index index) const override {
    ++reads;
    return index == before_.index ? before_.term : entries_.at(index - before_.index - 1).id.term;
  }
  std::vector<Entry> Entries(Index first, Index last, size_t bytes_max) const override {
    ++reads;
    std::vector<Entry> found;
    size_t bytes = 0;
    for (Index i = first; i <= last; ++i) {
      const Entry& entry = entries_.at(i - before_.index - 1);
      bytes += EntryBytes(entry);
      if (bytes > bytes_max && !found.empty()) break;
      found.push_back(entry);
    }
    return found;
  }

  void Save(const Ready& ready) {
    if (!ready.hard_state) return;
    ++syncs;
    state_ = *ready.hard_state;
    if (ready.entries.empty()) return;
    const Index first = ready.entries.front().id.index;
    ASSERT_LE(first, last_index() + 1) << "a hole in the log";
    entries_.resize(first - before_.index - 1);
    entries_.insert(entries_.end(), ready.entries.begin(), ready.entries.end());
  }

  const std::vector<Entry>& entries() const { return entries_; }

  mutable size_t reads = 0;
  size_t syncs = 0;

 private:
  HardState state_;
  EntryId before_;
  std::vector<Entry> entries_;
};

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
      for (Message& message : ready.messages_now) Post(std::move(message));
      ready.messages_now.clear();
      for (const Event& event : ready.events) Note(id, event);
      for (const ReadIndexResult& read : ready.reads) member.reads.push_back(read);
      for (const Entry& entry : ready.committed) {
        member.applied.push_back(entry);
        ASSERT_EQ(ledger_.emplace(entry.id.index, entry).first->second, entry)
            << "two histories at index " << entry.id.index;
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
    if (cuts_.count({message.from, message.to}) == 0) wire_.push_back(std::move(message));
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

  void Note(MemberId id, const Event& event) { members_.at(id).events.push_back(event); }

  Configuration configuration_;
  std::map<MemberId, Member> members_;
  std::set<std::pair<MemberId, MemberId>> cuts_;
  std::deque<Message> wire_;
  std::map<Index, Entry> ledger_;
  std::map<Term, MemberId> leaders_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_TESTS_RAFT_NETWORK_H_
