// `raftkv top` with real members, whose metrics it reads.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "absl/strings/match.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

TEST(Top, ShowsRolesRatesAndLatencies) {
  Cluster cluster({.size = 3});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  const std::string out = cluster.dir() + "/top";
  Process top({.argv = {BuiltProgram("raftkv"), "--endpoints=" + cluster.client_address(0), "top",
                        "--interval=1", "-w", "json"}},
              out);
  EXPECT_TRUE(Eventually(absl::Seconds(30), [&] {
    EXPECT_TRUE(cluster.Put(0, "k", "v").ok());
    EXPECT_TRUE(cluster.Get(1, "k").ok());
    const std::string text = ReadFile(out);
    return absl::StrContains(text, "\"write_p99_seconds\":0.") &&
           absl::StrContains(text, "\"read_p99_seconds\":0.");
  })) << ReadFile(out);
  top.Signal(SIGINT);
  EXPECT_EQ(top.Wait(absl::Seconds(20)), 0);
  const std::string text = ReadFile(out);
  EXPECT_THAT(text, testing::HasSubstr("\"role\":\"leader\""));
  EXPECT_THAT(text, testing::HasSubstr("\"role\":\"follower\""));
  EXPECT_THAT(text, testing::HasSubstr("\"apply_lag\":0"));
  EXPECT_THAT(text, testing::HasSubstr("\"fsync_p99_seconds\":"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("\"error\"")));

  cluster.Kill(1);
  const Finished table = RunToEnd({.argv = {BuiltProgram("raftkv"), "--endpoints",
                                            cluster.client_address(0), "top", "--count=1"}});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, testing::ContainsRegex("n2 +\\| +127.0.0.1:[0-9]+ +\\| +down"));
  EXPECT_THAT(table.out, testing::HasSubstr("connection refused"));
}

}  // namespace
}  // namespace raftkv::e2e
