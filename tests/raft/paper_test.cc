// The Raft paper, section by section. The cases follow the list in etcd's raft_paper_test. Each
// test sends messages to cores and checks their messages and state. With PreVote an election has
// one more round; MakeCandidate answers it.

#include <algorithm>
#include <set>
#include <tuple>

#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

using Terms = std::vector<Term>;

AppendEntries Append(EntryId prev, std::vector<Entry> entries = {}, Index commit = 0) {
  return {.prev = prev, .entries = std::move(entries), .commit = commit, .round = 1};
}

// Member 1 times out and wins the PreVote round. The real votes are not answered yet.
void MakeCandidate(Network& net) {
  net.Campaign(1);
  for (const auto& [id, member] : net.members()) {
    if (id == 1 || net[1].role() == Role::kCandidate) continue;
    net.Step(From(id, net[1].term() + 1, RequestVoteReply{.granted = true, .pre_vote = true}));
  }
  ASSERT_EQ(net[1].role(), Role::kCandidate);
}

template <typename Body>
std::vector<std::pair<Message, Body>> Of(const std::vector<Message>& messages) {
  std::vector<std::pair<Message, Body>> found;
  for (const Message& message : messages) {
    if (const auto* body = std::get_if<Body>(&message.body)) found.emplace_back(message, *body);
  }
  return found;
}

Terms TermsOf(const MemoryDisk& disk) {
  Terms terms;
  for (const Entry& entry : disk.entries()) terms.push_back(entry.id.term);
  return terms;
}

MemoryDisk DiskOf(const Terms& terms, Term term, Index commit = 0) {
  return MemoryDisk({.current_term = term, .voted_for = kNobody, .commit_index = commit},
                    LogOfTerms(terms));
}

// §5.1: "If one server's current term is smaller than the other's, then it updates ..."

void UpdatesTermFromMessage(Network& net) {
  const Term later = net[1].term() + 1;
  net.Step(From(2, later, Append({})));
  EXPECT_EQ(net[1].term(), later);
  EXPECT_EQ(net[1].role(), Role::kFollower);
  EXPECT_EQ(net[1].leader(), 2u);
  EXPECT_EQ(net.member(1).disk.hard_state().current_term, later);
}

TEST(RaftPaper, S5_1_FollowerUpdatesItsTermFromAMessage) {
  Network net(3);
  UpdatesTermFromMessage(net);
}

TEST(RaftPaper, S5_1_CandidateUpdatesItsTermFromAMessage) {
  Network net(3);
  MakeCandidate(net);
  UpdatesTermFromMessage(net);
}

TEST(RaftPaper, S5_1_LeaderUpdatesItsTermFromAMessage) {
  Network net(3);
  net.Elect(1);
  UpdatesTermFromMessage(net);
}

TEST(RaftPaper, S5_1_RequestsOfAStaleTermAreRejected) {
  Network net({{1, DiskOf({}, 3)}, {2, {}}, {3, {}}});
  net.Step(From(2, 2, Append({}, {Command(2, 1)}, 1)));
  net.Step(From(2, 2, RequestVote{.last = {9, 9}}));
  EXPECT_EQ(net[1].last_index(), 0u);
  EXPECT_EQ(net[1].leader(), kNobody);
  const auto sent = net.TakeSent(1);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].term, 3u);
  EXPECT_FALSE(std::get<AppendEntriesReply>(sent[0].body).success);
  EXPECT_EQ(sent[1].term, 3u);
  EXPECT_FALSE(std::get<RequestVoteReply>(sent[1].body).granted);
  EXPECT_EQ(net.member(1).disk.hard_state().voted_for, kNobody);
}

// §5.2

TEST(RaftPaper, S5_2_ServersStartAsFollowers) {
  Network net(3);
  EXPECT_EQ(net[1].role(), Role::kFollower);
  EXPECT_EQ(net[1].term(), 0u);
  EXPECT_FALSE(net[1].HasReady());
}

TEST(RaftPaper, S5_2_LeaderSendsHeartbeatsToAllFollowers) {
  Network net(3);
  net.Elect(1);
  net.Tick(1);
  EXPECT_TRUE(net.wire().empty()) << "no message between two heartbeats";
  net.Tick(1);
  const auto sent = Of<AppendEntries>(net.TakeSent(1));
  ASSERT_EQ(sent.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(sent[i].first.to, i + 2);
    EXPECT_EQ(sent[i].first.term, 1u);
    EXPECT_TRUE(sent[i].second.entries.empty());
    EXPECT_EQ(sent[i].second.commit, 1u);
  }
}

