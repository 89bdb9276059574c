// A peer that sends anything that the codec lets pass (server/peer/raft_codec.cc). Whatever it
// sends may be rejected, or halt the member; it never ends the process and never breaks an
// invariant.

#include "server/raft/invariants.h"
#include "server/raft/prng.h"
#include "server/raft/raft.h"
#include "tests/raft/memory_disk.h"

namespace raftkv::raft {
namespace {

class BadPeer {
 public:
  explicit BadPeer(uint64_t seed) : prng_(seed) {}

  Message Next(const Raft& raft) {
    Message message{2 + prng_.Below(2), 1, Near(raft.term()), Body(raft)};
    if (auto* append = std::get_if<AppendEntries>(&message.body)) Repair(message.term, append);
    if (auto* install = std::get_if<InstallSnapshot>(&message.body)) {
      install->meta.last.term = std::clamp<Term>(install->meta.last.term, 1, message.term);
      install->meta.last.index = std::max<Index>(install->meta.last.index, 1);
    }
    return message;
  }

 private:
  uint64_t Near(uint64_t n) {
    switch (prng_.Below(8)) {
      case 0:
        return 1 + prng_.Below(uint64_t{1} << 62);
      case 1:
      case 2:
        return 1 + prng_.Below(n + 4);
      default:
        return std::clamp<uint64_t>(n + prng_.Below(3), 2, uint64_t{1} << 62) - prng_.Below(2);
    }
  }
  EntryId Id(const Raft& raft) {
    if (prng_.Below(6) == 0) return {};
    return {Near(raft.term()), Near(raft.last_index())};
  }
  bool Coin() { return prng_.Below(2) == 0; }

  MessageBody Body(const Raft& raft) {
    const uint64_t chain = Coin() ? 0 : prng_.Next();
    switch (prng_.Below(9)) {
      case 0:
        return RequestVote{.last = Id(raft), .pre_vote = Coin()};
      case 1:
        return RequestVoteReply{.granted = Coin(), .pre_vote = Coin()};
      case 2:
        return ReadIndexRequest{.id = prng_.Next()};
      case 3:
        return ReadIndexReply{.id = prng_.Next(), .index = Near(raft.commit_index())};
      case 4:
        return InstallSnapshot{
            {.last = Id(raft), .configuration = {{1, 2, 3}, {}}, .chain_hash = prng_.Next()}};
      case 5:
        return TimeoutNow{};
      case 6: {
        AppendEntriesReply reply{.success = Coin(), .match = Near(raft.last_index())};
        reply.rejected_prev = Id(raft);
        reply.hint = Id(raft);
        reply.round = prng_.Below(40);
        if (!reply.success && Coin()) reply.conflict = Id(raft);
        reply.conflict_chain = chain;
        return reply;
      }
      default: {
        AppendEntries append{.prev = Id(raft), .entries = {}, .commit = Near(raft.commit_index())};
        for (uint64_t i = prng_.Below(4); i > 0; --i) append.entries.push_back(Command(1, 1));
        append.round = prng_.Below(40);
        append.prev_chain = chain;
        append.acknowledged = Coin() ? 0 : prng_.Below(raft.last_index() + 2);
        return append;
      }
    }
  }

  // Terms do not go back, and none is above that of the message, as the codec demands.
  void Repair(Term term, AppendEntries* append) {
    append->prev.term = std::min(append->prev.term, term);
    if (append->prev.term == 0) append->prev = {};
    EntryId last = append->prev;
    for (Entry& entry : append->entries) {
      const Term from = std::max<Term>(last.term, 1);
      last = {from + prng_.Below(std::min<uint64_t>(term - from + 1, 3)), last.index + 1};
      entry = Command(last.term, last.index, Coin() ? "x" : "y");
    }
  }

  Prng prng_;
};

// One member, without the rest of its cluster.
class Lone {
 public:
  Lone() : raft_(TestConfig(1), {{1, 2, 3}, {}}, 0, &disk_) {}

  void Step(Message message) {
    raft_.Step(std::move(message));
    Turn();
  }
  void Tick() {
    raft_.Tick(1);
    Turn();
  }
  // Everybody grants what it asks for.
  void Lead() {
    while (raft_.role() == Role::kFollower) Tick();
    Step({2, 1, raft_.term() + 1, RequestVoteReply{.granted = true, .pre_vote = true}});
    Step({2, 1, raft_.term(), RequestVoteReply{.granted = true}});
    EXPECT_EQ(raft_.role(), Role::kLeader);
  }
  Raft& raft() { return raft_; }
  size_t rejected = 0, halted = 0;

 private:
  void Turn() {
    while (raft_.HasReady()) {
      const Ready ready = raft_.TakeReady();
      disk_.Save(ready);
      raft_.OnSaved(ready.number);
      if (!ready.committed.empty()) raft_.OnApplied(ready.committed.back().id.index);
      for (const Event& event : ready.events) {
        rejected += std::holds_alternative<MessageRejected>(event);
        halted += std::holds_alternative<Halted>(event);
      }
    }
    for (const std::string& broken : invariants_.Check(raft_)) ADD_FAILURE() << broken;
    for (const std::string& broken : invariants_.CheckBounds(raft_)) ADD_FAILURE() << broken;
  }

  MemoryDisk disk_;
  Raft raft_;
  Invariants invariants_;
};

TEST(BadPeer, NothingThatItSendsEndsTheProcess) {
  size_t rejected = 0, halted = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Lone member;
    if (seed % 2 == 0) member.Lead();
    for (int i = 0; i < 4; ++i) member.raft().Propose(Payload("x"));
    BadPeer peer(seed);
    for (int i = 0; i < 60; ++i) {
      member.Step(peer.Next(member.raft()));
      if (i % 5 == 0) member.Tick();
      if (testing::Test::HasFailure()) return;
    }
    rejected += member.rejected;
    halted += member.halted;
  }
  EXPECT_GT(rejected, 100u);
  EXPECT_GT(halted, 10u);
}

}  // namespace
}  // namespace raftkv::raft
