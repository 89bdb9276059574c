// Peers whose name is not known yet. The test is the name server.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "tests/peer/node.h"

namespace raftkv {
namespace {

// Knows no name, until it is told to: then all names are 127.0.0.1.
class NameServer {
 public:
  NameServer() : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
  }
  ~NameServer() { close(fd_); }

  int port() const { return port_; }
  int questions() const { return questions_; }
  void KnowAllNames() { knows_ = true; }

  // Answers the questions that have arrived.
  void Poll() {
    char packet[512];
    sockaddr_in from = {};
    socklen_t length = sizeof(from);
    ssize_t size = 0;
    while ((size = recvfrom(fd_, packet, sizeof(packet), 0, reinterpret_cast<sockaddr*>(&from),
                            &length)) > 12) {
      ++questions_;
      const std::string answer = Answer(std::string(packet, static_cast<size_t>(size)));
      sendto(fd_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
    }
  }

 private:
  // RFC 1035, section 4.1.
  std::string Answer(const std::string& question) const {
    constexpr size_t kHeader = 12;
    const size_t name_end = question.find('\0', kHeader);
    if (name_end == std::string::npos || question.size() < name_end + 5) return "";
    const bool is_address = question.substr(name_end + 1, 2) == std::string("\0\1", 2);
    const bool found = knows_ && is_address;
    std::string answer = question.substr(0, 2);
    answer += std::string("\x81", 1);    // an answer
    answer += knows_ ? '\x80' : '\x83';  // no error; no such name
    answer += std::string("\0\1\0", 3) + (found ? '\1' : '\0') + std::string(4, '\0');
    answer += question.substr(kHeader, name_end + 5 - kHeader);
    // The name above, an address, for 0 seconds.
    if (found) answer += std::string("\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1", 16);
    return answer;
  }

  const int fd_;
  int port_ = 0;
  int questions_ = 0;
  bool knows_ = false;
};

TEST(Names, ANameThatIsNotFoundIsLookedUpEverySecond) {
  NameServer names;
  Node to(2, {1, "n1", "127.0.0.1:1"});
  const std::string port = to.address.substr(to.address.find(':'));
  Node from(1, {2, "n2", absl::StrCat("dns://127.0.0.1:", names.port(), "/late.test", port)});
  const auto second = [&] {
    from.peers.Send(Append());
    from.peers.EverySecond();
    names.Poll();
  };
  // By itself, gRPC asks for the two kinds of addresses six times in this time.
  EXPECT_TRUE(Eventually({&from, &to}, [&] {
    second();
    return names.questions() >= 30;
  }));
  EXPECT_EQ(to.inputs.size(), 0);
  names.KnowAllNames();
  EXPECT_TRUE(Eventually({&from, &to}, [&] {
    second();
    return to.CountMessages<raft::Message>() > 0;
  }));
}

}  // namespace
}  // namespace raftkv
