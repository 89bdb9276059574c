#include "server/ports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "tests/server/listener.h"

namespace raftkv {
namespace {

TEST(Ports, TwoUrlsOfOneMemberAreNotOnePort) {
  int port = 0;
  {
    Listener listener;
    port = listener.port();
  }
  const std::string url = absl::StrCat("http://127.0.0.1:", port);
  EXPECT_TRUE(CheckPorts({{url, "listen_peer_url"}}).ok());
  EXPECT_EQ(CheckPorts({{url, "listen_peer_url"}, {url, "listen_metrics_urls"}}),
            absl::FailedPreconditionError(absl::StrCat(
                "cannot listen on 127.0.0.1:", port, " (listen_metrics_urls): port ", port,
                " is that of another URL of this member; change one of the two URLs to another "
                "port")));
  EXPECT_TRUE(CheckPorts({{url, "listen_peer_url"}}).ok()) << "a check frees what it has opened";
}

TEST(Ports, TheProcessThatUsesAPortIsNamed) {
  int ready[2];
  int done[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(done), 0);
  const pid_t child = fork();
  if (child == 0) {
    const Listener listener;
    const int port = listener.port();
    char end = 0;
    if (write(ready[1], &port, sizeof(port)) == sizeof(port)) (void)!read(done[0], &end, 1);
    _exit(0);
  }
  int port = 0;
  ASSERT_EQ(read(ready[0], &port, sizeof(port)), static_cast<ssize_t>(sizeof(port)));
  const absl::Status status =
      CheckPorts({{absl::StrCat("http://127.0.0.1:", port), "listen_client_url"}});
  EXPECT_THAT(
      std::string(status.message()),
      testing::HasSubstr(absl::StrCat("port ", port, " is in use by process ", child, " (")));
  EXPECT_EQ(write(done[1], "x", 1), 1);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace raftkv
