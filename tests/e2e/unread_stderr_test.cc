// Members whose standard error is a pipe that nobody reads. Log lines may be lost, but the member
// must go on.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

// A named pipe that is full.
class FullPipe {
 public:
  explicit FullPipe(const std::string& path) {
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    fd_ = open(path.c_str(), O_RDWR | O_NONBLOCK);
    Fill();
  }
  ~FullPipe() { close(fd_); }

  void Fill() const {
    while (write(fd_, "x", 1) == 1) {
    }
  }
  std::string ReadAll() const {
    std::string all;
    char bytes[4096];
    for (ssize_t n; (n = read(fd_, bytes, sizeof(bytes))) > 0;) {
      all.append(bytes, static_cast<size_t>(n));
    }
    return all;
  }

 private:
  int fd_;
};

TEST(UnreadStderr, DoesNotStopAMember) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({.size = 1});
  const std::string path = cluster.dir() + "/pipe";
  const FullPipe pipe(path);
  Process server(cluster.ServerCommand(0), path);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster.Put(0, "k", "v").ok(); }));
  std::string log;
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
    log += pipe.ReadAll();
    return log.find("became leader") != std::string::npos;
  })) << "the lines that were queued are not lost";
  pipe.Fill();  // a stop must not wait for a reader either
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(absl::Seconds(20)), 0);
}

}  // namespace
}  // namespace raftkv::e2e
