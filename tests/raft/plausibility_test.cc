// Messages that no correct peer would send. They are well-formed, so the codec lets them pass. A
// member rejects them: it reports them, changes nothing and goes on.

#include "gtest/gtest.h"
#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

// Gives `message` to its receiver. Returns why it was rejected, or "".
std::string Reject(Network& net, const Message& message) {
  Network::Member& member = net.member(message.to);
  net.Turn(message.to);  // what it has to do anyway
  member.events.clear();
  const Status before = member.raft->status();
  const std::vector<Entry> log = member.disk.entries();
  net.Step(message);
  for (const Event& event : member.events) {
    const auto* rejected = std::get_if<MessageRejected>(&event);
    if (rejected == nullptr) continue;
    EXPECT_EQ(rejected->from, message.from);
    EXPECT_EQ(Describe(member.raft->status()), Describe(before));
    EXPECT_EQ(Describe(member.disk.entries()), Describe(log));
    EXPECT_TRUE(net.TakeSent(message.to, message.from).empty()) << "it is not answered";
    return rejected->why;
  }
  return "";
}

TEST(Plausibility, OneTermHasOneLeader) {
  Network net(3);
  net.Elect(1);
  net.DropAll();
  const Term term = net[1].term();
  EXPECT_EQ(Reject(net, From(2, term, AppendEntries{})),
            "it claims to lead in the term of this leader");
  EXPECT_EQ(Reject(net, From(2, term, AppendEntries{}, /*to=*/3)),
            "it leads in the term of another leader");
  EXPECT_EQ(net[1].role(), Role::kLeader);
  EXPECT_EQ(net[3].leader(), 1u);
}

TEST(Plausibility, ALeaderNeverChangesItsOwnLog) {
  Network net({{1, MemoryDisk({1, 0, 0}, LogOfTerms({1}))}, {2, {}}, {3, {}}});
  net.Step(From(2, 3, AppendEntries{.prev = {1, 1}, .entries = {Command(2, 2)}}));
  net.DropAll();
  EXPECT_EQ(Reject(net, From(2, 3, AppendEntries{.prev = {1, 1}, .entries = {Command(3, 2)}})),
            "its entry differs from one that it sent before");
  EXPECT_EQ(Reject(net, From(2, 3, AppendEntries{.prev = {2, 2}, .entries = {Command(1, 3)}})),
            "the terms of its entries decrease");
}

TEST(Plausibility, ALeaderChangesTheConfigurationOnceAtATime) {
  const auto change = [](Index index) {
    return Entry{{1, index}, EntryType::kConfiguration, Payload("1,2,3")};
  };
  const auto rejected = [&](Index committed_here, AppendEntries append) {
    Network net({{1, MemoryDisk({1, 0, 0}, LogOfTerms({1}))}, {2, {}}, {3, {}}});
    net.Step(From(2, 1,
                  AppendEntries{.prev = {1, 1}, .entries = {change(2)}, .commit = committed_here}));
    net.DropAll();
    return Reject(net, From(2, 1, std::move(append)));
  };
  const std::string why = "it has two changes of the configuration that are not committed";
  EXPECT_EQ(rejected(1, {.prev = {1, 2}, .entries = {change(3)}}), why);
  EXPECT_EQ(rejected(1, {.prev = {1, 2}, .entries = {change(3), Command(1, 4)}, .commit = 1}), why);
  EXPECT_EQ(rejected(1, {.prev = {1, 1}, .entries = {change(2), change(3)}, .commit = 1}), why);
  // The earlier change is committed, as this member or the message says.
  EXPECT_EQ(rejected(2, {.prev = {1, 2}, .entries = {change(3)}}), "");
  EXPECT_EQ(rejected(1, {.prev = {1, 2}, .entries = {change(3)}, .commit = 2}), "");
  EXPECT_EQ(rejected(1, {.prev = {1, 2}, .entries = {change(3), change(4)}, .commit = 3}), "");
  EXPECT_EQ(rejected(1, {.prev = {1, 2}, .entries = {change(3), change(4)}, .commit = 9}), "");
  EXPECT_EQ(rejected(1, {.prev = {1, 2}, .entries = {change(3), change(4)}, .commit = 2}), why);
}

