// One connection that speaks HTTP/1, on a socket pair, with a clock that the test advances: what it
// answers, its limits, and how it learns which protocol its client speaks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "proto/etcd/health.pb.h"
#include "proto/etcd/rpc.pb.h"
#include "proto/http.pb.h"
#include "server/port/calls.h"
#include "server/port/http1_connection.h"
#include "server/port/http2_connection.h"
#include "server/port/json_gateway.h"
#include "tests/e2e/raw_http2.h"
#include "tests/port/port_fixture.h"

namespace raftkv::port {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kGet[] = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n";

class Http1Test : public PortFixture {
 protected:
  void SetUp() override {
    UnaryMethod page;
    page.name = "GET /page";
    page.request = &proto::HttpRequest::default_instance();
    page.response = &proto::HttpAnswer::default_instance();
    page.handler = [this](UnaryCall* call) { call_ = call; };
    group_.methods.unary.push_back(std::move(page));
    UnaryMethod check;
    check.name = "/grpc.health.v1.Health/Check";
    check.request = &HealthCheckRequest::default_instance();
    check.response = &HealthCheckResponse::default_instance();
    check.handler = [this](UnaryCall* call) { call_ = call; };
    group_.methods.unary.push_back(std::move(check));
    StreamMethod keep_alive;
    keep_alive.name = "/etcdserverpb.Lease/LeaseKeepAlive";
    keep_alive.request = &etcdserverpb::LeaseKeepAliveRequest::default_instance();
    keep_alive.open = [this](StreamCall* stream) {
      return std::make_unique<Handler>(this, stream);
    };
    group_.methods.streams.push_back(std::move(keep_alive));
    StreamMethod watch;
    watch.name = "/etcdserverpb.Watch/Watch";
    watch.request = &etcdserverpb::WatchRequest::default_instance();
    watch.open = [this](StreamCall* stream) {
      return std::make_unique<LargeHandler>(this, stream);
    };
    group_.methods.streams.push_back(std::move(watch));
    json_.Add({{"/v3/check", "/grpc.health.v1.Health/Check"},
               {"/v3/list", "/grpc.health.v1.Health/List"},
               {"/v3/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive"},
               {"/v3/watch", "/etcdserverpb.Watch/Watch"}});
    Connect();
  }

  // The connection becomes one of a port that serves pages only.
  void ServePagesOnly() {
    Router* const router = this;
    connection_ = std::make_unique<Http1Connection>(dup(connection_->fd()), "client", limits_,
                                                    router, now_, /*pages_only=*/true);
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

  // The handler answers.
  void AnswerCall(const std::string& body) {
    RunEvents();
    ASSERT_NE(call_, nullptr);
    auto* answer = static_cast<proto::HttpAnswer*>(call_->response());
    answer->set_status(200);
    answer->set_content_type("text/plain");
    answer->set_body(body);
    FinishCall();
  }

  // Carries out what the gateway's thread and the handlers have posted, until `done` holds.
  bool RunUntil(const std::function<bool()>& done) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (!done() && absl::Now() < deadline) {
      for (StreamCommand& command : command_queue_.Take()) {
        if (command.stream->connection != nullptr) {
          connection_->Execute(&command);
        } else {
          OnSent(UnsentBytes(command));
        }
      }
      RunEvents();
      absl::SleepFor(absl::Milliseconds(1));
    }
    return done();
  }
  // What the client gets, once it contains `text`.
  std::string SentWith(const std::string& text) {
    std::string all;
    EXPECT_TRUE(RunUntil([&] {
      all += Sent();
      return absl::StrContains(all, text);
    })) << all;
    return all;
  }

  // Answers each request with a response of the same ID; -1: writes as many as the stream takes.
  struct Handler final : public StreamHandler {
    Handler(Http1Test* of, StreamCall* the_stream) : test(of), stream(the_stream) {
      test->stream_ = stream;
    }
    absl::Status OnRequest(google::protobuf::Message* request) override {
      const int64_t id = static_cast<etcdserverpb::LeaseKeepAliveRequest*>(request)->id();
      if (id == 0) return absl::NotFoundError("no id");
      if (id < 0) {
        floods = true;
        OnWritable();
        return absl::OkStatus();
      }
      etcdserverpb::LeaseKeepAliveResponse response;
      response.set_id(id);
      stream->Write(response, false);
      waits = true;
      return absl::OkStatus();
    }
    bool WantsRequest() const override { return !waits; }
    void OnWritable() override {
      waits = false;
      etcdserverpb::LeaseKeepAliveResponse response;
      response.set_id(++test->written_);
      if (floods && stream->writable()) stream->Write(response, false);
    }
    bool OnLastRequest() override { return ++test->last_requests_ > 0; }
    void OnGone() override { ++test->gone_; }
    Http1Test* const test;
    StreamCall* const stream;
    bool waits = false;
    bool floods = false;
  };

