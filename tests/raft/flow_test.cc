// How entries are replicated: batches, the window, finding the common prefix after conflicts, late
// and lost messages, and the bounds of memory. The tests count messages and saves; they measure no
// time.

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

size_t Appends(const std::vector<Message>& messages) {
  size_t count = 0;
  for (const Message& message : messages) {
    const auto* append = std::get_if<AppendEntries>(&message.body);
    if (append && !append->entries.empty()) ++count;
  }
  return count;
}

// 64 puts arrive in four groups. Each turn takes all that has arrived and saves once.
TEST(Flow, SixtyFourConcurrentPutsNeedAtMostSixteenSyncedBatches) {
  Network net(3, [](Config& config) {
    config.append_entries_max = 1024;
    config.append_bytes_max = config.inflight_bytes_max = config.committed_bytes_max = 1 << 20;
  });
  net.Elect(1);
  for (MemberId id : {1, 2, 3}) net.member(id).disk.syncs = 0;
  for (int group = 0; group < 4; ++group) {
    for (int i = 0; i < 16; ++i) net.Into(1, [](Raft& raft) { raft.Propose(Payload("put")); });
    net.Turn(1);
  }
  net.Stabilize();
  EXPECT_EQ(net[1].commit_index(), 65u);
  EXPECT_EQ(net.member(1).applied.size(), 65u);
  for (MemberId id : {1, 2, 3}) EXPECT_LE(net.member(id).disk.syncs, 16u) << id;
  EXPECT_EQ(net.member(1).disk.syncs, 4u) << "one in each turn";
}

TEST(Flow, ProposalsOfOneTurnShareOneAppend) {
  Network net(3);
  net.Elect(1);
  for (int i = 0; i < 4; ++i) net.Into(1, [](Raft& raft) { raft.Propose(Payload("x")); });
  net.Turn(1);
  const auto sent = net.TakeSent(1, 2);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(std::get<AppendEntries>(sent[0].body).entries.size(), 4u);
}

TEST(Flow, AppendsAreSentWithoutWaitingUpToTheWindow) {
  Network net(3);  // three messages of at most four entries
  net.Elect(1);
  for (int i = 0; i < 5; ++i) net.Propose(1, "x");
  EXPECT_EQ(Appends(net.TakeSent(1, 2)), 3u);
  EXPECT_EQ(net[1].status().peers.at(2).inflight_messages, 3u);
  net.Step(From(2, 1, AppendEntriesReply{.success = true, .match = 2}));
  const auto more = net.TakeSent(1, 2);
  ASSERT_EQ(Appends(more), 1u);
  EXPECT_EQ(std::get<AppendEntries>(more[0].body).entries.size(), 2u)
      << "the waiting entries are sent at once";
}

TEST(Flow, AppendsAreBoundedInBytesButOneEntryAlwaysFits) {
  Network net(3);
  net.Elect(1);
  net.Into(1, [](Raft& raft) {
    raft.Propose(Payload(std::string(100, 'a')));
    raft.Propose(Payload(std::string(100, 'b')));
    raft.Propose(Payload(std::string(999, 'c')));
  });
  net.Turn(1);
  const auto sent = net.TakeSent(1, 2);
  ASSERT_EQ(sent.size(), 3u);  // 132 + 132 > 256
  EXPECT_EQ(std::get<AppendEntries>(sent[2].body).entries.at(0).payload.size(), 999u);
}

TEST(Flow, NewCommitIndexIsSentAtOnceAndNotAnswered) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "x");
  ASSERT_TRUE(net.Deliver(1, 2) && net.Deliver(1, 3));
  ASSERT_TRUE(net.Deliver(2, 1) && net.Deliver(3, 1));
  EXPECT_EQ(net.wire().size(), 2u) << "one to each follower, without entries";
  net.Deliver(1, 2), net.Deliver(1, 3);
  EXPECT_EQ(net[2].commit_index(), 2u);
  EXPECT_TRUE(net.wire().empty());
}