TEST(RaftPaper, S5_2_FollowerThatHearsNoLeaderStartsAnElection) {
  Network net(3);
  MakeCandidate(net);
  EXPECT_EQ(net[1].term(), 1u);
  EXPECT_EQ(net.member(1).disk.hard_state(), (HardState{1, 1, 0})) << "votes for itself";
  std::set<MemberId> asked;
  for (const auto& [message, vote] : Of<RequestVote>(net.TakeSent(1))) {
    if (vote.pre_vote) continue;
    EXPECT_EQ(message.term, 1u);
    asked.insert(message.to);
  }
  EXPECT_EQ(asked, (std::set<MemberId>{2, 3}));
}

TEST(RaftPaper, S5_2_CandidateThatTimesOutStartsANewElection) {
  Network net(3);
  MakeCandidate(net);
  net.DropAll();
  net.Tick(1, 20);  // the longest timeout; nobody answered
  EXPECT_EQ(net[1].role(), Role::kPreCandidate);
  net.Step(From(2, 2, RequestVoteReply{.granted = true, .pre_vote = true}));
  EXPECT_EQ(net[1].role(), Role::kCandidate);
  EXPECT_EQ(net[1].term(), 2u);
  EXPECT_EQ(net.member(1).disk.hard_state().voted_for, 1u);
  EXPECT_FALSE(Of<RequestVote>(net.TakeSent(1, 3)).empty());
}

TEST(RaftPaper, S5_2_LeaderIsElectedInOneRound) {
  using Votes = std::map<MemberId, bool>;
  const std::vector<std::tuple<size_t, Votes, Role>> cases = {
      {1, {}, Role::kLeader},
      {3, {{2, true}, {3, true}}, Role::kLeader},
      {3, {{2, true}}, Role::kLeader},
      {5, {{2, true}, {3, true}, {4, true}, {5, true}}, Role::kLeader},
      {5, {{2, true}, {3, true}, {4, true}}, Role::kLeader},
      {5, {{2, true}, {3, true}}, Role::kLeader},
      {3, {{2, false}, {3, false}}, Role::kFollower},
      {5, {{2, false}, {3, false}, {4, false}, {5, false}}, Role::kFollower},
      {5, {{2, true}, {3, false}, {4, false}, {5, false}}, Role::kFollower},
      {3, {}, Role::kCandidate},
      {5, {{2, true}}, Role::kCandidate},
      {5, {{2, false}, {3, false}}, Role::kCandidate},
      {5, {}, Role::kCandidate},
      {3, {{7, true}, {8, true}}, Role::kCandidate},  // not voters: ignored
  };
  for (const auto& [size, votes, role] : cases) {
    Network net(size);
    if (size == 1) {
      net.Tick(1);
    } else {
      MakeCandidate(net);
    }
    for (const auto& [voter, granted] : votes) {
      net.Step(From(voter, 1, RequestVoteReply{.granted = granted}));
    }
    EXPECT_EQ(net[1].role(), role) << size << " members, " << votes.size() << " votes";
    EXPECT_EQ(net[1].term(), 1u);
  }
}

TEST(RaftPaper, S5_2_FollowerVotesForAtMostOneCandidateInATerm) {
  const std::vector<std::tuple<MemberId, MemberId, bool>> cases = {
      {kNobody, 2, true}, {kNobody, 3, true}, {2, 2, true},
      {3, 3, true},       {2, 3, false},      {3, 2, false},
  };
  for (const auto& [voted_for, candidate, granted] : cases) {
    Network net({{1, MemoryDisk({1, voted_for, 0}, {})}, {2, {}}, {3, {}}});
    net.Step(From(candidate, 1, RequestVote{}));
    const auto sent = net.TakeSent(1, candidate);
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].term, 1u);
    EXPECT_EQ(std::get<RequestVoteReply>(sent[0].body).granted, granted)
        << voted_for << " " << candidate;
    EXPECT_EQ(net.member(1).disk.hard_state().voted_for, granted ? candidate : voted_for);
  }
}

TEST(RaftPaper, S5_2_CandidateBecomesFollowerOfANewLeader) {
  for (Term term : {1, 2}) {
    Network net(3);
    MakeCandidate(net);
    net.Step(From(2, term, Append({})));
    EXPECT_EQ(net[1].role(), Role::kFollower);
    EXPECT_EQ(net[1].term(), term);
    EXPECT_EQ(net[1].leader(), 2u);
    EXPECT_EQ(net.member(1).disk.hard_state().voted_for, term == 1 ? 1u : kNobody);
  }
}

