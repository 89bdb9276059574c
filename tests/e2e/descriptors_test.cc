// Programs that are started with standard descriptors closed, as some supervisors do it. A file
// that the program opens must not get one of these descriptors: log lines would be written into it.
// And members that may open few files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/raw_http2.h"

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

Command WithFileLimit(const Command& command, int files) {
  Command limited = command;
  limited.argv = {"/bin/sh", "-c", absl::StrCat("ulimit -n ", files, " && exec \"$@\""), "sh"};
  limited.argv.insert(limited.argv.end(), command.argv.begin(), command.argv.end());
  return limited;
}

TEST(FileLimit, TooLowOnePreventsTheStart) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({.size = 1});
  const Finished start = RunToEnd(WithFileLimit(cluster.ServerCommand(0), 1000));
  EXPECT_EQ(start.exit_code, 2);
  EXPECT_THAT(start.err, testing::HasSubstr("may open 1000 files, and needs at least 1024"));
  EXPECT_THAT(start.err, testing::HasSubstr("ulimit -n"));
  EXPECT_FALSE(fs::exists(cluster.data_dir(0)));
}

// As many idle connections as the ports accept leave enough files for the engine.
TEST(FileLimit, IdleConnectionsDoNotTakeTheEnginesFiles) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({.size = 1});
  Process server(WithFileLimit(cluster.ServerCommand(0), 1024), cluster.dir() + "/output");
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster.Put(0, "k", "v").ok(); }));
  std::vector<std::unique_ptr<RawConnection>> idle;
  for (int i = 0; i < 700; ++i) {
    idle.push_back(std::make_unique<RawConnection>(cluster.client_address(0)));
    if (i < 400) idle.push_back(std::make_unique<RawConnection>(cluster.peer_address(0)));
  }
  const std::string value(1 << 20, 'x');
  for (int i = 0; i < 100; ++i) {  // several flushes of the log and of the state
    const auto put = cluster.Put(0, absl::StrCat("k", i), value);
    ASSERT_TRUE(put.ok()) << put.status.error_message() << ReadFile(cluster.dir() + "/output");
  }
  EXPECT_TRUE(server.Running());
  EXPECT_THAT(ReadFile(cluster.dir() + "/output"), Not(testing::HasSubstr("Too many open files")));
}

}  // namespace
}  // namespace raftkv::e2e
