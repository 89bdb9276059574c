// What the tests with real processes notice about their children.

#include "tests/e2e/process.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

namespace raftkv::e2e {
namespace {

TEST(ChildProcess, FailsTheTestIfASanitizerHasReported) {
  const TempDir dir;
  const std::string output = dir.path() + "/out";
  EXPECT_NONFATAL_FAILURE(
      {
        Process child({.argv = {"sh", "-c", "echo WARNING: data race; exit 99"}}, output);
        Eventually(absl::Seconds(20), [&] { return !child.Running(); });
        child.Kill();
      },
      "data race");
}

TEST(ChildProcess, OtherExitCodesAreTheTestsBusiness) {
  const TempDir dir;
  Process child({.argv = {"sh", "-c", "exit 66"}}, dir.path() + "/out");
  EXPECT_EQ(child.Wait(absl::Seconds(20)), 66);
}

}  // namespace
}  // namespace raftkv::e2e