TEST(Flow, IdleClusterSendsOnlyHeartbeats) {
  Network net(3);
  net.Elect(1);
  net.RunFor(20);
  std::vector<std::string> trace;
  net.trace = &trace;
  net.RunFor(20);  // ten heartbeats to two followers, and their replies
  EXPECT_EQ(trace.size(), 40u);
}

TEST(Flow, FollowerAnswersSeveralAppendsOfOneTurnOnce) {
  Network net(3);
  const auto append = [](Index prev) {
    return AppendEntries{.prev = {prev == 0 ? 0u : 1u, prev},
                         .entries = {Command(1, prev + 1)},
                         .commit = 0,
                         .round = 1};
  };
  net.Into(1, [&](Raft& raft) {
    for (Index prev : {0, 1, 2}) raft.Step(From(2, 1, append(prev)));
  });
  net.Turn(1);
  const auto sent = net.TakeSent(1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(std::get<AppendEntriesReply>(sent[0].body).match, 3u);
  EXPECT_EQ(net.member(1).disk.syncs, 1u);
}

// A follower acknowledges entries only after they are saved. It echoes a new round at once.
TEST(Flow, AcknowledgementWaitsForTheSave) {
  Network net(3);
  net.Step(From(2, 1, AppendEntries{.round = 1}));
  net.DropAll();
  net.member(1).hold_saves = true;
  net.Step(
      From(2, 1, AppendEntries{.prev = {}, .entries = {Command(1, 1)}, .commit = 0, .round = 1}));
  EXPECT_TRUE(net.wire().empty());
  net.Step(From(2, 1, AppendEntries{.prev = {1, 1}, .entries = {}, .commit = 1, .round = 2}));
  const auto echo = net.TakeSent(1);
  ASSERT_EQ(echo.size(), 1u);
  EXPECT_EQ(std::get<AppendEntriesReply>(echo[0].body).match, 0u)
      << "only entries that are on disk";
  EXPECT_EQ(std::get<AppendEntriesReply>(echo[0].body).round, 2u);
  net.Saved(1, 10);
  EXPECT_EQ(std::get<AppendEntriesReply>(net.TakeSent(1).back().body).match, 1u);
}

// An entry of a deposed leader is replaced in the same turn, before it is written. The old leader
// must not get an acknowledgement for it.
TEST(Flow, EntriesReplacedBeforeTheyWereWrittenAreNeverAcknowledged) {
  Network net(3);
  net.Into(1, [](Raft& raft) {
    raft.Step(From(2, 1, AppendEntries{.prev = {}, .entries = {Command(1, 1, "old")}}));
    raft.Step(From(3, 2, AppendEntries{.prev = {}, .entries = {Command(2, 1, "new")}}));
  });
  net.Turn(1);
  EXPECT_TRUE(net.TakeSent(1, 2).empty());
  const auto sent = net.TakeSent(1, 3);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(std::get<AppendEntriesReply>(sent[0].body).match, 1u);
  EXPECT_EQ(net.member(1).disk.entries().at(0).payload.view(), "new");
}

TEST(Flow, LateDuplicateOfAShorterAppendRemovesNothing) {
  Network net(3);
  const AppendEntries first{.prev = {}, .entries = {Command(1, 1)}, .commit = 0, .round = 1};
  const AppendEntries second{
      .prev = {1, 1}, .entries = {Command(1, 2), Command(1, 3)}, .commit = 0, .round = 1};
  net.Step(From(2, 1, first));
  net.Step(From(2, 1, second));
  net.DropAll();
  net.Step(From(2, 1, first));
  EXPECT_EQ(net[1].last_index(), 3u);
  EXPECT_EQ(std::get<AppendEntriesReply>(net.TakeSent(1).at(0).body).match, 3u)
      << "a duplicate with entries is answered with the whole match";
}

// An append proves only that the logs are equal up to its last entry. A follower must not commit
// entries beyond that, even if the leader's commit index is higher.
TEST(Flow, FollowerCommitsOnlyUpToTheMatch) {
  Network net({{1, MemoryDisk({1, 0, 0}, LogOfTerms({1, 1, 1}))}, {2, {}}, {3, {}}});
  net.Step(From(2, 2, AppendEntries{.prev = {1, 1}, .entries = {}, .commit = 3, .round = 1}));
  EXPECT_EQ(net[1].commit_index(), 1u) << "entries 2 and 3 may be another leader's";
}

TEST(Flow, LostLastAppendIsNoticedByTheHeartbeat) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "x");
  net.TakeSent(1, 3);
  net.Stabilize();
  EXPECT_EQ(net[3].last_index(), 1u);
  net.RunFor(6);
  EXPECT_EQ(net[3].commit_index(), 2u);
}

