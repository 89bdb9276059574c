// How many connections and calls a port accepts.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/etcd/health.pb.h"
#include "server/port/port.h"
#include "tests/e2e/raw_http2.h"

namespace raftkv::port {
namespace {

class AcceptTest : public testing::Test {
 protected:
  ~AcceptTest() override {
    for (const int fd : sockets_) close(fd);
    if (port_ != nullptr) port_->Close(absl::ZeroDuration());
    while (events_.RunNext()) {
    }
    for (UnaryCall* call : calls_) call->Finish(absl::OkStatus());
  }

  void Start(size_t connections_max) { Start(PortOptions{.connections_max = connections_max}); }
  // Serves kCall. Its calls are not answered, except those of kStranger, which are rejected.
  void Start(const PortOptions& options) {
    port_ = std::make_unique<Port>(options);
    UnaryMethod method;
    method.name = kCall;
    method.request = &grpc::health::v1::HealthCheckRequest::default_instance();
    method.response = &grpc::health::v1::HealthCheckResponse::default_instance();
    method.check = [](const google::protobuf::Message& request) {
      const auto& who = static_cast<const grpc::health::v1::HealthCheckRequest&>(request);
      return who.service() == kStranger ? absl::FailedPreconditionError("a stranger")
                                        : absl::OkStatus();
    };
    method.handler = [this](UnaryCall* call) { calls_.push_back(call); };
    Methods methods;
    methods.unary.push_back(std::move(method));
    port_->Serve(std::move(methods), &events_);
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
  static bool Eventually(const std::function<bool()>& condition) {
    for (const absl::Time end = absl::Now() + absl::Seconds(20); !condition();) {
      if (absl::Now() > end) return false;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return true;
  }
  void Close(int fd) {
    std::erase(sockets_, fd);
    close(fd);
  }

  // Runs the handlers of all calls that have arrived.
  void RunEvents() {
    while (events_.RunNext()) {
    }
  }

  static constexpr char kCall[] = "/Call", kStranger[] = "stranger";
  EventQueue events_{[] {}};
  std::vector<UnaryCall*> calls_;
  std::unique_ptr<Port> port_;
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

std::string CallOf(uint32_t stream, const char* method) {
  return e2e::CallHeaders(stream, method) + e2e::MessageData(stream, "", 0, /*last=*/true);
}

// Strangers may hold connections to the peer port. A member can connect nevertheless, and the
// connections of members stay.
TEST_F(AcceptTest, OnThePeerPortANewConnectionReplacesTheOldestOfAStranger) {
  Start({.connection = {.for_peers = true}, .connections_max = 2});
  const std::string address = absl::StrCat("127.0.0.1:", port_->port());
  e2e::RawConnection used(address);
  used.Send(e2e::Preface() + CallOf(1, kCall));
  ASSERT_TRUE(Eventually([&] { return port_->running() == 1; }));
  RunEvents();
  const int unused = NewSocket(), next = NewSocket();
  Connect(unused);
  EXPECT_TRUE(IsServed(unused));
  Connect(next);
  EXPECT_TRUE(IsServed(next));
  char rest[1024];
  while (recv(unused, rest, sizeof(rest), 0) > 0) {
  }
  EXPECT_EQ(port_->connections(), 2u);
  EXPECT_EQ(port_->running(), 1) << "the call that is being served";
}

// The frame REFUSED_STREAM.
std::string Refused(uint32_t stream) {
  return e2e::Frame(e2e::kRstStream, 0, stream, std::string("\0\0\0\7", 4));
}

TEST_F(AcceptTest, ACallAboveTheMaximumIsNotProcessed) {
  Start({.calls_max = 2});
  e2e::RawConnection client(absl::StrCat("127.0.0.1:", port_->port()));
  client.Send(e2e::Preface() + CallOf(1, kCall) + CallOf(3, kCall) + CallOf(5, kCall));
  EXPECT_NE(client.ReadUntil(Refused(5)).find(Refused(5)), std::string::npos);
  EXPECT_EQ(port_->running(), 2);
}

// A message of `who`, padded to at least `bytes`.
std::string MessageOf(const std::string& who, size_t bytes = 0) {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(who);
  std::string message = request.SerializeAsString();
  // The same field again: the last one counts.
  if (bytes > 0) {
    request.set_service(std::string(bytes, 'x'));
    message = request.SerializeAsString() + message;
  }
  return message;
}

std::string CallBy(uint32_t stream, const char* method, const std::string& message) {
  return e2e::CallHeaders(stream, method) +
         e2e::MessageData(stream, message, message.size(), /*last=*/true);
}

class StrangersTest : public AcceptTest {
 protected:
  // With windows in which every message of this test fits.
  void StartForPeers(PortOptions options) {
    options.connection.for_peers = true;
    options.connection.stream_window = options.connection.connection_window = 64 << 20;
    options.connection.message_bytes_max = 64 << 20;
    Start(options);
    address_ = absl::StrCat("127.0.0.1:", port_->port());
  }
  // A member that has introduced itself with one call, which is not answered.
  std::unique_ptr<e2e::RawConnection> Member() {
    auto member = std::make_unique<e2e::RawConnection>(address_);
    member->Send(e2e::Preface() + CallBy(1, kCall, MessageOf("member")));
    EXPECT_TRUE(Eventually([&] {
      RunEvents();
      return !calls_.empty();
    }));
    return member;
  }

  std::string address_;
};

// A call that was rejected does not make a stranger's connection one of the members'.
TEST_F(StrangersTest, AConnectionWhoseCallsWereRejectedIsReplaced) {
  StartForPeers({.connections_max = 2});
  const auto member = Member();
  e2e::RawConnection stranger(address_);
  stranger.Send(e2e::Preface() + CallBy(1, kCall, MessageOf(kStranger)));
  ASSERT_TRUE(Eventually([&] { return port_->running() == 2; }));
  const int next = NewSocket();  // while the stranger's call waits for its handler
  Connect(next);
  EXPECT_TRUE(IsServed(next));
  EXPECT_EQ(port_->connections(), 2u);
}

// Whoever connects all the time must not push out a member whose first call waits for its handler.
TEST_F(StrangersTest, AConnectionWithACallIsReplacedLast) {
  StartForPeers({.connections_max = 2});
  e2e::RawConnection member(address_);
  member.Send(e2e::Preface() + CallBy(1, kCall, MessageOf("member")));
  ASSERT_TRUE(Eventually([&] { return port_->running() == 1; }));
  for (int i = 0; i < 4; ++i) {
    const int next = NewSocket();
    Connect(next);
    EXPECT_TRUE(IsServed(next));
  }
  EXPECT_EQ(port_->connections(), 2u);
  RunEvents();
  member.Send(CallBy(3, kCall, MessageOf("member")));
  EXPECT_TRUE(Eventually([&] {
    RunEvents();
    return calls_.size() == 2;
  }));
}

TEST_F(StrangersTest, TheyGetHalfOfTheCalls) {
  StartForPeers({.calls_max = 8});
  const auto member = Member();
  e2e::RawConnection stranger(address_);
  std::string calls = e2e::Preface();
  for (uint32_t stream = 1; stream <= 2 * 8; stream += 2) {
    calls += CallBy(stream, kCall, MessageOf(kStranger));
  }
  stranger.Send(calls);
  stranger.ReadUntil(Refused(2 * 8 - 1));
  EXPECT_EQ(port_->running(), 4) << "with the member's first one";
  for (const uint32_t stream : {3, 5, 7, 9}) {
    member->Send(CallBy(stream, kCall, MessageOf("member")));
  }
  EXPECT_TRUE(Eventually([&] { return port_->running() == 8; }));
}

// They may not read the answers, so that their calls do not end.
TEST_F(StrangersTest, OneConnectionGetsAFewStreams) {
  PortOptions options;
  options.connection.stranger_streams_max = 2;
  StartForPeers(options);
  const auto member = Member();
  for (const uint32_t stream : {3, 5, 7}) member->Send(e2e::CallHeaders(stream, kCall));
  e2e::RawConnection stranger(address_);
  stranger.Send(e2e::Preface() + e2e::CallHeaders(1, kCall) + e2e::CallHeaders(3, kCall) +
                e2e::CallHeaders(5, kCall));
  const std::string got = stranger.ReadUntil(Refused(5));
  EXPECT_NE(got.find(Refused(5)), std::string::npos);
  EXPECT_EQ(got.find(Refused(3)), std::string::npos);
  member->Send(CallBy(9, kCall, MessageOf("member")));
  EXPECT_TRUE(Eventually([&] { return port_->running() == 2; }));
}

// Half-sent requests of strangers leave three quarters of the bytes to the members.
TEST_F(StrangersTest, TheyGetAPartOfTheBytes) {
  StartForPeers({.request_bytes_max = 8 << 20});
  const auto member = Member();
  const std::string part(1 << 20, 'x');
  std::vector<std::unique_ptr<e2e::RawConnection>> strangers;
  for (int i = 0; i < 16; ++i) {
    strangers.push_back(std::make_unique<e2e::RawConnection>(address_));
    strangers.back()->Send(e2e::Preface() + e2e::CallHeaders(1, kCall) +
                           e2e::MessageData(1, part, /*length=*/2 << 20, /*last=*/false));
  }
  // The last ones were answered at once: too many requests. NO_ERROR follows the status.
  const std::string answered = e2e::Frame(e2e::kRstStream, 0, 1, std::string(4, '\0'));
  EXPECT_NE(strangers.back()->ReadUntil(answered).find(answered), std::string::npos);
  member->Send(CallBy(3, kCall, MessageOf("member", 5 << 20)));
  EXPECT_TRUE(Eventually([&] {
    RunEvents();
    return calls_.size() == 2;
  }));
}

TEST_F(AcceptTest, ThePeerPortTellsABrowserWhatItIs) {
  Start({.connection = {.for_peers = true}});
  const std::string address = absl::StrCat("127.0.0.1:", port_->port());
  for (const char* request : {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /v3/kv/range HTTP/1.0\r\n",
                              "HEAD / HTTP/1.1\r\n"}) {
    e2e::RawConnection browser(address);
    browser.Send(request);
    const std::string answer = browser.ReadAll();
    EXPECT_EQ(answer.find("HTTP/1.1 400 Bad Request\r\n"), 0u) << answer;
    EXPECT_NE(answer.find("\r\n\r\nThis is the peer port of raftkv"), std::string::npos) << answer;
  }
  for (const char* other : {"\x16\x03\x01", "get / HTTP/1.1\r\n"}) {
    e2e::RawConnection stranger(address);
    stranger.Send(other);
    EXPECT_EQ(stranger.ReadAll().find("HTTP/1"), std::string::npos);
  }
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
}  // namespace raftkv::port
