#ifndef RAFTKV_TESTS_SERVER_LISTENER_H_
#define RAFTKV_TESTS_SERVER_LISTENER_H_

// A listening socket on loopback, for a test that plays a server itself, or that occupies a port.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace raftkv {

class Listener {
 public:
  // 0: a free port.
  explicit Listener(uint16_t port = 0) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int yes = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(fd_, any, size), 0);
    EXPECT_EQ(listen(fd_, 100), 0);
    EXPECT_EQ(getsockname(fd_, any, &size), 0);
    port_ = ntohs(address.sin_port);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() { close(fd_); }

  int fd() const { return fd_; }
  uint16_t port() const { return port_; }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // Whether somebody connects within this time, or has connected and was not accepted yet.
  bool HasConnection(absl::Duration wait = absl::ZeroDuration()) const {
    pollfd one = {.fd = fd_, .events = POLLIN, .revents = 0};
    return poll(&one, 1, static_cast<int>(absl::ToInt64Milliseconds(wait))) == 1;
  }
  // The next connection. If nobody connects for 20 seconds, the test fails, and the answer is -1.
  int Accept() const {
    const bool connected = HasConnection(absl::Seconds(20));
    EXPECT_TRUE(connected) << "nobody connects";
    return connected ? accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC) : -1;
  }

 private:
  const int fd_;
  uint16_t port_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_SERVER_LISTENER_H_