TEST(Flow, GapInTheStreamIsFilled) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "a");
  net.TakeSent(1, 2);
  net.Propose(1, "b");
  net.Stabilize();
  EXPECT_EQ(net[2].commit_index(), 3u);
}

TEST(Flow, SlowFollowerDiskIsNotTreatedAsLoss) {
  Network net(3);
  net.Elect(1);
  net.member(2).hold_saves = true;
  net.Propose(1, "x");
  net.Stabilize();
  std::vector<std::string> trace;
  net.trace = &trace;
  net.RunFor(8);
  for (const std::string& line : trace)
    EXPECT_EQ(line.find("1->2 term 1 AppendEntries prev=1/1 commit=2 round=1 ["), std::string::npos)
        << line;
  for (const std::string& line : trace) EXPECT_EQ(line.find("lacks"), std::string::npos) << line;
  net.member(2).hold_saves = false;
  net.Saved(2, 10);
  net.Turn(2);
  net.RunFor(4);
  EXPECT_EQ(net[1].status().peers.at(2).match_index, 2u);
}

// A dead peer costs one message in each heartbeat interval, however many entries are proposed.
TEST(Flow, UnreachablePeerIsProbedOnceAHeartbeat) {
  Network net(3);
  net.Elect(1);
  net.CutOneWay(1, 3);
  const auto unreachable = [&] {
    net.Into(1, [](Raft& raft) { raft.OnUnreachable(3); });
    net.Turn(1);
  };
  unreachable();
  std::vector<std::string> trace;
  net.trace = &trace;
  for (int i = 0; i < 10; ++i) {
    net.Propose(1, "x");
    unreachable();
    net.Stabilize();
  }
  size_t to_dead = 0;
  for (const std::string& line : trace) to_dead += line.rfind("1->3", 0) == 0;
  EXPECT_LE(to_dead, 2u);
  net.Recover();
  net.RunFor(6);
  EXPECT_EQ(net[3].commit_index(), 11u);
}

// An entry takes longer than an election timeout to reach the two followers. Heartbeats overtake
// it, and nothing is sent a second time.
TEST(Flow, HeartbeatsOvertakeALargeEntry) {
  Network net(3, [](Config& config) {
    config.uncommitted_bytes_max = 4 << 20;
    config.inflight_bytes_max = 4 << 20;
    config.inflight_messages_max = 64;
  });
  net.Elect(1);
  net.RunFor(10);
  size_t large = 0;
  const auto is_small = [&](const Message& message) {
    const auto* append = std::get_if<AppendEntries>(&message.body);
    if (append == nullptr) return true;
    // An append that refers to the large entry is sent after it, so it must not arrive before it.
    return append->entries.empty() && append->prev.index <= append->acknowledged;
  };
  net.Propose(1, std::string(1 << 20, 'x'));
  net.StabilizeOnly(is_small);
  for (int i = 0; i < 40; ++i) {
    net.TickAll();
    net.Propose(1, "small");
    net.StabilizeOnly(is_small);
  }
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[1].term(), 1u);
  EXPECT_EQ(net[1].commit_index(), 1u);
  for (const Message& message : net.wire()) {
    const auto* append = std::get_if<AppendEntries>(&message.body);
    if (append == nullptr) continue;
    for (const Entry& entry : append->entries) large += EntryBytes(entry) > (1 << 20);
  }
  EXPECT_EQ(large, 2u) << "one for each follower";
  net.Stabilize();
  net.RunFor(4);
  EXPECT_EQ(net[1].commit_index(), 42u);
}

