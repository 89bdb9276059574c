// A rolling upgrade with real processes. One program plays both releases: with
// RAFTKV_TEST_NEWEST_VERSION=1 it announces, and knows, only the rules of the first release.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kRaised[] = "the cluster version is 3 now";
constexpr int kBadInput = 2;

std::map<std::string, std::string> OldRelease() { return {{"RAFTKV_TEST_NEWEST_VERSION", "1"}}; }

TEST(Upgrade, TheClusterVersionRisesOnceTheLastMemberIsUpgradedUnderLoad) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({});
  for (int i = 0; i < cluster.size(); ++i) cluster.Start(i, OldRelease());
  ASSERT_GE(cluster.WaitForLeader(), 0);
  Traffic traffic(&cluster, TrafficOptions{});
  ASSERT_TRUE(traffic.WaitForAcknowledged(300, absl::Seconds(20)));
  for (int i = 0; i < cluster.size(); ++i) {
    for (int other = 0; other < cluster.size(); ++other) {
      EXPECT_THAT(cluster.log(other), Not(HasSubstr(kRaised))) << "some are of the old release";
    }
    EXPECT_EQ(cluster.Terminate(i), 0);
    cluster.Start(i);
    ASSERT_GE(cluster.WaitForLeader(), 0);
    ASSERT_TRUE(traffic.WaitForAcknowledged(300, absl::Seconds(20)));
  }
  for (int i = 0; i < cluster.size(); ++i) {
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
      return cluster.log(i).find(kRaised) != std::string::npos;
    })) << cluster.name(i);
  }
  ASSERT_TRUE(traffic.WaitForAcknowledged(300, absl::Seconds(20)));
  traffic.Stop();
  EXPECT_TRUE(cluster.MembersAreEqual());
  EXPECT_THAT(FindViolations(traffic.Collect()), IsEmpty());

  // There is no way back: the old release does not know what the data means.
  ASSERT_EQ(cluster.Terminate(0), 0);
  cluster.Start(0, OldRelease());
  EXPECT_EQ(cluster.process(0).Wait(absl::Seconds(20)), kBadInput);
  EXPECT_THAT(cluster.log(0), HasSubstr("run a newer raftkv-server"));
  cluster.Start(0);
  EXPECT_TRUE(cluster.MembersAreEqual());
}

}  // namespace
}  // namespace raftkv::e2e