  // Writes a response that is too large for JSON.
  struct LargeHandler final : public StreamHandler {
    LargeHandler(Http1Test* of, StreamCall* the_stream) : test(of), stream(the_stream) {}
    absl::Status OnRequest(google::protobuf::Message* /*request*/) override {
      etcdserverpb::WatchResponse response;
      response.set_cancel_reason(std::string(JsonGateway::kAnswerBytesMax, 'x'));
      stream->Write(response, false);
      return absl::OkStatus();
    }
    void OnWritable() override {}
    bool OnLastRequest() override { return true; }  // it would write more
    void OnGone() override { ++test->gone_; }
    Http1Test* const test;
    StreamCall* const stream;
  };

  // Router:
  bool HasPage(const std::string& path) const override { return path == "/page"; }
  JsonGateway* json() override { return &json_; }

  JsonGateway json_{&command_queue_};
  StreamCall* stream_ = nullptr;  // the last one that was opened
  int last_requests_ = 0;
  int gone_ = 0;
  int64_t written_ = 0;
};

TEST_F(Http1Test, ARequestMayArriveByteByByte) {
  for (const char c : absl::StrCat("POST", kGet + 3)) {
    ASSERT_TRUE(Receive(std::string(1, c)));  // the first byte is that of HTTP/2's magic too
  }
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 405 "));
}

TEST_F(Http1Test, ChunksMayArriveByteByByte) {
  const std::string request =
      "POST /v3/check HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
  for (const char c : request) ASSERT_TRUE(Receive(std::string(1, c)));
  ASSERT_TRUE(RunUntil([this] { return call_ != nullptr; }));
  std::exchange(call_, nullptr)->Finish(absl::OkStatus());
  EXPECT_THAT(SentWith("{}"), StartsWith("HTTP/1.1 200 "));
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

TEST_F(Http1Test, AllRequestsBeforeTheEndAreServed) {
  ASSERT_TRUE(Receive(absl::StrCat(kGet, kGet, kGet, "GET /pa")));
  shutdown(client_, SHUT_WR);
  ASSERT_TRUE(Read());
  for (int i = 0; i < 3; ++i) {
    AnswerCall("x");
    EXPECT_THAT(Sent(), HasSubstr("\r\n\r\nx"));
  }
  char byte = 0;
  EXPECT_EQ(recv(client_, &byte, 1, 0), 0) << "it has closed its side";
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

// A proxy in front of this port must never see other requests in the bytes than this port does.
TEST_F(Http1Test, TheLengthOfABodyIsUnambiguous) {
  for (const char* headers :
       {"Transfer-Encoding: gzip", "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity", "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4", "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: -1", "Content-Length: 18446744073709551619", "Content-Length : 3"}) {
    TearDown();
    SetUp();
    ASSERT_TRUE(Receive(absl::StrCat("POST /page HTTP/1.1\r\n", headers, "\r\n\r\n")));
    const std::string answer = Sent();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 ")) << headers;
    EXPECT_THAT(answer, HasSubstr("Connection: close\r\n")) << headers;
  }
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
  EXPECT_GT(command_queue_.unsent_bytes, size_t{1} << 20)
      << "what the socket has not taken is counted";
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

// If the client spoke HTTP/1, the settings of HTTP/2 would break the answer.
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

std::string Post(const std::string& path, const std::string& body) {
  return absl::StrCat("POST ", path, " HTTP/1.1\r\nContent-Length: ", body.size(), "\r\n\r\n",
                      body);
}

TEST_F(Http1Test, AMethodIsServedAsJson) {
  ASSERT_TRUE(Receive(Post("/v3/check", R"( {"service": "a\"}", "unknown": [1]} ignored)")));
  ASSERT_TRUE(RunUntil([this] { return call_ != nullptr; }));
  EXPECT_EQ(static_cast<HealthCheckRequest*>(call_->request())->service(), "a\"}");
  static_cast<HealthCheckResponse*>(call_->response())->set_status(HealthCheckResponse::SERVING);
  std::exchange(call_, nullptr)->Finish(absl::OkStatus());
  const std::string answer = SentWith("SERVING");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(answer, testing::EndsWith("\r\n\r\n{\"status\":\"SERVING\"}"));
  ASSERT_TRUE(Receive(Post("/v3/check", "")));
  ASSERT_TRUE(RunUntil([this] { return call_ != nullptr; }));
  std::exchange(call_, nullptr)->Finish(absl::NotFoundError("it \"is\" not there"));
  EXPECT_THAT(SentWith("there"),
              testing::EndsWith("\r\n\r\n{\"error\":\"it \\\"is\\\" not there\",\"message\":\"it "
                                "\\\"is\\\" not there\",\"code\":5}"));
}

TEST_F(Http1Test, APortOfPagesServesNoMethods) {
  ServePagesOnly();
  ASSERT_TRUE(Receive(Post("/v3/check", "{}")));
  EXPECT_THAT(Sent(), StartsWith("HTTP/1.1 404 "));
  ASSERT_TRUE(Receive("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(Sent(), HasSubstr("listen_client_url serves the etcd v3 API"));
  ASSERT_TRUE(Receive(kGet));
  AnswerCall("page");
  EXPECT_THAT(Sent(), HasSubstr("page"));
}

TEST_F(Http1Test, WhatIsNotJsonIsAnInvalidArgument) {
  for (const char* body : {"[1]", "x", "{\"service\":1}", "{\"service\":\"", "{]}"}) {
    ASSERT_TRUE(Receive(Post("/v3/check", body)));
    const std::string answer = SentWith("\"code\":3}");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 Bad Request\r\n")) << body;
    EXPECT_EQ(answer.find("Connection: close"), std::string::npos) << body;
  }
}

TEST_F(Http1Test, AMethodIsServedForPostOnly) {
  ASSERT_TRUE(Receive("GET /v3/check HTTP/1.1\r\n\r\nPUT /page HTTP/1.1\r\n\r\n"));
  const std::string answers = Sent();
  EXPECT_THAT(answers, StartsWith("HTTP/1.1 405 "));
  const size_t post = answers.find("\r\nAllow: POST\r\n");
  ASSERT_NE(post, std::string::npos) << answers;
  EXPECT_NE(answers.find("\r\nAllow: GET\r\n", post), std::string::npos) << answers;
}

TEST_F(Http1Test, TheConnectionOutlivesAMethodThatIsNotServed) {
  ASSERT_TRUE(Receive("POST /v3/list HTTP/1.1\r\nContent-Length: 2\r\n\r\n"));
  EXPECT_EQ(Sent(), "") << "the answer does not come before the request";
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Receive(i == 0 ? "{}" : Post("/v3/list", "{}")));
    const std::string answer = SentWith("\"code\":12}");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 501 Not Implemented\r\n"));
    EXPECT_EQ(answer.find("Connection: close"), std::string::npos) << answer;
  }
}

TEST_F(Http1Test, AJsonBodyIsBounded) {
  ASSERT_TRUE(Receive("POST /v3/check HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n{\"a\":\""));
  std::string answer;
  for (int i = 0; i < 1200 && answer.empty(); ++i) {
    ASSERT_TRUE(Receive(std::string(4096, 'a')));
    answer = Sent();
  }
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(answer, HasSubstr("request is too large"));
  EXPECT_THAT(answer, HasSubstr("Connection: close\r\n"));
}

// As in etcd: requests follow each other in the body, and each response is a line in a chunk.
TEST_F(Http1Test, AStreamIsAnsweredInChunks) {
  ASSERT_TRUE(Receive("POST /v3/keepalive HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
  ASSERT_TRUE(Receive("f\r\n{\"ID\":\"1\"}{\"ID\"\r\n"));
  EXPECT_THAT(SentWith("{\"result\":{\"ID\":\"1\"}}\n\r\n"),
              HasSubstr("\r\nTransfer-Encoding: chunked\r\n\r\n16\r\n{\"result\":"));
  ASSERT_TRUE(Receive("3\r\n:2}\r\n0\r\n\r\n"));
  EXPECT_EQ(SentWith("\n\r\n"), "16\r\n{\"result\":{\"ID\":\"2\"}}\n\r\n");
  ASSERT_TRUE(RunUntil([this] { return last_requests_ == 1; }));
  EXPECT_EQ(Sent(), "") << "the stream goes on";
  shutdown(client_, SHUT_WR);
  EXPECT_FALSE(Read());
  connection_.reset();
  RunEvents();
  EXPECT_EQ(gone_, 1);
}

// A client must not take the error for the head of another answer, nor the rest of the body for
// another request.
TEST_F(Http1Test, AMalformedChunkEndsAStreamWithinItsAnswer) {
  ASSERT_TRUE(Receive("POST /v3/keepalive HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
  ASSERT_TRUE(Receive("8\r\n{\"ID\":1}\r\n"));
  SentWith("{\"result\":{\"ID\":\"1\"}}\n\r\n");
  ASSERT_TRUE(Receive(absl::StrCat("xyz\r\n\r\n", kGet)));
  const std::string rest = Sent();
  EXPECT_THAT(rest, HasSubstr("\r\n{\"error\":{\"grpc_code\":3,\"http_code\":400,\"message\":"
                              "\"malformed HTTP request: "));
  EXPECT_THAT(rest, testing::EndsWith("}\n\r\n0\r\n\r\n"));
  EXPECT_EQ(rest.find("HTTP/1.1"), std::string::npos) << rest;
  char byte = 0;
  EXPECT_EQ(recv(client_, &byte, 1, 0), 0) << "it has closed its side";
}

TEST_F(Http1Test, AStreamThatEndsBeforeItsRequestEndsTheConnection) {
  ASSERT_TRUE(Receive("POST /v3/keepalive HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
  ASSERT_TRUE(Receive("8\r\n{\"ID\":1}\r\n"));
  SentWith("{\"result\":{\"ID\":\"1\"}}\n\r\n");
  stream_->Finish(absl::OkStatus());
  EXPECT_EQ(SentWith("0\r\n\r\n"), "0\r\n\r\n");
  char byte = 0;
  EXPECT_EQ(recv(client_, &byte, 1, 0), 0) << "it has closed its side";
}

// The gateway converts the responses of a stream one at a time, in their order. After the stream is
// closed, it converts none.
TEST_F(Http1Test, SmallResponsesWaitForEachOther) {
  ASSERT_TRUE(Receive(Post("/v3/keepalive", "{\"ID\":-1}")));
  std::string all;
  ASSERT_TRUE(RunUntil([&] {
    all += Sent();
    return absl::StrContains(all, "{\"ID\":\"20\"}");
  }));
  size_t at = 0;
  for (int i = 1; i <= 20; ++i) {
    at = all.find(absl::StrCat("{\"ID\":\"", i, "\"}"), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  connection_.reset();
  EXPECT_TRUE(RunUntil([this] { return gone_ == 1 && command_queue_.unsent_bytes == 0; }));
}

TEST_F(Http1Test, AResponseThatIsTooLargeEndsAStreamAndItsHandler) {
  ASSERT_TRUE(Receive(Post("/v3/watch", "{}")));
  EXPECT_THAT(SentWith("\"code\":8}"), HasSubstr("response is too large for JSON"));
  EXPECT_TRUE(RunUntil([this] { return gone_ == 1; }));
}

TEST_F(Http1Test, APartOfARequestEndsAStreamInTheEnd) {
  ASSERT_TRUE(Receive("POST /v3/keepalive HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
  ASSERT_TRUE(Receive("8\r\n{\"ID\":1}\r\n"));
  SentWith("{\"result\":{\"ID\":\"1\"}}\n\r\n");
  EXPECT_TRUE(connection_->EndLate(now_ + absl::Hours(1))) << "it waits for requests";
  now_ += absl::Hours(1);
  ASSERT_TRUE(Receive("1\r\n{\r\n"));
  EXPECT_TRUE(connection_->EndLate(now_ + absl::Seconds(120)));
  EXPECT_FALSE(connection_->EndLate(now_ + absl::Seconds(121)));
}

TEST_F(Http1Test, AMessageOfJsonIsBounded) {
  limits_.message_bytes_max = 1000;
  TearDown();
  SetUp();
  ASSERT_TRUE(
      Receive(Post("/v3/check", absl::StrCat("{\"service\":\"", std::string(1500, 'a'), "\"}"))));
  EXPECT_THAT(SentWith("\"code\":3}"), HasSubstr("request is too large"));
}

TEST_F(Http1Test, AnErrorEndsAStream) {
  ASSERT_TRUE(Receive(Post("/v3/keepalive", "{\"ID\":1}{}")));
  EXPECT_THAT(SentWith("0\r\n\r\n"),
              HasSubstr("{\"error\":{\"grpc_code\":5,\"http_code\":404,\"message\":\"no id\"}}\n"));
  ASSERT_TRUE(Receive(Post("/v3/keepalive", "{}")));
  EXPECT_THAT(SentWith("}"), StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_EQ(gone_, 0) << "the handler has ended both";
  ASSERT_TRUE(Receive(Post("/v3/keepalive", "{\"ID\":1}[]")));
  EXPECT_THAT(SentWith("\"code\":3}"), StartsWith("HTTP/1.1 400 Bad Request\r\n"));
}

}  // namespace
}  // namespace raftkv::port
