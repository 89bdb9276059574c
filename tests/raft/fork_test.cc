// Logs that contradict each other, because a member has forgotten what it had saved.

#include "server/raft/raft.h"
#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

std::vector<Halted> HaltsOf(Network& net, MemberId id) {
  std::vector<Halted> halts;
  for (const Event& event : net.member(id).events) {
    if (const auto* halted = std::get_if<Halted>(&event)) halts.push_back(*halted);
  }
  return halts;
}

AppendEntriesReply Answer(Network& net, MemberId from, MemberId to) {
  const std::vector<Message> sent = net.TakeSent(from, to);
  if (sent.size() != 1) {
    ADD_FAILURE() << sent.size() << " answers";
    return {};
  }
  return std::get<AppendEntriesReply>(sent[0].body);
}

std::vector<Entry> Log(const std::string& texts, Term term) {
  std::vector<Entry> entries;
  for (const char c : texts) {
    entries.push_back(Command(term, entries.size() + 1, std::string(1, c)));
  }
  return entries;
}

// Member 1 has the log "abc" of term 1. Its first `commit` entries are committed.
Network WithLog(Index commit, EntryId before = {}) {
  std::vector<Entry> entries = Log("abc", 1);
  MemoryDisk disk({1, 0, commit}, entries);
  if (before.index > 0) disk.Cut(before.index + 1);
  std::map<MemberId, MemoryDisk> disks;
  disks[1] = std::move(disk);
  disks[2] = disks[3] = {};
  return Network(std::move(disks));
}

TEST(Fork, AnAppendWithoutContradictionIsTaken) {
  Network net = WithLog(1);
  net.Step(
      From(2, 2,
           AppendEntries{
               .prev = {1, 3}, .entries = {Command(2, 4)}, .prev_chain = ChainOf(Log("abc", 1))}));
  EXPECT_EQ(net[1].last_index(), 4u);
  net.Step(From(2, 2,
                AppendEntries{.prev = {1, 1},
                              .entries = {Command(1, 2, "b"), Command(1, 3, "c")},
                              .prev_chain = ChainOf(Log("a", 1))}));
  EXPECT_FALSE(net[1].halted());
  EXPECT_EQ(net[1].last_index(), 4u);
}

TEST(Fork, ChainsAreComparedAtPrev) {
  Network net = WithLog(1);
  net.Step(
      From(2, 2,
           AppendEntries{
               .prev = {1, 3}, .entries = {Command(2, 4)}, .prev_chain = ChainOf(Log("abX", 1))}));
  EXPECT_TRUE(net[1].halted());
  EXPECT_EQ(net[1].last_index(), 3u);
  EXPECT_EQ(net[1].leader(), kNobody);
  const AppendEntriesReply reply = Answer(net, 1, 2);
  EXPECT_FALSE(reply.success);
  EXPECT_EQ(reply.conflict, (EntryId{1, 3}));
  EXPECT_EQ(reply.conflict_chain, ChainOf(Log("abc", 1)));
  ASSERT_EQ(HaltsOf(net, 1).size(), 1u);
  EXPECT_EQ(HaltsOf(net, 1)[0].why, Halted::Why::kConflict);
  EXPECT_EQ(HaltsOf(net, 1)[0].peer, 2u);
}

TEST(Fork, APeerThatDoesNotKnowTheChainIsBelieved) {
  Network net = WithLog(1);
  net.Step(From(2, 2, AppendEntries{.prev = {1, 3}, .entries = {Command(2, 4)}}));
  EXPECT_FALSE(net[1].halted());
  EXPECT_EQ(net[1].last_index(), 4u);
}

TEST(Fork, EntriesThatTheLogHasAreComparedToo) {
  Network net = WithLog(1);
  net.Step(From(2, 2,
                AppendEntries{.prev = {1, 1},
                              .entries = {Command(1, 2, "b"), Command(1, 3, "X")},
                              .prev_chain = ChainOf(Log("a", 1))}));
  EXPECT_TRUE(net[1].halted());
  EXPECT_EQ(Answer(net, 1, 2).conflict, (EntryId{1, 3}));
}

TEST(Fork, ACutLogIsComparedAtItsFirstEntry) {
  for (const std::string theirs : {"ab", "aX"}) {
    Network net = WithLog(2, {1, 2});
    ASSERT_EQ(net[1].status().first_index, 3u);
    std::vector<Entry> entries = Log(theirs, 1);
    entries.push_back(Command(1, 3, "c"));
    net.Step(From(2, 2, AppendEntries{.prev = {}, .entries = entries}));
    EXPECT_EQ(net[1].halted(), theirs == "aX");
  }
}

TEST(Fork, ACommittedEntryIsNeverReplaced) {
  Network net = WithLog(2);
  net.Step(From(2, 5, AppendEntries{.prev = {1, 1}, .entries = {Command(2, 2)}}));
  EXPECT_TRUE(net[1].halted());
  EXPECT_EQ(net[1].last_index(), 3u);
  EXPECT_EQ(Answer(net, 1, 2).conflict, (EntryId{1, 2}));
}

TEST(Fork, APrevThatContradictsACommittedEntryIsEnough) {
  Network net = WithLog(2);
  net.Step(From(2, 5, AppendEntries{.prev = {3, 2}}));
  EXPECT_TRUE(net[1].halted());
  Network other = WithLog(2);
  other.Step(From(2, 5, AppendEntries{.prev = {3, 3}}));
  EXPECT_FALSE(other[1].halted()) << "entry 3 is not known to be committed";
}

