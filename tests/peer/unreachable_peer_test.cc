// What is logged while a peer cannot be connected to, and who is connected to at a start.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/peer/cause.h"
#include "server/peer/peers.h"
#include "tests/peer/node.h"
#include "tests/server/listener.h"
#include "tests/server/log_lines.h"

namespace raftkv {
namespace {

using testing::HasSubstr;

// A server that is no member. It sends these bytes on each connection and closes it.
class OtherServer {
 public:
  explicit OtherServer(const std::string& answer)
      : thread_([this, answer] {
          for (int one = 0; (one = accept(listener_.fd(), nullptr, nullptr)) >= 0; close(one)) {
            char first = 0;
            (void)!recv(one, &first, 1, 0);
            (void)!send(one, answer.data(), answer.size(), MSG_NOSIGNAL);
            ::shutdown(one, SHUT_WR);
            while (recv(one, &first, 1, 0) > 0) {  // so that the client sees no reset
            }
          }
        }) {}
  ~OtherServer() {
    ::shutdown(listener_.fd(), SHUT_RDWR);
    thread_.join();
  }
  std::string address() const { return listener_.address(); }

 private:
  const Listener listener_;
  std::thread thread_;
};

// Runs until a line about the peer at this address has the cause. The test calls EverySecond more
// often than once a second.
testing::AssertionResult Logs(const std::string& address, const std::string& cause) {
  LogLines lines;
  Node node(1, {2, "n2", address});
  const std::string line = absl::StrCat("cannot connect to n2 at ", address, ": ", cause);
  if (Eventually({&node}, [&] {
        node.peers.Send(Heartbeat());
        node.peers.EverySecond();
        return absl::StrContains(lines.text(), line);
      })) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "not logged: " << line << "\n" << lines.text();
}

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
  EXPECT_THAT(lines.text(), HasSubstr("cannot connect to n2 at 127.0.0.1:1: connection refused: no "
                                      "process listens there; trying again"));
}

TEST(UnreachablePeer, TheCauseIsLoggedWithoutMessagesToIt) {
  LogLines lines;
  Node node(1, kNobodyThere);
  ASSERT_TRUE(Eventually({&node}, [&] {
    node.peers.EverySecond();
    return absl::StrContains(lines.text(), "cannot connect to n2");
  }));
  EXPECT_THAT(lines.text(), HasSubstr("cannot connect to n2 at 127.0.0.1:1: connection refused"));
}

TEST(UnreachablePeer, WhoseProcessHangsIsNamedSo) {
  const Listener hanging;  // connections wait in the kernel
  EXPECT_TRUE(Logs(hanging.address(), "it accepts connections, but does not answer"));
}

TEST(UnreachablePeer, ThatExpectsTlsOrIsAnotherServerIsNamedSo) {
  const std::string alert("\x15\x03\x01\0\x02\x02\x46", 7);
  const std::string http = "HTTP/1.1 400 Bad Request\r\n\r\n";
  const OtherServer tls(alert), web(http);
  EXPECT_TRUE(Logs(tls.address(), "it closes the connection: it expects TLS"));
  EXPECT_TRUE(Logs(web.address(), "it is not a member of raftkv: it answers in HTTP/1"));
}

grpc::Status Error(const char* text) { return {grpc::StatusCode::UNAVAILABLE, text}; }

// The texts of gRPC 1.51 that need another machine.
TEST(WhyNotConnected, NamesTheCauseInPlainWords) {
  EXPECT_EQ(WhyNotConnected(Error("DNS resolution failed for h.invalid:2380: C-ares status is not "
                                  "ARES_SUCCESS qtype=AAAA name=h.invalid is_balancer=0: Domain "
                                  "name not found")),
            "its name is not found; check its URL and the name server");
  EXPECT_EQ(
      WhyNotConnected(Error("DNS resolution failed for h:2380: C-ares status is not "
                            "ARES_SUCCESS qtype=A name=h is_balancer=0: Could not contact DNS "
                            "servers")),
      "its name cannot be looked up: no name server answers");
  EXPECT_EQ(WhyNotConnected(Error("failed to connect to all addresses; last error: UNKNOWN: "
                                  "ipv4:10.0.0.2:2380: Failed to connect to remote host: No route "
                                  "to host")),
            "No route to host");
  EXPECT_EQ(WhyNotConnected(Error("failed to connect to all addresses; last error: UNKNOWN: "
                                  "ipv4:10.0.0.2:2380: Failed to connect to remote host: Timeout "
                                  "occurred: FD shutdown")),
            "no answer: its machine is down, or a firewall drops the connection");
  EXPECT_EQ(WhyNotConnected(Error("another text")), "another text");
}

TEST(WhyLost, NamesTheCauseInPlainWords) {
  EXPECT_EQ(WhyLost(Error("recvmsg:Connection reset by peer")), "the other side closed it");
  EXPECT_EQ(WhyLost(Error("Socket closed")), "the other side closed it");
  EXPECT_EQ(WhyLost(Error("keepalive watchdog timeout")), "it does not answer any more");
  EXPECT_EQ(WhyLost(Error(Peers::kStopping)), "server stopped");
}

// A member that was removed may still be in the config file.
TEST(FormerMember, IsNotConnectedToAtAStart) {
  const Listener removed;
  Node other(2, {1, "n1", "127.0.0.1:1"});
  const std::vector<PeerAddress> members = {{2, "n2", other.address}};
  Node node(1, {3, "n3", removed.address()}, {}, members);
  for (int i = 1; i <= 3; ++i) {  // a connection takes less time than a message
    node.peers.Send(Append());
    ASSERT_TRUE(
        Eventually({&node, &other}, [&] { return other.CountMessages<raft::Message>() == i; }));
  }
  EXPECT_FALSE(removed.HasConnection());
}

}  // namespace
}  // namespace raftkv
