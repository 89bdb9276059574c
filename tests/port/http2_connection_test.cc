// The limits of one connection of a client, on a socket pair, with a clock that the test advances.
// Each test fails if its limit is removed from the code.

#include "server/port/http2_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/etcd/health.pb.h"
#include "server/port/calls.h"
#include "tests/e2e/raw_http2.h"
#include "tests/port/port_fixture.h"

namespace raftkv::port {
namespace {

using e2e::CallHeaders;
using e2e::Frame;
using e2e::MessageData;
using e2e::Preface;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr char kUnary[] = "/Unary", kStream[] = "/Stream";
constexpr char kPriority = 2, kGoaway = 7;
constexpr uint32_t kCancel = 8;

std::string Times(int count, const std::string& bytes) {
  std::string all;
  for (int i = 0; i < count; ++i) all += bytes;
  return all;
}

class Http2ConnectionTest : public PortFixture {
 protected:
  void SetUp() override {
    UnaryMethod unary;
    unary.name = kUnary;
    unary.request = &HealthCheckRequest::default_instance();
    unary.response = &HealthCheckResponse::default_instance();
    unary.handler = [this](UnaryCall* call) { call_ = call; };
    group_.methods.unary.push_back(std::move(unary));
    StreamMethod stream;
    stream.name = kStream;
    stream.request = &HealthCheckRequest::default_instance();
    stream.first_request.wait = absl::Seconds(10);
    stream.open = [this](StreamCall*) {
      ++opened_;
      return std::make_unique<Handler>(&requests_);
    };
    group_.methods.streams.push_back(std::move(stream));
    Connect();
  }

  // The client sends `bytes`, and the connection reads them. False: it is over.
  bool Receive(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size(); at += Http2Connection::kReadBytes) {
      const std::string part = bytes.substr(at, Http2Connection::kReadBytes);
      EXPECT_EQ(send(client_, part.data(), part.size(), 0), static_cast<ssize_t>(part.size()));
      if (!connection_->Read(now_)) return false;
    }
    return true;
  }

  void AnswerCall() {
    RunEvents();
    ASSERT_NE(call_, nullptr);
    FinishCall();
  }

  // Whether the connection has reset `stream` after it looked for late ones at `now`.
  bool EndsAsLate(uint32_t stream, MonotonicTime now) {
    now_ = now;
    EXPECT_TRUE(connection_->EndLate(now_));
    const std::string reset = Frame(e2e::kRstStream, 0, stream, std::string("\0\0\0\x8", 4));
    return Sent().find(reset) != std::string::npos;
  }

  struct Handler final : public StreamHandler {
    explicit Handler(int* all) : requests(all) {}
    absl::Status OnRequest(google::protobuf::Message*) override {
      ++*requests;
      return absl::OkStatus();
    }
    void OnWritable() override {}
    int* const requests;
  };