// A probe is repeated, so it must be small.
TEST(Flow, AProbeHasNoLargeEntries) {
  Network net(3);
  net.Elect(1);
  net.RunFor(10);
  net.Isolate(3);
  net.Propose(1, std::string(1 << 20, 'x'));
  net.Stabilize();
  net.Into(1, [](Raft& raft) { raft.OnUnreachable(3); });
  net.DropAll();
  net.Recover();
  net.TickAll(4);
  size_t probes = 0;
  for (const Message& message : net.wire()) {
    const auto* append = std::get_if<AppendEntries>(&message.body);
    if (append == nullptr || message.to != 3) continue;
    EXPECT_TRUE(append->entries.empty());
    ++probes;
  }
  EXPECT_GT(probes, 0u);
  net.RunFor(4);
  EXPECT_EQ(net[3].commit_index(), 2u);
}

TEST(Flow, FollowerFarBehindGetsEntriesFromDisk) {
  Network net(3);
  net.Elect(1);
  net.Isolate(3);
  for (int i = 0; i < 200; ++i) {
    net.Propose(1, "x");
    net.Stabilize();
    if (i % 5 == 0) net.RunFor(1);
  }
  ASSERT_EQ(net[1].role(), Role::kLeader);
  ASSERT_EQ(net[1].commit_index(), 201u);
  net.member(1).disk.reads = 0;
  net.Recover();
  net.RunFor(30);
  EXPECT_EQ(net[3].commit_index(), 201u);
  EXPECT_GT(net.member(1).disk.reads, 10u) << "only the newest entries are in memory";
}

// Entries that are committed are not urgent: clients do not wait for them.
TEST(Flow, AReadySendsOneAppendOfCommittedEntriesToAPeer) {
  Network net(3);  // four entries in an append, three appends in flight
  net.Elect(1);
  net.Stabilize();
  net.Cut(1, 3);
  for (int i = 0; i < 30; ++i) {
    net.Propose(1, "x");
    net.Stabilize();
  }
  ASSERT_EQ(net[1].commit_index(), 31u);
  ASSERT_EQ(net[1].status().peers.at(3).inflight_messages, 3u);
  net.Into(1, [](Raft& raft) {
    raft.Step(From(3, raft.term(), AppendEntriesReply{.success = true, .match = 4}));
    EXPECT_EQ(Appends(raft.TakeReady().messages_now), 1u);
    EXPECT_TRUE(raft.HasReady()) << "there is more";
    EXPECT_FALSE(raft.HasUrgentReady());
    raft.Propose(Payload("y"));
    EXPECT_TRUE(raft.HasUrgentReady());
  });
}

TEST(Flow, HotPathNeverReadsTheDisk) {
  Network net(3, [](Config& config) {
    config.log_cache_bytes_max = 1 << 20;
    config.committed_bytes_max = 1 << 20;
  });
  net.Elect(1);
  for (MemberId id : {1, 2, 3}) net.member(id).disk.reads = 0;
  for (int i = 0; i < 100; ++i) {
    net.Propose(1, "x");
    net.Read(1, i);
    net.RunFor(1);
  }
  for (MemberId id : {1, 2, 3}) EXPECT_EQ(net.member(id).disk.reads, 0u);
}

TEST(Flow, ProposalsBeyondTheBoundAreRejectedUntilEntriesCommit) {
  Network net(3, [](Config& config) { config.uncommitted_bytes_max = 1000; });
  net.Elect(1);
  net.Isolate(1);
  int accepted = 0;
  while (net.Propose(1, std::string(68, 'x')) == ProposeResult::kAccepted) ++accepted;
  EXPECT_EQ(accepted, 10);
  EXPECT_EQ(net.Propose(1, "y"), ProposeResult::kTooManyRequests);
  net.Recover();
  net.RunFor(8);
  ASSERT_EQ(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[1].commit_index(), 11u);
  EXPECT_EQ(net.Propose(1, std::string(5000, 'x')), ProposeResult::kAccepted)
      << "a single entry may be larger";
}