TEST(Fork, SnapshotsAreCompared) {
  const auto snapshot = [](EntryId last, const std::string& texts) {
    return InstallSnapshot{
        {.last = last, .configuration = {{1, 2, 3}, {}}, .chain_hash = ChainOf(Log(texts, 1))}};
  };
  Network equal = WithLog(1);
  equal.Step(From(2, 2, snapshot({1, 2}, "ab")));
  EXPECT_FALSE(equal[1].halted());
  Network differs = WithLog(1);
  differs.Step(From(2, 2, snapshot({1, 2}, "aX")));
  EXPECT_TRUE(differs[1].halted());
  Network committed = WithLog(2);
  committed.Step(From(2, 3, snapshot({2, 2}, "aX")));
  EXPECT_TRUE(committed[1].halted());
  EXPECT_EQ(committed[1].last_index(), 3u);
}

// The chain hash of a snapshot is the base of the chain of the entries after it.
TEST(Fork, AfterASnapshotChainsGoOn) {
  MemoryDisk disk;
  Raft raft(TestConfig(1), {{1, 2, 3}, {}}, 0, &disk);
  const auto step = [&](MessageBody body) {
    raft.Step(From(2, 1, std::move(body)));
    while (raft.HasReady()) {
      const Ready ready = raft.TakeReady();
      disk.Save(ready);
      raft.OnSaved(ready.number);
    }
  };
  const uint64_t chain = ChainOf(Log("abcdef", 1));
  step(InstallSnapshot{{{1, 6}, {{1, 2, 3}, {}}, chain}});
  step(AppendEntries{.prev = {1, 6}, .entries = {Command(1, 7, "g")}, .prev_chain = chain});
  EXPECT_EQ(raft.last_index(), 7u);
  step(AppendEntries{.prev = {1, 7}, .prev_chain = ChainOf(Log("abcdefg", 1))});
  EXPECT_FALSE(raft.halted());
  step(AppendEntries{.prev = {1, 7}, .prev_chain = ChainOf(Log("abcdeXg", 1))});
  EXPECT_TRUE(raft.halted());
}

TEST(Fork, ALeaderThatIsToldHaltsIfItsLogShowsIt) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "x");
  net.Stabilize();
  const Term term = net[1].term();
  const auto reply = [&](EntryId conflict, uint64_t chain) {
    AppendEntriesReply reply{.rejected_prev = {term, 1}, .hint = {term, 1}};
    reply.conflict = conflict;
    reply.conflict_chain = chain;
    return From(2, term, reply);
  };
  net.Step(reply({term, 1}, net.member(1).disk.ChainHash(1)));
  EXPECT_FALSE(net[1].halted()) << "the logs are equal there";
  net.Step(reply({term, 9}, 5));
  EXPECT_FALSE(net[1].halted()) << "this leader has no entry there";
  net.Step(reply({term, 1}, 5));
  EXPECT_TRUE(net[1].halted());
  EXPECT_EQ(net[1].role(), Role::kFollower);
  EXPECT_EQ(HaltsOf(net, 1)[0].why, Halted::Why::kToldConflict);
}

TEST(Fork, AHaltedMemberTakesNoPartButTellsEachLeader) {
  Network net = WithLog(2);
  net.Into(1, [](Raft& raft) { raft.Halt(); });
  net.Turn(1);
  net.Tick(1, 100);
  EXPECT_TRUE(net.TakeSent(1).empty()) << "it does not campaign";
  net.Step(From(2, 7, RequestVote{.last = {6, 9}}));
  const std::vector<Message> sent = net.TakeSent(1, 2);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_FALSE(std::get<RequestVoteReply>(sent[0].body).granted);
  net.Step(From(2, 7, AppendEntries{.prev = {1, 3}, .entries = {Command(7, 4)}}));
  EXPECT_TRUE(net.TakeSent(1).empty());
  EXPECT_EQ(net[1].last_index(), 3u);
  net.Step(From(3, 8, AppendEntries{.prev = {1, 1}, .entries = {Command(8, 2)}}));
  EXPECT_EQ(Answer(net, 1, 3).conflict, (EntryId{1, 2}));
}

// A member comes back with an older copy of its disk, while its leader goes on.
TEST(Fork, AFollowerThatLostWhatItAcknowledgedIsExcludedAndHalts) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "before");
  net.RunFor(3);
  const MemoryDisk copy = net.member(3).disk;
  for (int i = 0; i < 5; ++i) net.Propose(1, "x");
  net.RunFor(3);
  ASSERT_EQ(net[3].last_index(), 7u);
  net.Crash(3);
  net.member(3).disk = copy;
  net.member(3).applied.resize(2);
  net.Start(3);
  net.RunFor(5);
  EXPECT_TRUE(net[3].halted());
  EXPECT_EQ(HaltsOf(net, 3)[0].why, Halted::Why::kLostEntries);
  EXPECT_EQ(HaltsOf(net, 3)[0].entry.index, 7u);
  size_t lost = 0;
  for (const Event& event : net.member(1).events)
    lost += std::holds_alternative<PeerLostEntries>(event);
  EXPECT_EQ(lost, 1u);
  // Without it, the others go on.
  net.Propose(1, "after");
  net.RunFor(3);
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[2].commit_index(), 8u);
  EXPECT_EQ(net[3].last_index(), 2u);
  net.Isolate(2);
  net.RunFor(30);
  EXPECT_NE(net[1].role(), Role::kLeader) << "the member does not count";
}

}  // namespace
}  // namespace raftkv::raft