  int opened_ = 0;    // handlers of streams
  int requests_ = 0;  // that they got
};

// A control frame costs time for every stream. So a client may send 100 of them in a second,
// including its first settings.
TEST_F(Http2ConnectionTest, ControlFramesHaveARate) {
  const std::string priority = Frame(kPriority, 0, 1, std::string("\0\0\0\3\1", 5));
  ASSERT_TRUE(Receive(Preface() + Times(99, priority)));
  now_ += absl::Milliseconds(1001);
  EXPECT_TRUE(Receive(Times(100, priority))) << "another second";
  EXPECT_FALSE(Receive(priority));
}

TEST_F(Http2ConnectionTest, SettingsCountAsControlFrames) {
  ASSERT_TRUE(Receive(Preface() + Times(99, Frame(e2e::kSettings, 0, 0, ""))));
  EXPECT_FALSE(Receive(Frame(e2e::kSettings, 0, 0, "")));
}

// Without an open stream, a GOAWAY of the client ends the session.
TEST_F(Http2ConnectionTest, GoawaysCountAsControlFrames) {
  const std::string goaway = Frame(kGoaway, 0, 0, std::string(8, '\0'));
  ASSERT_TRUE(Receive(Preface() + CallHeaders(1, kStream) + Times(99, goaway)));
  EXPECT_FALSE(Receive(goaway));
}

// What the peer port allows. The client is told with a GOAWAY, and its later calls are ignored.
TEST_F(Http2ConnectionTest, ResetsHaveARate) {
  limits_.resets_burst = 5;
  limits_.resets_rate = 1;
  Reconnect();
  const auto reset = [](uint32_t stream) {
    return CallHeaders(stream, kStream) +
           Frame(e2e::kRstStream, 0, stream, std::string("\0\0\0\x8", 4));
  };
  const std::string goaway = std::string(1, kGoaway) + std::string(5, '\0');
  std::string calls = Preface();
  uint32_t stream = 1;
  for (; stream < 2 * 5; stream += 2) calls += reset(stream);
  ASSERT_TRUE(Receive(calls));
  EXPECT_EQ(Sent().find(goaway), std::string::npos);
  calls.clear();
  for (; stream < 2 * 50; stream += 2) calls += reset(stream);
  Receive(calls);
  EXPECT_NE(Sent().find(goaway), std::string::npos);
  EXPECT_EQ(streams_, 0);
  RunEvents();
  EXPECT_EQ(opened_, 0) << "the handlers' thread has seen none of it";
}

// A stranger's messages must not wait in front of those of the members.
TEST_F(Http2ConnectionTest, NothingFollowsAFirstRequestBeforeTheHandlerHasAcceptedIt) {
  limits_.for_peers = true;
  Reconnect();
  ASSERT_TRUE(Receive(Preface() + CallHeaders(1, kStream) +
                      Times(50, MessageData(1, "", 0, /*last=*/false))));
  EXPECT_EQ(group_.new_events.size(), 2u) << "the stream, and its first request";
  EXPECT_TRUE(connection_->stranger());
  RunEvents();
  EXPECT_EQ(requests_, 1);
  EXPECT_FALSE(connection_->stranger());
  for (StreamCommand& command : command_queue_.Take()) connection_->Execute(&command);
  RunEvents();
  EXPECT_EQ(requests_, 50);
}

// A connection is a member's from its first accepted call to its end.
TEST_F(Http2ConnectionTest, AStrangerIsAcceptedWithAUnaryCall) {
  limits_.for_peers = true;
  Reconnect();
  ASSERT_TRUE(Receive(Preface() + CallHeaders(1, kUnary) + MessageData(1, "", 0, /*last=*/true)));
  EXPECT_TRUE(connection_->stranger());
  AnswerCall();
  EXPECT_FALSE(connection_->stranger());
  Sent();
  EXPECT_EQ(streams_, 0);
  EXPECT_FALSE(connection_->stranger());
}

// This is nghttp2's own limit: it keeps 1,000 unsent answers.
TEST_F(Http2ConnectionTest, PingsWhoseAnswersAreNotReadEndIt) {
  const std::string ping = Frame(e2e::kPing, 0, 0, "12345678");
  ASSERT_TRUE(Receive(Preface()));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Receive(Times(500, ping)));
    Sent();
  }
  EXPECT_FALSE(Receive(Times(1100, ping)));
}

// Every call that is not admitted is answered with a frame.
TEST_F(Http2ConnectionTest, AnswersThatAreNotReadAreBounded) {
  admits_ = false;
  ASSERT_TRUE(Receive(Preface()));
  const int queue_max = static_cast<int>(2 * limits_.streams_max) + 2000;
  auto calls = [stream = uint32_t{1}](int count) mutable {
    std::string bytes;
    for (; count > 0; --count, stream += 2) bytes += CallHeaders(stream, kUnary);
    return bytes;
  };
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(Receive(calls(2000)));
    while (!Sent().empty()) {
    }
  }
  EXPECT_FALSE(Receive(calls(queue_max + 100)));
}

TEST_F(Http2ConnectionTest, AClientThatSaysNothingIsCutOff) {
  EXPECT_TRUE(connection_->EndLate(start_ + absl::Seconds(20)));
  EXPECT_FALSE(connection_->EndLate(start_ + absl::Seconds(21)));
}

