// Why an endpoint cannot be reached, and why the cluster does not answer.
#include "client/cli/cause.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/client/cli_fixture.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// A server of some other kind. It answers the first bytes of each connection and closes it.
class OtherServer {
 public:
  explicit OtherServer(std::function<std::string(const std::string& received)> answer)
      : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size);
    address_ = absl::StrCat("localhost:", ntohs(at.sin_port));
    thread_ = std::thread([this, answer = std::move(answer)] {
      for (int one; (one = accept(listener_, nullptr, nullptr)) >= 0; close(one)) {
        char bytes[1024];
        const ssize_t got = recv(one, bytes, sizeof(bytes), 0);
        if (got <= 0) continue;
        const std::string text = answer(std::string(bytes, static_cast<size_t>(got)));
        (void)!send(one, text.data(), text.size(), MSG_NOSIGNAL);
      }
    });
  }
  ~OtherServer() {
    shutdown(listener_, SHUT_RDWR);  // ends accept()
    thread_.join();
    close(listener_);
  }
  const std::string& address() const { return address_; }

 private:
  const int listener_;
  std::string address_;
  std::thread thread_;
};

std::string Why(const std::string& address) { return WhyUnreachable(address, absl::Seconds(10)); }

TEST(WhyUnreachable, NamesTheStepThatFails) {
  EXPECT_EQ(Why(DeadAddress()), "connection refused: no server listens there");
  EXPECT_THAT(Why("nowhere.invalid:2379"), StartsWith("the name nowhere.invalid is not found"));
  const FakeServer etcd;
  EXPECT_EQ(Why(etcd.address()),
            "it answers now: try again, or raise --dial-timeout and --command-timeout");
  const StoppedServer stopped;
  EXPECT_THAT(WhyUnreachable(stopped.address(), absl::Milliseconds(50)),
              HasSubstr("does not answer"));
  const OtherServer web([](const std::string&) { return "HTTP/1.1 400 Bad Request\r\n\r\n"; });
  EXPECT_EQ(Why(web.address()), "it is not a gRPC server");
  const OtherServer silent([](const std::string&) { return ""; });
  EXPECT_THAT(Why(silent.address()), HasSubstr("it closes the connection"));
}

// Some TLS servers answer the wrong greeting with an alert, others close the connection.
TEST(WhyUnreachable, RecognizesTls) {
  const std::string alert("\x15\x03\x03\x00\x02\x02\x46", 7);
  const OtherServer alerts([&](const std::string&) { return alert; });
  const OtherServer closes([&](const std::string& received) {
    const bool hello = received.size() == 56 && received.substr(0, 3) == "\x16\x03\x01";
    return hello ? alert : "";
  });
  for (const OtherServer* server : {&alerts, &closes}) {
    EXPECT_THAT(Why(server->address()), HasSubstr("expects TLS"));
  }
}

TEST_F(Cli, WithoutALeaderTheErrorSaysSo) {
  server_.status_response.add_errors("etcdserver: no leader");
  server_.before = [this](grpc::ServerContext*) {
    return server_.calls == 1
               ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: request timed out")
               : grpc::Status::OK;
  };
  const std::string dead = DeadAddress();
  const std::string both = "--endpoints=" + server_.address() + "," + dead;
  const Result result = Raftkv({both.c_str(), "get", "k"});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_THAT(
      result.err,
      AllOf(StartsWith("Error: etcdserver: request timed out; the cluster has no leader: " +
                       server_.address() + " knows none; no answer from " + dead + "; check "),
            HasSubstr("majority")));
  // The server has waited for a leader already: the read was not sent to it again.
  EXPECT_EQ(server_.calls, 2);
}

// It hears no leader, but the others may have one.
TEST_F(Cli, AHaltedMemberDoesNotMeanThatThereIsNoLeader) {
  server_.status_response.add_errors("etcdserver: no leader");
  server_.status_response.add_errors("halted: it lacks entries");
  server_.before = [this](grpc::ServerContext*) {
    return server_.calls == 1
               ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: request timed out")
               : grpc::Status::OK;
  };
  EXPECT_EQ(Run({"get", "k"}).err,
            "Error: etcdserver: request timed out; " + server_.address() +
                " (halted: it lacks entries); name another member with --endpoints\n");
}

TEST_F(Cli, WithALeaderTheErrorIsTheServers) {
  server_.status_response.set_leader(1);
  server_.before = [this](grpc::ServerContext*) {
    return server_.calls == 1
               ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: request timed out")
               : grpc::Status::OK;
  };
  EXPECT_EQ(Run({"get", "k"}).err, "Error: etcdserver: request timed out\n");
}

}  // namespace
}  // namespace raftkv::client
