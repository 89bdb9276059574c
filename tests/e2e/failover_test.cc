// A member dies under load (kill -9). The times of a failover are measured by tests/bench/failover;
// here only facts are checked.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/writers.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;

constexpr int kFailoverClients = 64;

class Failover : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv-server only";
    cluster_.StartAll();
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }

  uint64_t Term(int member) { return cluster_.Status(member).response.raftterm(); }

  Cluster cluster_{ClusterOptions()};
  int leader_ = -1;
};

// The followers notice that the leader's connections are aborted.
TEST_F(Failover, ADeadLeaderIsReplacedWithoutAnElectionTimeout) {
  Writers writers(cluster_.client_addresses(), kFailoverClients);
  ASSERT_TRUE(writers.WaitFor(1000));
  writers.StartClock();
  cluster_.Kill(leader_);
  EXPECT_TRUE(writers.WaitForAcknowledgement(absl::Seconds(30)).has_value());
  EXPECT_TRUE(writers.WaitFor(1000));
  const int next = cluster_.WaitForLeader();
  ASSERT_GE(next, 0);
  ASSERT_NE(next, leader_);
  std::string others;
  for (int i = 0; i < cluster_.size(); ++i) {
    if (i != leader_) others += cluster_.log(i);
  }
  EXPECT_THAT(others, HasSubstr("the leader is lost: asking for pre-votes"));
  cluster_.Start(leader_);
  EXPECT_TRUE(writers.WaitFor(1000));
  writers.Stop();
  EXPECT_TRUE(cluster_.MembersAreEqual());
}

// What the others have forwarded to the leader is decided by the next leader's first entry.
TEST_F(Failover, ADeadLeaderFailsNoWriteOfClientsOfTheOthers) {
  std::vector<std::string> others;
  for (int i = 0; i < cluster_.size(); ++i) {
    if (i != leader_) others.push_back(cluster_.client_address(i));
  }
  Writers writers(others, kFailoverClients);
  ASSERT_TRUE(writers.WaitFor(1000));
  cluster_.Kill(leader_);
  EXPECT_TRUE(writers.WaitFor(1000));
  EXPECT_THAT(writers.Stop(), testing::IsEmpty());
  cluster_.Start(leader_);
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster_.Put(leader_, "k", "v").ok(); }));
  EXPECT_TRUE(cluster_.MembersAreEqual());
}

// Clients of the other members do not notice it.
TEST_F(Failover, ADeadFollowerFailsNoWriteAndChangesNoTerm) {
  const int follower = (leader_ + 1) % cluster_.size();
  std::vector<std::string> others;
  for (int i = 0; i < cluster_.size(); ++i) {
    if (i != follower) others.push_back(cluster_.client_address(i));
  }
  const uint64_t term = Term(leader_);
  Writers writers(others, kFailoverClients);
  ASSERT_TRUE(writers.WaitFor(1000));
  cluster_.Kill(follower);
  ASSERT_TRUE(writers.WaitFor(2000));
  cluster_.Start(follower);
  ASSERT_TRUE(writers.WaitFor(2000));
  EXPECT_THAT(writers.Stop(), testing::IsEmpty());
  EXPECT_EQ(Term(leader_), term);
  EXPECT_TRUE(cluster_.MembersAreEqual());
}

}  // namespace
}  // namespace raftkv::e2e
