// When the followers learn of a commit.

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

// A leader that has got the replies to `puts` puts, and commits them in its next turn.
Cluster::Process& LeaderBeforeCommit(Cluster* c, int puts,
                                     std::vector<std::shared_ptr<Answer>>* answers) {
  c->Run(kElection);
  Cluster::Process& leader = (*c)[c->leader()];
  for (int i = 0; i < puts; ++i) {
    answers->push_back(c->Put(leader.id, absl::StrCat("k", i), "v"));
  }
  c->Turn(leader.id);
  c->Deliver();
  for (const raft::MemberId id : {1, 2, 3}) {
    if (id != leader.id) c->Turn(id);
  }
  c->Deliver();
  leader.sent.clear();
  return leader;
}

// The followers learn of a commit after the clients have their answers. Of many entries they learn
// at once, because these take longer to apply.
TEST(News, ClientsAreAnsweredBeforeFollowersLearnOfACommit) {
  for (const int puts : {1, 4, 5}) {
    Cluster c(3);
    std::vector<std::shared_ptr<Answer>> answers;
    Cluster::Process& leader = LeaderBeforeCommit(&c, puts, &answers);
    leader.member->Turn(c.now());
    EXPECT_EQ(leader.sent.size(), puts > 4 ? 2u : 0u) << puts;
    EXPECT_EQ(answers[0]->times, 0);
    ASSERT_EQ(leader.member->PlanApply(c.now()), ApplyPlan::kHere);
    leader.member->Apply(ApplyPlan::kHere);
    for (const auto& answer : answers) EXPECT_EQ(answer->fate, Fate::kApplied);
    EXPECT_EQ(leader.sent.size(), puts > 4 ? 2u : 0u) << puts;
    leader.member->SendNews();
    EXPECT_EQ(leader.sent.size(), 2u) << puts;
    EXPECT_EQ(leader.flushed, 2u) << puts;
    c.Settle();
    for (const raft::MemberId id : {1, 2, 3}) EXPECT_EQ(Cluster::Value(c[id], "k0"), "v");
  }
}

// A driver that does not call SendNews delays the news until the next turn.
TEST(News, TheNextTurnSendsTheNewsOfACommit) {
  Cluster c(3);
  std::vector<std::shared_ptr<Answer>> answers;
  Cluster::Process& leader = LeaderBeforeCommit(&c, /*puts=*/1, &answers);
  leader.member->Turn(c.now());
  EXPECT_EQ(leader.sent.size(), 0u);
  leader.member->Turn(c.now());
  EXPECT_EQ(leader.sent.size(), 2u);
}

}  // namespace
}  // namespace raftkv