// Ticks member `id` until it asks for votes. Returns the number of ticks, or 0.
int TicksToElection(Network& net, MemberId id) {
  const size_t before = net.member(id).events.size();
  for (int ticks = 1; ticks <= 20; ++ticks) {
    net.Tick(id);
    for (size_t i = before; i < net.member(id).events.size(); ++i) {
      if (std::holds_alternative<BecamePreCandidate>(net.member(id).events[i])) return ticks;
    }
  }
  return 0;
}

void TimeoutIsRandom(const std::function<void(Network&)>& prepare) {
  Network net(3);
  std::set<int> seen;
  for (int i = 0; i < 500; ++i) {
    prepare(net);
    seen.insert(TicksToElection(net, 1));
    net.DropAll();
  }
  std::set<int> all;
  for (int ticks = 10; ticks < 20; ++ticks) all.insert(ticks);
  EXPECT_EQ(seen, all) << "every length of [timeout, 2 timeout), and no other";
}

TEST(RaftPaper, S5_2_FollowersElectionTimeoutIsRandom) {
  TimeoutIsRandom([](Network& net) { net.Step(From(2, net[1].term() + 1, Append({}))); });
}

TEST(RaftPaper, S5_2_CandidatesElectionTimeoutIsRandom) {
  TimeoutIsRandom([](Network& net) {
    if (net[1].role() == Role::kFollower) net.Campaign(1);
    net.Step(From(2, net[1].term() + 1, RequestVoteReply{.granted = true, .pre_vote = true}));
    ASSERT_EQ(net[1].role(), Role::kCandidate);
  });
}

// In how many of 500 rounds more than one of five members has the shortest timeout.
int Collisions(const std::function<void(Network&, MemberId)>& prepare) {
  Network net(5);
  int collisions = 0;
  for (int i = 0; i < 500; ++i) {
    std::vector<int> ticks;
    for (MemberId id = 1; id <= 5; ++id) {
      prepare(net, id);
      ticks.push_back(TicksToElection(net, id));
      net.DropAll();
    }
    const int first = *std::min_element(ticks.begin(), ticks.end());
    if (std::count(ticks.begin(), ticks.end(), first) > 1) ++collisions;
  }
  return collisions;
}

// With five random lengths out of ten, the smallest is not unique in 30 % of all cases.
TEST(RaftPaper, S5_2_FollowersElectionTimeoutsMostlyDiffer) {
  EXPECT_LE(Collisions([](Network& net, MemberId id) {
              net.Step(From(id % 5 + 1, net[id].term() + 1, Append({}), id));
            }),
            190);
}

TEST(RaftPaper, S5_2_CandidatesElectionTimeoutsMostlyDiffer) {
  EXPECT_LE(Collisions([](Network& net, MemberId id) {
              if (net[id].role() == Role::kFollower) net.Campaign(id);
              for (MemberId voter = 1; voter <= 5; ++voter) {
                if (voter == id || net[id].role() == Role::kCandidate) continue;
                net.Step(From(voter, net[id].term() + 1,
                              RequestVoteReply{.granted = true, .pre_vote = true}, id));
              }
            }),
            190);
}

// §5.3

TEST(RaftPaper, S5_3_LeaderSendsNewEntriesToAllFollowersAtOnce) {
  Network net(3);
  net.Elect(1);
  net.member(1).hold_saves = true;
  net.Propose(1, "some data");
  EXPECT_EQ(net[1].last_index(), 2u);
  EXPECT_EQ(net[1].commit_index(), 1u);
  const auto sent = Of<AppendEntries>(net.TakeSent(1));
  ASSERT_EQ(sent.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(sent[i].first.to, i + 2);
    EXPECT_EQ(sent[i].second.prev, (EntryId{1, 1}));
    EXPECT_EQ(sent[i].second.entries, std::vector<Entry>{Command(1, 2, "some data")});
    EXPECT_EQ(sent[i].second.commit, 1u);
  }
  EXPECT_EQ(net.member(1).disk.last_index(), 1u) << "before the leader has saved them";
}

