// Runs client programs as users do: Python's etcd3, the examples of our own library, etcdctl check
// perf.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "absl/strings/str_join.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;

class Clients : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartAll();
    ASSERT_GE(cluster_.WaitForLeader(), 0);
  }

  Finished RunWithEndpoints(std::vector<std::string> argv) {
    for (const std::string& address : cluster_.client_addresses()) argv.push_back(address);
    return RunToEnd({.argv = argv});
  }

  Cluster cluster_{ClusterOptions()};
};

TEST_F(Clients, PythonEtcd3WorksOnEveryMember) {
  // Debian's own interpreter, because python3-etcd3 is installed for it.
  const Finished finished =
      RunWithEndpoints({"/usr/bin/python3", RAFTKV_SOURCE_DIR "/tests/compat/python_smoke.py"});
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("ok "));
}

TEST_F(Clients, TheClientLibrarysExampleWorks) {
  const Finished finished = RunWithEndpoints({BuiltProgram("raftkv_example")});
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("now it is green"));
  EXPECT_THAT(finished.out, HasSubstr("deleted 2 keys"));
}

TEST_F(Clients, TheExampleOfAsynchronousCallsWorks) {
  const Finished finished = RunWithEndpoints({BuiltProgram("raftkv_async_example")});
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("async-example/9 = x\nasync-example/colour = blue\n"
                                      "async-example/copy = blue\n"));
}

// It reads the memory of the member from /metrics, and judges nothing by time.
TEST_F(Clients, EtcdctlCheckDatascalePasses) {
  const Finished finished =
      RunToEnd({.argv = {"etcdctl", "--endpoints=" + cluster_.client_address(0), "check",
                         "datascale", "--load=s"},
                .environment = {{"ETCDCTL_API", "3"}}},
               absl::Minutes(3));
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("PASS: Approximate system memory used"));
}

// Runs for a minute, so only in `make soak`.
TEST_F(Clients, EtcdctlCheckPerfPasses) {
  if (std::getenv("RAFTKV_SOAK") == nullptr) GTEST_SKIP() << "takes a minute: RAFTKV_SOAK=1";
  const Finished finished = RunToEnd(
      {.argv = {"etcdctl", "--endpoints=" + absl::StrJoin(cluster_.client_addresses(), ","),
                "check", "perf", "--load=s"},
       .environment = {{"ETCDCTL_API", "3"}}},
      absl::Minutes(3));
  std::cout << finished.out;
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("PASS\n"));
  EXPECT_THAT(finished.out, testing::Not(HasSubstr("FAIL")));
}

}  // namespace
}  // namespace raftkv::e2e
