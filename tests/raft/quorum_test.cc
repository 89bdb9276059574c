#include "server/raft/quorum.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "server/raft/membership.h"
#include "server/raft/prng.h"

namespace raftkv::raft {
namespace {

// The simple reference solution: tries every subset of the voters that is a majority.
bool SomeMajority(size_t voters, const std::function<bool(size_t)>& holds) {
  for (size_t set = 0; set < (size_t{1} << voters); ++set) {
    size_t members = 0;
    bool all = true;
    for (size_t i = 0; i < voters; ++i) {
      if ((set >> i & 1) == 0) continue;
      ++members;
      all = all && holds(i);
    }
    if (all && members * 2 > voters) return true;
  }
  return false;
}

// Calls `visit` with every vector of `size` numbers below `base`.
void ForEachVector(size_t size, int base,
                   const std::function<void(const std::vector<int>&)>& visit) {
  std::vector<int> values(size, 0);
  for (;;) {
    visit(values);
    size_t i = 0;
    while (i < size && ++values[i] == base) values[i++] = 0;
    if (i == size) return;
  }
}

TEST(Quorum, EveryVoteOfUpToSevenVotersIsCountedAsTheOracleDoes) {
  // All sets of voters among seven members. The members that are not voters grant votes, too.
  for (size_t set = 0; set < 128; ++set) {
    std::vector<MemberId> voters;
    for (MemberId id = 1; id <= 7; ++id) {
      if (set >> (id - 1) & 1) voters.push_back(id);
    }
    ForEachVector(voters.size(), 3, [&](const std::vector<int>& votes) {
      std::map<MemberId, bool> cast;
      for (MemberId id = 1; id <= 7; ++id) cast[id] = true;
      for (size_t i = 0; i < voters.size(); ++i) {
        cast.erase(voters[i]);
        if (votes[i] != 0) cast[voters[i]] = votes[i] == 1;
      }
      const bool won = SomeMajority(voters.size(), [&](size_t i) { return votes[i] == 1; });
      const bool may_win = SomeMajority(voters.size(), [&](size_t i) { return votes[i] != 2; });
      const VoteResult expected = won                         ? VoteResult::kWon
                                  : may_win || voters.empty() ? VoteResult::kPending
                                                              : VoteResult::kLost;
      ASSERT_EQ(CountVotes(voters, cast), expected);
    });
  }
}

TEST(Quorum, EveryVectorOfUpToSevenMatchesCommitsAsTheOracleSays) {
  for (size_t size = 0; size <= 7; ++size) {
    ForEachVector(size, size <= 5 ? 6 : 4, [&](const std::vector<int>& matches) {
      uint64_t expected = 0;
      for (int index = 1; index < 6; ++index) {
        if (SomeMajority(size, [&](size_t i) { return matches[i] >= index; })) expected = index;
      }
      ASSERT_EQ(ReachedByMajority(VoterValues(matches.begin(), matches.end())), expected);
    });
  }
}

TEST(Membership, KnowsVotersAndEveryone) {
  const Membership membership(0, {.voters = {1, 4, 9}, .learners = {2, 5}});
  EXPECT_EQ(membership.everyone(), (std::vector<MemberId>{1, 2, 4, 5, 9}));
  EXPECT_TRUE(membership.IsVoter(4));
  EXPECT_FALSE(membership.IsVoter(2));
  EXPECT_FALSE(membership.IsVoter(3));
}

TEST(MembershipDeathTest, ChecksItsConfiguration) {
  EXPECT_DEATH(Membership(0, {.voters = {2, 1}}), "sorted");
  EXPECT_DEATH(Membership(0, {.voters = {1, 2}, .learners = {2}}), "sorted");
  EXPECT_DEATH(Membership(0, {.voters = {0, 1}}), "sorted");
}

TEST(Prng, EqualSeedsGiveEqualSequences) {
  Prng a(42), b(42), c(43);
  EXPECT_EQ(a.Next(), 13679457532755275413u) << "SplitMix64's published sequence for seed 42";
  EXPECT_EQ(b.Next(), 13679457532755275413u);
  EXPECT_EQ(a.Next(), b.Next());
  EXPECT_NE(a.Next(), c.Next());
}

TEST(Prng, BelowReachesEverythingBelowItsBoundAndNothingElse) {
  Prng prng(1);
  std::vector<int> seen(10, 0);
  for (int i = 0; i < 10000; ++i) ++seen.at(prng.Below(10));
  EXPECT_GT(*std::min_element(seen.begin(), seen.end()), 800);
}

}  // namespace
}  // namespace raftkv::raft