TEST(RaftPaper, S5_3_LeaderCommitsAnEntryThatAMajorityHas) {
  Network net(3);
  net.Elect(1);
  net.Propose(1, "some data");
  ASSERT_TRUE(net.Deliver(1, 2));
  EXPECT_EQ(net[1].commit_index(), 1u);
  ASSERT_TRUE(net.Deliver(2, 1));
  EXPECT_EQ(net[1].commit_index(), 2u);
  EXPECT_EQ(net.member(1).applied.back(), Command(1, 2, "some data"));
  const auto sent = Of<AppendEntries>(net.TakeSent(1, 2));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].second.commit, 2u);
}

TEST(RaftPaper, S5_3_LeaderCommitsOnceAMajorityAcknowledged) {
  const std::vector<std::tuple<size_t, std::set<MemberId>, bool>> cases = {
      {1, {}, true},     {3, {}, false},       {3, {2}, true},
      {3, {2, 3}, true}, {5, {}, false},       {5, {2}, false},
      {5, {2, 3}, true}, {5, {2, 3, 4}, true}, {5, {2, 3, 4, 5}, true},
  };
  for (const auto& [size, acceptors, committed] : cases) {
    Network net(size);
    if (size == 1) {
      net.Tick(1);
    } else {
      net.Elect(1);
    }
    const Index index = net[1].last_index() + 1;
    net.Propose(1, "some data");
    for (MemberId id : acceptors) {
      net.Step(From(id, 1, AppendEntriesReply{.success = true, .match = index}));
    }
    EXPECT_EQ(net[1].commit_index() >= index, committed) << size << " " << acceptors.size();
  }
}

TEST(RaftPaper, S5_3_LeaderCommitsPrecedingEntriesOfOlderTermsToo) {
  for (const Terms& terms : {Terms{}, Terms{2}, Terms{1, 2}, Terms{1}}) {
    Network net({{1, DiskOf(terms, 2)}, {2, {}}, {3, {}}});
    net.Elect(1);
    net.Propose(1, "some data");
    net.Stabilize();
    Terms expected = terms;
    expected.insert(expected.end(), {3, 3});  // the no-op and the proposal
    EXPECT_EQ(net[1].commit_index(), expected.size());
    ASSERT_EQ(net.member(1).applied.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(net.member(1).applied[i].id, (EntryId{expected[i], i + 1}));
    }
  }
}

TEST(RaftPaper, S5_3_FollowerAppliesWhatTheLeaderCommitted) {
  for (Index commit = 0; commit <= 4; ++commit) {
    Network net(3);
    const std::vector<Entry> entries = {Command(1, 1, "a"), Command(1, 2, "b"), Command(1, 3, "c")};
    net.Step(From(2, 1, Append({}, entries, commit)));
    EXPECT_EQ(net[1].commit_index(), std::min<Index>(commit, 3));
    EXPECT_EQ(net.member(1).applied,
              std::vector<Entry>(entries.begin(), entries.begin() + std::min<Index>(commit, 3)));
  }
}

// "... if the follower does not find an entry in its log with the same index and term, then it
// refuses the new entries."
TEST(RaftPaper, S5_3_FollowerChecksThePrecedingEntry) {
  struct Case {
    EntryId prev;
    bool accepted;
    Index match;
    EntryId hint;
  };
  const std::vector<Case> cases = {
      {{0, 0}, true, 0, {}},      {{1, 1}, true, 1, {}},      {{2, 2}, true, 2, {}},
      {{1, 2}, false, 0, {1, 1}}, {{3, 3}, false, 0, {2, 2}}, {{4, 9}, false, 0, {2, 2}},
      {{1, 9}, false, 0, {1, 1}},
  };
  for (const Case& c : cases) {
    Network net({{1, DiskOf({1, 2}, 2, 1)}, {2, {}}, {3, {}}});
    net.Step(From(2, 2, Append(c.prev)));
    const auto sent = Of<AppendEntriesReply>(net.TakeSent(1, 2));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].second.success, c.accepted) << Describe(c.prev);
    EXPECT_EQ(sent[0].second.match, c.match) << Describe(c.prev);
    EXPECT_EQ(sent[0].second.hint, c.hint) << Describe(c.prev);
    EXPECT_EQ(sent[0].second.round, 1u);
    EXPECT_EQ(net[1].last_index(), 2u) << "a probe removes no entry";
  }
}

