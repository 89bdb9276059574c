// A thousand random schedules of cores: lost, duplicated and reordered messages, one-way cuts,
// restarts, slow disks, members that join and leave. The Network checks the invariants after every
// call. At the end all faults stop, and all members must agree. (The simulator does the same with
// whole members.)

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/raft/prng.h"
#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

// Proposes a change by one member: it joins as a learner or a voter, becomes a voter, or leaves.
void ChangeSomeMember(Network& net, Prng& prng, MemberId id) {
  Configuration next = net[id].membership().current();
  if (next.voters.empty()) return;
  const MemberId changed = 1 + prng.Below(net.members().size());
  const auto take = [changed](std::vector<MemberId>* from) {
    return std::erase(*from, changed) > 0;
  };
  std::vector<MemberId>* to = prng.Below(2) == 0 ? &next.voters : &next.learners;
  if (take(&next.learners)) {
    to = &next.voters;
  } else if (take(&next.voters)) {
    if (next.voters.empty()) return;
    to = nullptr;
  }
  if (to != nullptr) {
    to->push_back(changed);
    std::sort(to->begin(), to->end());
  }
  net.Change(id,
             absl::StrCat(absl::StrJoin(next.voters, ","), "+", absl::StrJoin(next.learners, ",")));
}

void DoSomething(Network& net, Prng& prng, int event) {
  const size_t size = net.members().size();
  const MemberId id = 1 + prng.Below(size);
  switch (prng.Below(18)) {
    case 0:
    case 1:
      net.Propose(id, std::to_string(event));
      break;
    case 2:
      net.Read(id, event);
      break;
    case 3:
      net.Tick(id, 1 + prng.Below(3));
      break;
    case 4:
      if (prng.Below(30) == 0) net.Restart(id);
      break;
    case 5:
      if (prng.Below(30) == 0) net.Isolate(id);
      if (prng.Below(30) == 0) net.CutOneWay(id, 1 + prng.Below(size));
      if (prng.Below(10) == 0) net.Recover();
      break;
    case 6:
      switch (prng.Below(4)) {
        case 0:
          net.Into(id, [&](Raft& raft) { raft.OnUnreachable(1 + prng.Below(size)); });
          net.Turn(id);
          break;
        case 1:
          if (const MemberId peer = 1 + prng.Below(size); peer != id) net.Lose(id, peer);
          break;
        case 2:
          net.Transfer(id, 1 + prng.Below(size));
          break;
        case 3:
          ChangeSomeMember(net, prng, id);
          break;
      }
      break;
    case 7:
      net.member(id).hold_saves = prng.Below(2) == 0;
      net.Saved(id, 1 + prng.Below(5));
      break;
    case 8:
      if (prng.Below(8) == 0) net.CutLog(id, net[id].last_index() - prng.Below(4));
      break;
    case 9:
      if (!net.SendSnapshot(id) && prng.Below(10) == 0) {
        net.SnapshotSent(id, 1 + prng.Below(size), prng.Below(2) == 0);  // nobody asked for it
      }
      break;
    default: {
      if (net.wire().empty()) {
        net.TickAll();
        break;
      }
      const size_t nth = prng.Below(std::min<size_t>(net.wire().size(), 8));
      const Message message = net.wire()[nth];
      if (prng.Below(10) != 0) net.wire().erase(net.wire().begin() + nth);
      if (prng.Below(10) != 0) net.Step(message);
    }
  }
}

void RunSchedule(uint64_t seed) {
  Prng prng(seed);
  const size_t size = 1 + prng.Below(5);
  const auto adjust = [&](Config& config) {
    config.seed = seed * 1000;
    if (seed % 3 == 0) config.append_entries_max = 1;
    if (seed % 4 == 0) config.committed_bytes_max = 1;
  };
  Network net(size, adjust);
  for (uint64_t more = prng.Below(3); more > 0; --more) net.Join(net.members().size() + 1, adjust);
  for (int event = 0; event < 1500; ++event) {
    DoSomething(net, prng, event);
    if (::testing::Test::HasFailure()) FAIL() << "seed " << seed << " event " << event;
  }
  net.Recover();
  for (const auto& [id, member] : net.members()) {
    net.member(id).hold_saves = false;
    net.Saved(id, 1000);
    net.Turn(id);
  }
  net.RunFor(120);
  // Members that were removed may lack the end of the log.
  const auto leader = std::find_if(net.members().begin(), net.members().end(), [](const auto& m) {
    return m.second.raft->role() == Role::kLeader && m.second.raft->membership().IsVoter(m.first);
  });
  ASSERT_NE(leader, net.members().end()) << "seed " << seed << ": no leader";
  for (MemberId id : leader->second.raft->membership().everyone()) {
    const Network::Member& member = net.member(id);
    ASSERT_NE(net[id].leader(), kNobody) << "seed " << seed << ": no leader";
    ASSERT_EQ(net[id].commit_index(), leader->second.raft->last_index()) << "seed " << seed;
    ASSERT_EQ(member.applied, leader->second.applied) << "seed " << seed;
  }
}

TEST(Random, SchedulesKeepTheInvariantsAndEndInAgreement) {
  for (uint64_t seed = 1; seed <= 1000 && !::testing::Test::HasFailure(); ++seed) {
    RunSchedule(seed);
  }
}

TEST(Random, EqualSeedsGiveEqualHistories) {
  const auto history = [](uint64_t seed) {
    std::vector<std::string> trace;
    Prng prng(seed);
    Network net(3);
    net.trace = &trace;
    for (int event = 0; event < 1000; ++event) DoSomething(net, prng, event);
    return trace;
  };
  EXPECT_EQ(history(5), history(5));
  EXPECT_NE(history(5), history(6));
}

}  // namespace
}  // namespace raftkv::raft
