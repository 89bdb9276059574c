#include "tests/raft/network.h"

#include <algorithm>
#include <utility>

namespace raftkv::raft {

void Network::Turn(MemberId id) {
  Member& member = members_.at(id);
  for (int i = 0; member.raft->HasReady(); ++i) {
    ASSERT_LT(i, 1000) << "member " << id << " has a Ready without end";
    Ready ready = member.raft->TakeReady();
    CheckReady(id, ready);
    for (const Event& event : ready.events) {
      Trace(id, Describe(event));
      member.events.push_back(event);
    }
    for (Message& message : ready.messages_now) Post(std::move(message));
    ready.messages_now.clear();
    member.snapshots_to.insert(member.snapshots_to.end(), ready.snapshots_to.begin(),
                               ready.snapshots_to.end());
    if (!ready.entries.empty()) Trace(id, "writes " + Describe(ready.entries));
    for (const Entry& entry : ready.committed) {
      Trace(id, "applies " + Describe(entry));
      member.applied.push_back(entry);
      ASSERT_EQ(ledger_.emplace(entry.id.index, entry).first->second, entry)
          << "two different committed entries at index " << entry.id.index;
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

void Network::Saved(MemberId id, size_t count) {
  Member& member = members_.at(id);
  for (; count > 0 && !member.unsaved.empty(); --count) {
    Ready ready = std::move(member.unsaved.front());
    member.unsaved.pop_front();
    member.disk.Save(ready);
    if (ready.snapshot) {  // the state machine has all entries up to there now
      const Index last = ready.snapshot->last.index;
      ASSERT_TRUE(ledger_.contains(last)) << "a snapshot of uncommitted entries";
      ASSERT_LT(member.applied.size(), last) << "a snapshot took the state machine back";
      for (Index i = member.applied.size() + 1; i <= last; ++i) {
        member.applied.push_back(ledger_.at(i));
      }
    }
    member.raft->OnSaved(ready.number);
    CheckMember(id);
    for (Message& message : ready.messages_after_save) Post(std::move(message));
  }
  if (member.hold_saves) Turn(id);
}

void Network::CutLog(MemberId id, Index first) {
  Member& member = members_.at(id);
  first = std::min({first, member.raft->status().applied_index + 1, member.raft->last_index()});
  if (!member.unsaved.empty() || first <= member.disk.first_index()) return;
  member.disk.Cut(first);
  Into(id, [](Raft& raft) { raft.OnLogCut(); });
  Turn(id);
}

bool Network::SendSnapshot(MemberId id) {
  Member& member = members_.at(id);
  if (!member.down && member.raft->role() != Role::kLeader) member.snapshots_to.clear();
  if (member.down || member.snapshots_to.empty()) return false;
  const MemberId to = member.snapshots_to.front();
  member.snapshots_to.erase(member.snapshots_to.begin());
  const EntryId last = member.applied.back().id;
  Message message{
      id, to, member.raft->term(),
      InstallSnapshot{{last, AppliedConfiguration(member), member.disk.ChainHash(last.index)}}};
  const bool lost = cuts_.count({id, to}) > 0 || members_.at(to).down;
  if (trace) trace->push_back(Describe(message) + (lost ? "   LOST" : ""));
  if (!lost) Step(std::move(message));
  SnapshotSent(id, to, !lost && !members_.at(to).hold_saves);
  return true;
}

std::vector<Message> Network::TakeSent(MemberId from, MemberId to) {
  std::vector<Message> taken;
  std::deque<Message> rest;
  for (Message& message : wire_) {
    const bool match = message.from == from && (to == kNobody || message.to == to);
    match ? taken.push_back(std::move(message)) : rest.push_back(std::move(message));
  }
  wire_.swap(rest);
  return taken;
}

bool Network::Deliver(MemberId from, MemberId to, size_t nth) {
  for (auto it = wire_.begin(); it != wire_.end(); ++it) {
    if (it->from != from || it->to != to || nth-- > 0) continue;
    Message message = std::move(*it);
    wire_.erase(it);
    if (!members_.at(to).down) Step(std::move(message));
    return true;
  }
  return false;
}

void Network::StabilizeOnly(const std::function<bool(const Message&)>& wanted) {
  for (int i = 0; i < 100000; ++i) {
    const auto found = std::find_if(wire_.begin(), wire_.end(), wanted);
    if (found == wire_.end()) return;
    Message message = std::move(*found);
    wire_.erase(found);
    if (!members_.at(message.to).down) Step(std::move(message));
  }
}

void Network::Stabilize() {
  for (int i = 0;; ++i) {
    ASSERT_LT(i, 100000) << "the members send messages without end";
    if (wire_.empty()) {
      const bool sent =
          send_snapshots && std::any_of(members_.begin(), members_.end(),
                                        [this](const auto& m) { return SendSnapshot(m.first); });
      if (!sent) return;
      continue;
    }
    Message message = std::move(wire_.front());
    wire_.pop_front();
    const auto to = members_.find(message.to);
    if (to != members_.end() && !to->second.down) Step(std::move(message));
  }
}

void Network::Campaign(MemberId id) {
  const Term before = (*this)[id].term();
  for (int i = 0; i < 40 && (*this)[id].role() == Role::kFollower; ++i) {
    Tick(id);
  }
  ASSERT_TRUE((*this)[id].role() != Role::kFollower || (*this)[id].term() > before);
}

void Network::Elect(MemberId id) {
  for (auto& [other, member] : members_) {
    // After this time the member no longer drops vote requests, but does not campaign itself yet.
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

void Network::Start(MemberId id) {
  Member& member = members_.at(id);
  member.down = false;
  member.unsaved.clear();
  member.snapshots_to.clear();
  ++member.config.seed;
  const Index applied = std::max<Index>(member.applied.empty() ? 0 : member.applied.back().id.index,
                                        member.disk.first_index() - 1);
  member.raft =
      std::make_unique<Raft>(member.config, AppliedConfiguration(member), applied, &member.disk);
  member.invariants = Invariants();
  CheckMember(id);
}

Configuration Network::AppliedConfiguration(const Member& member) const {
  Configuration configuration = member.joined ? Configuration() : configuration_;
  for (const Entry& entry : member.applied) {
    if (entry.type == EntryType::kConfiguration) {
      configuration = ConfigurationOf(entry.payload.view());
    }
  }
  return configuration;
}

void Network::CheckMember(MemberId id) {
  Member& member = members_.at(id);
  for (const std::string& broken : member.invariants.Check(*member.raft)) {
    ADD_FAILURE() << "member " << id << ": " << broken;
  }
  for (const std::string& broken : member.invariants.CheckBounds(*member.raft)) {
    ADD_FAILURE() << "member " << id << ": " << broken;
  }
  if (member.raft->role() == Role::kLeader) {
    const auto leader = leaders_.emplace(member.raft->term(), id).first;
    EXPECT_EQ(leader->second, id) << "two leaders in term " << member.raft->term();
  }
}

void Network::CheckReady(MemberId id, const Ready& ready) {
  const MemoryDisk& disk = members_.at(id).disk;
  for (const Message& message : ready.messages_now) {
    EXPECT_LE(message.term, disk.hard_state().current_term) << "a message has an unsaved term";
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

}  // namespace raftkv::raft
