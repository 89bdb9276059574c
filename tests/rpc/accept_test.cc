// How many connections the client port accepts.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "server/http2/client_port.h"
#include "tests/e2e/raw_http2.h"

namespace raftkv::http2 {
namespace {

class AcceptTest : public testing::Test {
 protected:
  ~AcceptTest() override {
    for (const int fd : sockets_) close(fd);
  }

  void Start(size_t connections_max) {
    PortOptions options;
    options.connections_max = connections_max;
    port_ = std::make_unique<ClientPort>(options);
    ASSERT_TRUE(port_->Listen("127.0.0.1:0").ok());
    port_->Start();
  }

  // A socket that is not connected yet. Reading from it waits for 20 seconds at most.
  int NewSocket() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_GE(fd, 0);
    const timeval timeout = {.tv_sec = 20, .tv_usec = 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    sockets_.push_back(fd);
    return fd;
  }
  void Connect(int fd) {
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port_->port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    const std::string preface = e2e::Preface();
    send(fd, preface.data(), preface.size(), MSG_NOSIGNAL);
  }
  // Whether the port answers the client's settings. False: it has closed the connection.
  static bool IsServed(int fd) {
    char byte;
    return recv(fd, &byte, 1, 0) == 1;
  }
  void Close(int fd) {
    std::erase(sockets_, fd);
    close(fd);
  }

  std::unique_ptr<ClientPort> port_;
  std::vector<int> sockets_;
};

TEST_F(AcceptTest, AConnectionAboveTheMaximumIsClosedAtOnce) {
  Start(/*connections_max=*/2);
  const int first = NewSocket(), second = NewSocket(), third = NewSocket();
  for (const int fd : {first, second, third}) Connect(fd);
  EXPECT_TRUE(IsServed(first));
  EXPECT_TRUE(IsServed(second));
  EXPECT_FALSE(IsServed(third));
  // When one is closed, there is room again, as soon as the port has noticed.
  Close(first);
  bool served = false;
  for (const absl::Time end = absl::Now() + absl::Seconds(20); !served && absl::Now() < end;) {
    const int fd = NewSocket();
    Connect(fd);
    served = IsServed(fd);
  }
  EXPECT_TRUE(served);
}

absl::Duration CpuTime() {
  timespec used = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return absl::DurationFromTimespec(used);
}

// A connection that cannot be accepted stays in the kernel's queue, so the listening socket stays
// readable.
TEST_F(AcceptTest, WithoutDescriptorsThePortPauses) {
  Start(/*connections_max=*/100);
  const int waiting = NewSocket(), spare = NewSocket();
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const absl::Cleanup restore = [&before] { setrlimit(RLIMIT_NOFILE, &before); };
  // The descriptor above the highest one that is open is not available. Those below are filled.
  std::vector<int> filled;
  const rlimit none = {.rlim_cur = static_cast<rlim_t>(spare) + 1, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (int fd; (fd = dup(spare)) >= 0;) filled.push_back(fd);
  const absl::Cleanup close_filled = [&filled] {
    for (const int fd : filled) close(fd);
  };
  Connect(waiting);
  const absl::Duration cpu = CpuTime();
  absl::SleepFor(absl::Milliseconds(1500));
  EXPECT_LT(CpuTime() - cpu, absl::Milliseconds(50)) << "it tries again all the time";
  Close(spare);
  EXPECT_TRUE(IsServed(waiting)) << "within a second after there is a descriptor";
}

}  // namespace
}  // namespace raftkv::http2
