// One connection that speaks HTTP/1, on a socket pair, with a clock that the test advances: what it
// answers, its limits, and how it learns which protocol its client speaks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/http.pb.h"
#include "server/http2/calls.h"
#include "server/http2/connection.h"
#include "server/http2/http1_connection.h"
#include "tests/e2e/raw_http2.h"

namespace raftkv::http2 {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kGet[] = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n";

class Http1Test : public testing::Test, private Router {
 protected:
  void SetUp() override {
    UnaryMethod page;
    page.name = "GET /page";
    page.request = &proto::HttpRequest::default_instance();
    page.response = &proto::HttpAnswer::default_instance();
    page.handler = [this](UnaryCall* call) { call_ = call; };
    group_.methods.unary.push_back(std::move(page));
    group_.events = &events_;
    group_.outbox = &outbox_;
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    client_ = ends[0];
    const int small = 16 << 10;
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    Router* const router = this;
    connection_ = std::make_unique<Connection>(ends[1], "client", limits_, router, now_);
  }

  void TearDown() override {
    connection_.reset();
    RunEvents();
    if (call_ != nullptr) call_->Finish(absl::OkStatus());
    for (Command& command : outbox_.Take()) {
      EXPECT_EQ(command.stream->connection, nullptr);
      for (const std::string& piece : command.message) OnSent(piece.size());
    }
    EXPECT_EQ(outbox_.running, 0);
    EXPECT_EQ(outbox_.unsent_bytes, 0u);
    EXPECT_EQ(streams_, 0);
    close(client_);
  }

