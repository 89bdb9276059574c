// What is logged while a peer cannot be connected to.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "server/peer/peers.h"
#include "tests/peer/node.h"
#include "tests/server/log_lines.h"

namespace raftkv {
namespace {

// The test calls EverySecond more often than once a second.
TEST(UnreachablePeer, IsLoggedOnceAndThenOnceAMinute) {
  LogLines lines;
  Node node(1, kNobodyThere);
  int seconds = 0;
  const auto logged = [&](size_t times) {
    node.peers.Send(Heartbeat());
    node.peers.EverySecond();
    ++seconds;
    const std::vector<std::string> parts =
        absl::StrSplit(lines.text(), "cannot connect to n2 at 127.0.0.1:1");
    return parts.size() - 1 >= times;
  };
  ASSERT_TRUE(Eventually({&node}, [&] { return logged(1); }));
  EXPECT_GE(seconds, 5);
  seconds = 0;
  ASSERT_TRUE(Eventually({&node}, [&] { return logged(2); }));
  EXPECT_GE(seconds, 60);
  EXPECT_THAT(lines.text(), testing::HasSubstr("Connection refused"));
}

}  // namespace
}  // namespace raftkv