TEST_F(Http2ConnectionTest, AClientThatReadsNothingIsCutOff) {
  ASSERT_TRUE(Receive(Preface()));
  while (!connection_->socket_full()) {
    ASSERT_TRUE(Receive(Times(500, Frame(e2e::kPing, 0, 0, "12345678"))));
    ASSERT_TRUE(connection_->Write(now_));
  }
  EXPECT_TRUE(connection_->EndLate(start_ + absl::Seconds(60)));
  EXPECT_FALSE(connection_->EndLate(start_ + absl::Seconds(61)));
}

TEST_F(Http2ConnectionTest, AnIncompleteRequestIsLateAfterTwoMinutes) {
  ASSERT_TRUE(Receive(Preface() + CallHeaders(1, kUnary)));
  EXPECT_FALSE(EndsAsLate(1, start_ + absl::Seconds(120)));
  EXPECT_TRUE(EndsAsLate(1, start_ + absl::Seconds(121)));
}

TEST_F(Http2ConnectionTest, ACallThatItsHandlerHasIsNeverLate) {
  ASSERT_TRUE(Receive(Preface() + CallHeaders(1, kUnary) + MessageData(1, "", 0, /*last=*/true)));
  RunEvents();
  EXPECT_FALSE(EndsAsLate(1, start_ + absl::Hours(1)));
}

// The client's window for answers is 0.
TEST_F(Http2ConnectionTest, AnAnswerThatIsNotReadIsLateASecondAfterTheDeadline) {
  const std::string no_window = Frame(e2e::kSettings, 0, 0, std::string("\0\4\0\0\0\0", 6));
  ASSERT_TRUE(Receive(Preface() + no_window + CallHeaders(1, kUnary, "3S") +
                      MessageData(1, "", 0, /*last=*/true)));
  AnswerCall();
  EXPECT_FALSE(EndsAsLate(1, start_ + absl::Seconds(4)));
  EXPECT_TRUE(EndsAsLate(1, start_ + absl::Seconds(5)));
}

TEST_F(Http2ConnectionTest, AnAnswerWithoutADeadlineIsLateAfterAMinute) {
  const std::string no_window = Frame(e2e::kSettings, 0, 0, std::string("\0\4\0\0\0\0", 6));
  ASSERT_TRUE(Receive(Preface() + no_window + CallHeaders(1, kUnary) +
                      MessageData(1, "", 0, /*last=*/true)));
  AnswerCall();
  EXPECT_FALSE(EndsAsLate(1, start_ + absl::Seconds(60)));
  EXPECT_TRUE(EndsAsLate(1, start_ + absl::Seconds(62)));
}

TEST_F(Http2ConnectionTest, AStreamWithoutItsFirstRequestIsLate) {
  ASSERT_TRUE(Receive(Preface() + CallHeaders(1, kStream)));
  RunEvents();
  EXPECT_EQ(opened_, 0);
  EXPECT_FALSE(EndsAsLate(1, start_ + absl::Seconds(10)));
  EXPECT_TRUE(EndsAsLate(1, start_ + absl::Seconds(11)));
}

TEST_F(Http2ConnectionTest, AStreamMayWaitButNotWithinARequest) {
  ASSERT_TRUE(Receive(Preface() + CallHeaders(1, kStream) + MessageData(1, "", 0, /*last=*/false)));
  RunEvents();
  EXPECT_EQ(opened_, 1);
  EXPECT_FALSE(EndsAsLate(1, start_ + absl::Hours(1)));
  ASSERT_TRUE(Receive(MessageData(1, "a", /*length=*/100, /*last=*/false)));
  EXPECT_FALSE(EndsAsLate(1, start_ + absl::Hours(1) + absl::Seconds(120)));
  EXPECT_TRUE(EndsAsLate(1, start_ + absl::Hours(1) + absl::Seconds(121)));
}

}  // namespace
}  // namespace raftkv::port