  // The client sends `bytes`. False: the connection is over.
  bool Receive(const std::string& bytes) {
    EXPECT_EQ(send(client_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return Read();
  }
  bool Read() {
    if (connection_->Read(now_)) return true;
    auto successor = connection_->Successor();
    if (successor == nullptr) return false;
    connection_ = std::move(successor);
    return true;
  }

  void RunEvents() {
    events_.Push(std::exchange(group_.new_events, {}));
    while (events_.RunNext()) {
    }
  }

  // The handler answers.
  void AnswerCall(const std::string& body) {
    RunEvents();
    ASSERT_NE(call_, nullptr);
    auto* answer = static_cast<proto::HttpAnswer*>(call_->response());
    answer->set_status(200);
    answer->set_content_type("text/plain");
    answer->set_body(body);
    std::exchange(call_, nullptr)->Finish(absl::OkStatus());
    for (Command& command : outbox_.Take()) connection_->Execute(&command);
  }

  // What the connection sends now. The client reads it.
  std::string Sent() {
    EXPECT_TRUE(connection_->Write(now_));
    std::string all;
    char bytes[4096];
    for (ssize_t count = 0; (count = recv(client_, bytes, sizeof(bytes), 0)) > 0;) {
      all.append(bytes, static_cast<size_t>(count));
    }
    return all;
  }

  // Router:
  absl::Status Open(const std::shared_ptr<GrpcStream>& stream) override {
    stream->owner = NewUnaryOwner(&group_, &group_.methods.unary[0], stream);
    return absl::OkStatus();
  }
  bool AdmitStream() override { return admits_ && ++streams_ > 0; }
  void OnStreamClosed() override { --streams_; }
  bool ChangeRequestBytes(int64_t, int64_t, int64_t) override { return true; }
  void OnSent(size_t bytes) override { outbox_.unsent_bytes -= bytes; }
  bool HasPage(const std::string& path) const override { return path == "/page"; }

  ConnectionLimits limits_;
  bool admits_ = true;
  int streams_ = 0;
  EventQueue events_{[] {}};
  Outbox outbox_{256 << 20, 2 << 20};
  Group group_;
  UnaryCall* call_ = nullptr;
  const MonotonicTime start_ = MonotonicTime() + absl::Hours(1);
  MonotonicTime now_ = start_;
  int client_ = -1;
  std::unique_ptr<ClientConnection> connection_;
};

TEST_F(Http1Test, ARequestMayArriveByteByByte) {
  for (const char c : absl::StrCat("POST", kGet + 3)) {
    ASSERT_TRUE(Receive(std::string(1, c)));  // the first byte is that of HTTP/2's magic too
  }
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 405 "));
}

TEST_F(Http1Test, AConnectionServesOneRequestAfterTheOther) {
  ASSERT_TRUE(Receive(absl::StrCat(kGet, "GET /page?a=b HTTP/1.1\r\n\r\nGET /x HTTP/1.0\r\n\r\n")));
  EXPECT_EQ(Sent(), "");
  AnswerCall("one");
  const std::string first = Sent();
  EXPECT_THAT(first, StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"));
  EXPECT_THAT(first, HasSubstr("\r\nContent-Length: 3\r\n\r\none"));
  RunEvents();
  ASSERT_NE(call_, nullptr);
  EXPECT_EQ(static_cast<proto::HttpRequest*>(call_->request())->query(), "a=b");
  AnswerCall("two");
  const std::string rest = Sent();
  EXPECT_THAT(rest, HasSubstr("\r\n\r\ntwoHTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(rest, HasSubstr("Connection: close\r\n")) << "HTTP/1.0";
  char byte = 0;
  EXPECT_EQ(recv(client_, &byte, 1, 0), 0) << "it has closed its side";
}

TEST_F(Http1Test, AClientMayCloseItsSideBeforeTheAnswer) {
  ASSERT_TRUE(Receive(kGet));
  shutdown(client_, SHUT_WR);
  ASSERT_TRUE(Read());
  EXPECT_FALSE(connection_->wants_read());
  AnswerCall("late");
  EXPECT_THAT(Sent(), HasSubstr("late"));
  EXPECT_FALSE(Read());
}

TEST_F(Http1Test, AClientThatIsGoneEndsItsRequest) {
  ASSERT_TRUE(Receive(kGet));
  connection_.reset();
  RunEvents();
  EXPECT_EQ(call_, nullptr) << "the handler is not called any more";
}

TEST_F(Http1Test, WhatIsSentAheadIsBounded) {
  ASSERT_TRUE(Receive(kGet));
  while (connection_->wants_read()) ASSERT_TRUE(Receive(std::string(4096, 'x')));
  EXPECT_TRUE(connection_->EndLate(now_ + absl::Hours(1))) << "the handler has the request";
}

TEST_F(Http1Test, MalformedRequestsAreAnsweredAndEndIt) {
  ASSERT_TRUE(Receive("GET nonsense\r\n\r\n"));
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 400 "));
  EXPECT_TRUE(connection_->EndLate(now_ + absl::Seconds(1)));
  EXPECT_FALSE(connection_->EndLate(now_ + absl::Seconds(2)));
}

TEST_F(Http1Test, HeadsAndBodiesAreBounded) {
  ASSERT_TRUE(Receive("GET /page HTTP/1.1\r\nA: "));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Receive(std::string(4096, 'a')));
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 431 "));
}

TEST_F(Http1Test, ABodyIsBounded) {
  limits_.message_bytes_max = 10'000;
  TearDown();
  SetUp();
  ASSERT_TRUE(Receive("POST /page HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Receive(std::string(4096, 'a')));
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 413 "));
}

TEST_F(Http1Test, AClientMayAskWhetherToSendTheBody) {
  ASSERT_TRUE(Receive("POST /page HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"));
  EXPECT_EQ(Sent(), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(Receive("x"));
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 405 "));
}

TEST_F(Http1Test, SlowRequestsAndIdleConnectionsEnd) {
  ASSERT_TRUE(Receive("GET "));
  EXPECT_TRUE(connection_->EndLate(start_ + absl::Seconds(20)));
  EXPECT_FALSE(connection_->EndLate(start_ + absl::Seconds(21)));
  now_ = start_ + absl::Seconds(30);
  ASSERT_TRUE(Receive("/x HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 404 "));
  EXPECT_TRUE(connection_->EndLate(now_ + absl::Seconds(120)));
  EXPECT_FALSE(connection_->EndLate(now_ + absl::Seconds(121)));
  ASSERT_TRUE(Receive("POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcd"));
  EXPECT_TRUE(connection_->EndLate(now_ + absl::Seconds(120)));
  EXPECT_FALSE(connection_->EndLate(now_ + absl::Seconds(121)));
}

TEST_F(Http1Test, AnAnswerThatIsNotReadEndsIt) {
  ASSERT_TRUE(Receive(kGet));
  AnswerCall(std::string(1 << 20, 'x'));
  ASSERT_TRUE(connection_->Write(now_));
  EXPECT_TRUE(connection_->socket_full());
  EXPECT_TRUE(connection_->EndLate(now_ + absl::Seconds(60)));
  EXPECT_FALSE(connection_->EndLate(now_ + absl::Seconds(62)));
}

TEST_F(Http1Test, TooManyCallsAreUnavailable) {
  admits_ = false;
  ASSERT_TRUE(Receive(kGet));
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 503 "));
}

TEST_F(Http1Test, AStopEndsIdleConnectionsAndOthersAfterTheAnswer) {
  ASSERT_TRUE(Receive(kGet));
  connection_->AnnounceGoaway();
  AnswerCall("x");
  EXPECT_THAT(Sent(), HasSubstr("Connection: close\r\n"));
  char byte = 0;
  EXPECT_EQ(recv(client_, &byte, 1, 0), 0);
}

// The settings of HTTP/2 would break its answer.
TEST_F(Http1Test, ASilentClientGetsNothingForTwoSeconds) {
  EXPECT_EQ(Sent(), "");
  now_ += absl::Seconds(2);
  EXPECT_EQ(Sent(), "");
  ASSERT_TRUE(Receive("G"));
  EXPECT_EQ(Sent(), "");
}

TEST_F(Http1Test, AClientOfHttp2GetsTheSettingsAtOnceOrAfterTwoSeconds) {
  ASSERT_TRUE(Receive(e2e::Preface().substr(0, 24)));
  EXPECT_NE(Sent(), "");
  TearDown();
  SetUp();
  now_ += absl::Seconds(3);
  EXPECT_NE(Sent(), "");
}

}  // namespace
}  // namespace raftkv::http2
