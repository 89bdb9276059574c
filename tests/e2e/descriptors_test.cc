// Programs that are started with standard descriptors closed, as some supervisors do it. A file
// that the program opens must not get one of these descriptors: log lines would be written into it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

namespace fs = std::filesystem;
using testing::Not;

// The command, run with the descriptors 0, 1 and 2 closed.
Command WithoutDescriptors(Command command) {
  std::vector<std::string> argv = {"/bin/sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"};
  argv.insert(argv.end(), command.argv.begin(), command.argv.end());
  command.argv = std::move(argv);
  return command;
}

TEST(ClosedDescriptors, AMemberKeepsItsLogOutOfItsFiles) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({.size = 1});
  {
    Process server(WithoutDescriptors(cluster.ServerCommand(0)), cluster.dir() + "/output");
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster.Put(0, "k", "v").ok(); }));
    for (int fd : {0, 1, 2}) {
      EXPECT_EQ(fs::read_symlink(absl::StrCat("/proc/", server.pid(), "/fd/", fd)), "/dev/null");
    }
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait(absl::Seconds(20)), 0);
  }
  EXPECT_THAT(ReadFile(cluster.data_dir(0) + "/log/WATERMARK"),
              Not(testing::HasSubstr("stopping")));
  cluster.Start(0);
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  EXPECT_EQ(cluster.Get(0, "k").response.kvs_size(), 1);
}

TEST(ClosedDescriptors, TheCommandLineStillAnswersByItsExitCode) {
  EXPECT_EQ(RunToEnd(WithoutDescriptors({.argv = {BuiltProgram("raftkv"), "version"}})).exit_code,
            0);
  EXPECT_NE(RunToEnd(WithoutDescriptors({.argv = {BuiltProgram("raftkv"), "nonsense"}})).exit_code,
            0);
}

}  // namespace
}  // namespace raftkv::e2e