TEST(RaftPaper, S5_3_FollowerReplacesOnlyConflictingEntries) {
  struct Case {
    EntryId prev;
    std::vector<Entry> entries;
    Terms log;
    Terms written;
  };
  const std::vector<Case> cases = {
      {{2, 2}, {Command(3, 3)}, {1, 2, 3}, {3}},
      {{1, 1}, {Command(3, 2), Command(4, 3)}, {1, 3, 4}, {3, 4}},
      {{0, 0}, {Command(1, 1)}, {1, 2}, {}},
      {{0, 0}, {Command(3, 1)}, {3}, {3}},
  };
  for (const Case& c : cases) {
    Network net({{1, DiskOf({1, 2}, 2)}, {2, {}}, {3, {}}});
    net.member(1).hold_saves = true;
    net.Step(From(2, 4, Append(c.prev, c.entries)));
    Terms written;
    for (const Ready& ready : net.member(1).unsaved) {
      for (const Entry& entry : ready.entries) written.push_back(entry.id.term);
    }
    EXPECT_EQ(written, c.written);
    net.Saved(1, 10);
    EXPECT_EQ(TermsOf(net.member(1).disk), c.log);
  }
}

// Figure 7: a leader comes to power in term 8; (a) to (f) lack entries, have extra ones, or both.
TEST(RaftPaper, S5_3_LeaderMakesEveryLogOfFigure7EqualToItsOwn) {
  const Terms leader = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6};
  const std::map<char, Terms> followers = {
      {'a', {1, 1, 1, 4, 4, 5, 5, 6, 6}},
      {'b', {1, 1, 1, 4}},
      {'c', {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}},
      {'d', {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}},
      {'e', {1, 1, 1, 4, 4, 4, 4}},
      {'f', {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}},
  };
  for (const auto& [name, terms] : followers) {
    SCOPED_TRACE(name);
    Network net({{1, DiskOf(leader, 7)}, {2, DiskOf(terms, 7)}, {3, {}}});
    net.Elect(1);
    ASSERT_EQ(net[1].term(), 8u);
    net.RunFor(4);
    Terms expected = leader;
    expected.push_back(8);
    EXPECT_EQ(TermsOf(net.member(1).disk), expected);
    EXPECT_EQ(TermsOf(net.member(2).disk), expected);
    EXPECT_EQ(net[2].commit_index(), expected.size());
    EXPECT_EQ(net.member(2).applied, net.member(1).applied);
  }
}

// §5.4.1

TEST(RaftPaper, S5_4_1_VoteRequestsNameTheCandidatesLastEntry) {
  const std::vector<std::pair<Terms, EntryId>> cases = {{{1}, {1, 1}}, {{1, 2}, {2, 2}}};
  for (const auto& [terms, last] : cases) {
    Network net(3);
    net.Step(From(2, last.term, Append({}, LogOfTerms(terms))));
    net.DropAll();
    MakeCandidate(net);
    const auto sent = Of<RequestVote>(net.TakeSent(1));
    ASSERT_EQ(sent.size(), 4u) << "two pre-votes, two votes";
    for (const auto& [message, vote] : sent) {
      EXPECT_EQ(vote.last, last);
      EXPECT_EQ(message.term, last.term + 1);
    }
  }
}

TEST(RaftPaper, S5_4_1_VoterDeclinesACandidateWithAnOlderLog) {
  struct Case {
    Terms log;
    EntryId candidate_last;
    bool granted;
  };
  const std::vector<Case> cases = {
      {{1}, {1, 1}, true},     {{1}, {1, 2}, true},    {{1, 1}, {1, 1}, false},
      {{1}, {2, 1}, true},     {{1}, {2, 2}, true},    {{1, 1}, {2, 1}, true},
      {{2}, {1, 1}, false},    {{2}, {1, 2}, false},   {{1, 2}, {1, 9}, false},
      {{1, 2}, {2, 1}, false}, {{1, 2}, {2, 2}, true},
  };
  for (const Case& c : cases) {
    for (bool pre_vote : {false, true}) {
      Network net({{1, DiskOf(c.log, 2)}, {2, {}}, {3, {}}});
      net.Step(From(2, 3, RequestVote{.last = c.candidate_last, .pre_vote = pre_vote}));
      const auto sent = Of<RequestVoteReply>(net.TakeSent(1, 2));
      ASSERT_EQ(sent.size(), 1u);
      EXPECT_EQ(sent[0].second.granted, c.granted) << Describe(c.candidate_last);
      EXPECT_EQ(net[1].term(), pre_vote ? 2u : 3u) << "a pre-vote changes nobody's term";
    }
  }
}

// §5.4.2