TEST(Plausibility, AFollowerAnswersOnlyWhatWasSent) {
  Network net(3);
  net.Elect(1);
  net.DropAll();
  const Term term = net[1].term();
  const Index last = net[1].last_index(), commit = net[1].commit_index();
  EXPECT_EQ(Reject(net, From(2, term, AppendEntriesReply{.success = true, .match = last + 1})),
            "it acknowledges entries that were never sent");
  EXPECT_EQ(Reject(net, From(2, term, AppendEntriesReply{.success = true, .round = 1u << 20})),
            "it answers a heartbeat that was never sent");
  EXPECT_EQ(net[1].commit_index(), commit);
  // Harmless: the leader goes back to where the logs can agree.
  EXPECT_EQ(Reject(net, From(2, term,
                             AppendEntriesReply{.rejected_prev = {term, last},
                                                .hint = {term, last + 7}})),
            "");
  EXPECT_EQ(Reject(net, From(2, term, AppendEntriesReply{.hint = {term, last + 7}})), "");
  EXPECT_EQ(net[1].role(), Role::kLeader);
}

TEST(Plausibility, OnlyTheLeaderHandsItsLeadershipOver) {
  Network net(3);
  net.Elect(1);
  net.DropAll();
  const Term term = net[1].term();
  EXPECT_EQ(Reject(net, From(3, term, TimeoutNow{}, /*to=*/2)),
            "it hands over the leadership of another leader");
  EXPECT_EQ(net[2].role(), Role::kFollower);
  net.Step(From(1, term, TimeoutNow{}, /*to=*/2));
  EXPECT_EQ(net[2].role(), Role::kCandidate);
}

TEST(Plausibility, OnlyTheLeaderGivesReadIndexes) {
  Network net(3);
  net.Elect(1);
  net.DropAll();
  net.Read(2, 5);
  const std::vector<Message> sent = net.TakeSent(2, 1);
  ASSERT_EQ(sent.size(), 1u);
  const uint64_t id = std::get<ReadIndexRequest>(sent[0].body).id;
  const Term term = net[1].term();
  EXPECT_EQ(Reject(net, From(3, term, ReadIndexReply{.id = id, .index = 1}, /*to=*/2)),
            "it answers a read index request to the leader");
  EXPECT_TRUE(net.member(2).reads.empty());
  EXPECT_EQ(Reject(net, From(1, term, ReadIndexReply{.id = id, .index = 1}, /*to=*/2)), "");
  EXPECT_EQ(net.member(2).reads.size(), 1u);
}

MessageBody SnapshotUpTo(Term term, Index index) {
  return InstallSnapshot{{.last = {term, index}, .configuration = {}, .chain_hash = 0}};
}

TEST(Plausibility, SnapshotsFitWhatIsCommitted) {
  Network net({{1, MemoryDisk({3, 0, 2}, LogOfTerms({1, 3, 3}))}, {2, {}}, {3, {}}});
  EXPECT_EQ(Reject(net, From(2, 4, SnapshotUpTo(2, 9))), "the term of its snapshot goes back");
  EXPECT_EQ(net[1].term(), 3u);
  net.Step(From(2, 4, AppendEntries{.prev = {3, 3}}));
  net.DropAll();
  EXPECT_EQ(Reject(net, From(2, 4, SnapshotUpTo(4, 3))), "its snapshot conflicts with its own log");
  EXPECT_EQ(Reject(net, From(3, 4, SnapshotUpTo(4, 9))), "it leads in the term of another leader");
  EXPECT_EQ(Reject(net, From(3, 5 + kTermAheadMax, SnapshotUpTo(4, 9))),
            "its term is too far ahead");
  EXPECT_EQ(Reject(net, From(2, 3, SnapshotUpTo(2, 2))), "") << "of an old term: not looked at";
  EXPECT_EQ(net[1].last_index(), 3u);
}

TEST(Plausibility, SnapshotsDoNotComeToTheLeader) {
  Network net(3);
  net.Elect(1);
  net.DropAll();
  EXPECT_EQ(Reject(net, From(2, net[1].term(), SnapshotUpTo(1, 9))),
            "it claims to lead in the term of this leader");
}

TEST(Plausibility, ATermFarAheadIsNeitherTakenNorSaved) {
  Network net(3);
  net.Elect(1);
  net.DropAll();
  const Term term = net[3].term();
  for (const MessageBody& body : std::vector<MessageBody>{
           RequestVote{}, RequestVote{.pre_vote = true}, RequestVoteReply{}, AppendEntries{},
           AppendEntriesReply{}, ReadIndexRequest{}, ReadIndexReply{}}) {
    EXPECT_EQ(Reject(net, From(2, term + kTermAheadMax + 1, body, /*to=*/3)),
              "its term is too far ahead");
  }
  EXPECT_EQ(Reject(net, From(2, term + kTermAheadMax, AppendEntries{}, /*to=*/3)), "");
  EXPECT_EQ(net[3].term(), term + kTermAheadMax);
}

}  // namespace
}  // namespace raftkv::raft