TEST(Flow, ProposalAtAFollowerIsRejected) {
  Network net(3);
  net.Elect(1);
  EXPECT_EQ(net.Propose(2, "x"), ProposeResult::kNotLeader);
  EXPECT_EQ(net[2].last_index(), 1u);
}

TEST(Flow, AcceptedProposalIsTheLastEntry) {
  Network net(3);
  net.Elect(1);
  ASSERT_EQ(net.Propose(1, "x"), ProposeResult::kAccepted);
  net.Stabilize();
  const EntryId id{net[1].status().term, net[1].status().last_index};
  EXPECT_EQ(net.member(2).applied.back(), Command(id.term, id.index, "x"));
}

// The applier's backlog is bounded: while it is full, the core hands out no more entries.
TEST(Flow, CommittedEntriesWaitForTheApplier) {
  Network net(1);  // committed_bytes_max = 256
  net.Tick(1);
  net.member(1).hold_apply = true;
  for (int i = 0; i < 20; ++i) net.Propose(1, std::string(32, 'x'));
  EXPECT_EQ(net[1].commit_index(), 21u);
  const size_t first = net.member(1).applied.size();
  EXPECT_LE(first, 6u);
  net.member(1).hold_apply = false;
  net.Into(1, [&](Raft& raft) { raft.OnApplied(first); });
  net.Turn(1);
  EXPECT_EQ(net.member(1).applied.size(), 21u);
}

// Finding the common prefix takes one round trip for each conflicting term, not for each entry.
TEST(Flow, ConflictsCostAtMostOneRejectionPerTerm) {
  std::vector<Term> leader(50, 1), follower(50, 1);
  leader.insert(leader.end(), 50, 7);
  for (Term term : {2, 3, 4}) follower.insert(follower.end(), 20, term);
  Network net({{1, MemoryDisk({7, 0, 0}, LogOfTerms(leader))},
               {2, MemoryDisk({7, 0, 0}, LogOfTerms(follower))},
               {3, {}}});
  std::vector<std::string> trace;
  net.trace = &trace;
  net.Elect(1);
  net.RunFor(10);
  size_t rejections = 0;
  for (const std::string& line : trace) {
    if (line.rfind("2->1", 0) == 0 && line.find("lacks") != std::string::npos) ++rejections;
  }
  EXPECT_LE(rejections, 3u);
  EXPECT_EQ(net.member(2).disk.entries(), net.member(1).disk.entries());
}

// The follower had acknowledged entries to this leader. A later leader may send it all entries
// again.
TEST(Flow, FollowerThatLostItsDiskIsExcludedByItsLeader) {
  Network net(3);
  net.Elect(1);
  for (int i = 0; i < 10; ++i) net.Propose(1, "x");
  net.Stabilize();
  net.Crash(3);
  net.member(3).disk = MemoryDisk();
  net.member(3).applied.clear();
  net.Start(3);
  net.Into(3, [](Raft& raft) { raft.SetVoting(false); });
  net.RunFor(10);
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_FALSE(net[3].halted()) << "its directory is new";
  EXPECT_EQ(net[3].last_index(), 0u);
  net.Crash(3);
  net.Transfer(1, 2);
  net.Stabilize();
  net.Start(3);
  net.Into(3, [](Raft& raft) { raft.SetVoting(false); });
  net.RunFor(10);
  EXPECT_EQ(net[2].role(), Role::kLeader);
  EXPECT_EQ(net[3].commit_index(), 12u);
  EXPECT_EQ(net.member(3).applied, net.member(1).applied);
}

}  // namespace
}  // namespace raftkv::raft