TEST(RaftPaper, S5_4_2_OldTermEntriesCommitOnlyIndirectly) {
  const std::vector<std::pair<Index, Index>> cases = {{1, 0}, {2, 0}, {3, 3}};
  for (const auto& [match, commit] : cases) {
    Network net({{1, DiskOf({1, 2}, 2)}, {2, {}}, {3, {}}});
    MakeCandidate(net);
    net.Step(From(2, 3, RequestVoteReply{.granted = true}));
    ASSERT_EQ(net[1].role(), Role::kLeader);
    ASSERT_EQ(net[1].last_index(), 3u) << "the no-op";
    net.Step(From(2, 3, AppendEntriesReply{.success = true, .match = match}));
    EXPECT_EQ(net[1].commit_index(), commit) << "match " << match;
  }
}

// Figure 8 from (b) on: S1 and S2 have an entry of term 2, S5 has one of term 3. S1 leads again in
// term 4 and replicates its old entry, one entry in each append.
std::map<MemberId, MemoryDisk> Figure8() {
  return {{1, MemoryDisk({2, 1, 1}, LogOfTerms({1, 2}))},
          {2, MemoryDisk({2, 1, 1}, LogOfTerms({1, 2}))},
          {3, MemoryDisk({3, 5, 1}, LogOfTerms({1}))},
          {4, MemoryDisk({3, 5, 1}, LogOfTerms({1}))},
          {5, MemoryDisk({3, 5, 1}, LogOfTerms({1, 3}))}};
}

void S1LeadsInTerm4(Network& net) {
  const auto is_vote = [](const Message& message) {
    return std::holds_alternative<RequestVote>(message.body) ||
           std::holds_alternative<RequestVoteReply>(message.body);
  };
  net.Isolate(5);
  // In its first attempt S1 learns term 3.
  for (int i = 0; i < 3 && net[1].role() != Role::kLeader; ++i) {
    net.Campaign(1);
    net.StabilizeOnly(is_vote);
  }
  ASSERT_EQ(net[1].role(), Role::kLeader);
  ASSERT_EQ(net[1].term(), 4u);
}

void S5Campaigns(Network& net) {
  net.Crash(1);
  net.DropAll();
  net.Recover();
  for (int i = 0; i < 3 && net[5].role() != Role::kLeader; ++i) {
    for (MemberId id : {2, 3, 4}) net.Into(id, [](Raft& raft) { raft.Tick(2), raft.Tick(2); });
    net.Campaign(5);
    net.Stabilize();
  }
}

TEST(RaftPaper, S5_4_2_Figure8OldEntryOnAMajorityMayStillBeReplaced) {
  Network net(Figure8(), [](Config& config) { config.append_entries_max = 1; });
  S1LeadsInTerm4(net);

  // (c) S3 gets the entry of term 2; S2 has it already. The entry of term 4 reaches no member.
  ASSERT_TRUE(net.Deliver(1, 3) && net.Deliver(3, 1) && net.Deliver(1, 3) && net.Deliver(3, 1) &&
              net.Deliver(3, 1));
  net.Step(From(2, 4, AppendEntriesReply{.success = true, .match = 2}));
  ASSERT_EQ(TermsOf(net.member(3).disk), (Terms{1, 2}));
  EXPECT_EQ(net[1].status().peers.at(2).match_index, 2u);
  EXPECT_EQ(net[1].status().peers.at(3).match_index, 2u);
  EXPECT_EQ(net[1].commit_index(), 1u) << "on three of five members, but not committed";

  // (d) S5 is elected and replaces it everywhere.
  S5Campaigns(net);
  ASSERT_EQ(net[5].role(), Role::kLeader);
  net.RunFor(6);
  for (MemberId id : {2, 3, 4, 5}) {
    EXPECT_EQ(TermsOf(net.member(id).disk), (Terms{1, 3, net[5].term()})) << id;
  }
}

TEST(RaftPaper, S5_4_2_Figure8NewEntryOnAMajorityCommitsTheOldOne) {
  Network net(Figure8(), [](Config& config) { config.append_entries_max = 1; });
  S1LeadsInTerm4(net);
  net.Stabilize();  // (e)
  EXPECT_EQ(net[1].commit_index(), 3u);
  S5Campaigns(net);
  EXPECT_NE(net[5].role(), Role::kLeader);
  net.RunFor(60);
  for (MemberId id : {2, 3, 4, 5}) {
    const Terms terms = TermsOf(net.member(id).disk);
    EXPECT_EQ(Terms(terms.begin(), terms.begin() + 3), (Terms{1, 2, 4})) << id;
  }
}

}  // namespace
}  // namespace raftkv::raft
