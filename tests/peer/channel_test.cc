#include "server/peer/channel.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "proto/raft.grpc.pb.h"
#include "server/clock.h"
#include "tests/server/listener.h"

namespace raftkv {
namespace {

using testing::HasSubstr;

constexpr char kAppend[] = "/raftkv.proto.Raft/AppendEntries";
constexpr char kHello[] = "/raftkv.proto.Raft/Hello";

// A server of gRPC's library.
class Peer final : public proto::Raft::Service {
 public:
  Peer() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.SetMaxReceiveMessageSize(64 << 20);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address = absl::StrCat("127.0.0.1:", port);
  }
  ~Peer() override { Stop(); }
  void Stop() {
    if (!may_read.HasBeenNotified()) may_read.Notify();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  // Answers each request with its size.
  grpc::Status AppendEntries(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<proto::AppendEntriesResponse, proto::AppendEntriesRequest>* stream)
      override {
    if (holds_requests) may_read.WaitForNotification();
    proto::AppendEntriesRequest request;
    while (stream->Read(&request)) {
      proto::AppendEntriesResponse answer;
      answer.set_match_index(request.ByteSizeLong());
      stream->Write(answer);
    }
    cancelled = context->IsCancelled();
    if (!ended.HasBeenNotified()) ended.Notify();
    return {grpc::StatusCode::FAILED_PRECONDITION, "100 % \"öl\""};
  }
  grpc::Status Hello(grpc::ServerContext* /*context*/, const proto::HelloRequest* /*request*/,
                     proto::HelloResponse* /*response*/) override {
    if (holds_requests) may_read.WaitForNotification();
    return grpc::Status::OK;
  }

  std::string address;
  std::atomic<bool> holds_requests{false};
  absl::Notification may_read, ended;
  std::atomic<bool> cancelled{false};

 private:
  std::unique_ptr<grpc::Server> server_;
};

// A peer that sends what the test says.
class RawPeer {
 public:
  explicit RawPeer(uint16_t port = 0) : listener_(port) {}
  ~RawPeer() {
    if (connection_ >= 0) close(connection_);
  }
  std::string address() const { return listener_.address(); }
  uint16_t port() const { return listener_.port(); }
  bool HasConnection() const { return listener_.HasConnection(); }

  // Takes a connection. Sends the first bytes of a server, which are empty settings, and `bytes`.
  void Accept(const std::string& bytes = "") {
    connection_ = listener_.Accept();
    Send(std::string("\0\0\0\4\0\0\0\0\0", 9) + bytes);
  }
  void Send(const std::string& bytes) const {
    EXPECT_EQ(send(connection_, bytes.data(), bytes.size(), MSG_NOSIGNAL), bytes.size());
  }

 private:
  const Listener listener_;
  int connection_ = -1;
};

constexpr char kEndStream = 1, kEndHeaders = 4;
constexpr char kStatus200[] = "\x88";

// A frame of headers, which are encoded already.
std::string Headers(char stream, char flags, const std::string& block) {
  const std::string size = {0, static_cast<char>(block.size() >> 8),
                            static_cast<char>(block.size())};
  return size + std::string({1, flags, 0, 0, 0, stream}) + block;
}

// A number of HPACK, after a first byte whose low seven bits were all it has room for.
std::string HpackSize(size_t size) {
  if (size < 127) return {static_cast<char>(size)};
  std::string bytes = "\x7f";
  for (size -= 127; size >= 128; size >>= 7) bytes += static_cast<char>(size | 128);
  return bytes + static_cast<char>(size);
}

// A header as it is encoded. `kind`: 0, or 0x40 for one that also enters the table of headers.
std::string Literal(char kind, const std::string& name, const std::string& value) {
  return std::string(1, kind) + HpackSize(name.size()) + name + HpackSize(value.size()) + value;
}

// The most memory that this process has used, in KiB, since ResetMemoryPeak.
int64_t MemoryPeak() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word && word != "VmHWM:") {
  }
  int64_t kib = 0;
  status >> kib;
  EXPECT_GT(kib, 0);
  return kib;
}
void ResetMemoryPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

struct TestCall final : public Channel::Call {
  using Channel::Call::Cancel;
  using Channel::Call::HalfClose;
  using Channel::Call::MayWrite;
  using Channel::Call::open;
  using Channel::Call::Write;

  void OnMessage(const std::string& bytes) override {
    proto::AppendEntriesResponse answer;
    EXPECT_TRUE(answer.ParseFromString(bytes));
    answers.push_back(answer.match_index());
  }
  void OnEnd(const absl::Status& s) override {
    status = s;
    ++ends;
  }
  void OnWritable() override { ++writable; }

  std::vector<uint64_t> answers;
  absl::Status status;
  int ends = 0;
  int writable = 0;
};

class ChannelTest : public testing::Test {
 protected:
  Channel* Open(const std::string& address) {
    options_.address = address;
    channel_ = std::make_unique<Channel>(options_, &poller_);
    return channel_.get();
  }
  // Begins a call of this peer, which sends `bytes` on the new connection.
  Channel* Ask(RawPeer* peer, TestCall* call, const std::string& bytes = "") {
    Channel* const channel = Open(peer->address());
    channel->Start(call, kAppend);
    peer->Accept(bytes);
    return channel;
  }
  bool Until(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (!condition() && absl::Now() < end) {
      channel_->Flush();
      poller_.Wait(absl::Milliseconds(5), [] { return false; });
      channel_->EndLate(MonotonicNow());
    }
    return condition();
  }
  static proto::AppendEntriesRequest Request(size_t bytes) {
    proto::AppendEntriesRequest request;
    request.mutable_peer()->set_store_id(std::string(bytes, 's'));
    return request;
  }

  ChannelOptions options_ = {.address = "",
                             .connect_max = absl::Seconds(5),
                             .ping_interval = absl::Seconds(20),
                             .ping_answer_max = absl::Seconds(20),
                             .message_bytes_max = 64 << 20};
  Poller poller_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(ChannelTest, CarriesMessagesOfEverySizeInOrder) {
  Peer peer;
  Channel* const channel = Open(peer.address);
  TestCall call;
  channel->Start(&call, kAppend);
  std::vector<uint64_t> expected;
  for (const size_t bytes : {0, 1, 100, 16'000, 16'384, 16'385, 70'000, 1 << 20, 40 << 20, 3}) {
    ASSERT_TRUE(Until([&] { return call.MayWrite(); }));
    call.Write(Request(bytes));
    expected.push_back(Request(bytes).ByteSizeLong());
  }
  ASSERT_TRUE(Until([&] { return call.answers.size() == expected.size(); }));
  EXPECT_EQ(call.answers, expected);
  call.HalfClose();
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_EQ(call.status, absl::FailedPreconditionError("100 % \"öl\""));
  EXPECT_FALSE(peer.cancelled);
  EXPECT_EQ(call.ends, 1);
  EXPECT_EQ(channel->calls(), 0);
}

TEST_F(ChannelTest, TakesNoMoreThanAPeerReads) {
  Peer peer;
  peer.holds_requests = true;
  Channel* const channel = Open(peer.address);
  TestCall call;
  channel->Start(&call, kAppend);
  ASSERT_TRUE(Until([&] { return channel->ready(); }));
  size_t written = 0;
  for (int rounds = 0; rounds < 300; ++rounds) {  // of two milliseconds
    while (written < 1000 && call.MayWrite()) {
      call.Write(Request(100'000));
      ++written;
    }
    channel->Flush();
    poller_.Wait(absl::Milliseconds(2), [] { return false; });
  }
  EXPECT_LT(written, 500);
  EXPECT_FALSE(call.MayWrite());
  const int before = call.writable;
  peer.may_read.Notify();
  EXPECT_TRUE(Until([&] { return call.answers.size() == written; }));
  EXPECT_GT(call.writable, before);
  EXPECT_TRUE(call.MayWrite());
}

// Also if it has nothing to send: nghttp2 itself resets a call whose request it cannot read.
TEST_F(ChannelTest, CancelsACall) {
  for (const bool unsent : {true, false}) {
    Peer peer;
    Channel* const channel = Open(peer.address);
    TestCall call;
    channel->Start(&call, kAppend);
    call.Write(Request(1));
    ASSERT_TRUE(Until([&] { return !call.answers.empty(); }));
    if (unsent) call.Write(Request(1));
    call.Cancel();
    EXPECT_EQ(call.ends, 0) << "never within another function";
    EXPECT_FALSE(call.MayWrite());
    ASSERT_TRUE(Until([&] { return peer.ended.HasBeenNotified(); })) << "the peer is not told";
    EXPECT_TRUE(peer.cancelled);
    EXPECT_EQ(call.ends, 1);
    EXPECT_TRUE(absl::IsCancelled(call.status)) << call.status;
    EXPECT_TRUE(channel->ready()) << "other calls go on";
  }
}

TEST_F(ChannelTest, ACallThatIsDestroyedIsCancelled) {
  for (const bool unsent : {true, false}) {
    Peer peer;
    Channel* const channel = Open(peer.address);
    auto call = std::make_unique<TestCall>();
    channel->Start(call.get(), kAppend);
    call->Write(Request(1));
    ASSERT_TRUE(Until([&] { return !call->answers.empty(); }));
    if (unsent) call->Write(Request(1));
    call.reset();
    ASSERT_TRUE(Until([&] { return peer.ended.HasBeenNotified(); })) << "the peer is not told";
    EXPECT_TRUE(peer.cancelled);
    EXPECT_EQ(channel->calls(), 0);
  }
}

TEST_F(ChannelTest, ACallMayBeDestroyedBeforeItLearnsOfItsEnd) {
  Peer peer;
  Channel* const channel = Open(peer.address);
  auto ended = std::make_unique<TestCall>();
  channel->Start(ended.get(), kAppend);
  ended->Cancel();
  ended.reset();
  channel->Flush();
  EXPECT_EQ(channel->calls(), 0);
}

TEST_F(ChannelTest, EndsACallAtItsDeadline) {
  Peer peer;
  peer.holds_requests = true;
  Channel* const channel = Open(peer.address);
  TestCall call, other;
  channel->Start(&call, kHello, MonotonicNow() + absl::Milliseconds(300));
  channel->Start(&other, kHello);
  for (TestCall* each : {&call, &other}) {
    each->Write(proto::HelloRequest());
    each->HalfClose();
  }
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsDeadlineExceeded(call.status)) << call.status;
  EXPECT_EQ(other.ends, 0);
  peer.may_read.Notify();
  ASSERT_TRUE(Until([&] { return other.ends > 0; }));
  EXPECT_TRUE(other.status.ok()) << other.status;
}

TEST_F(ChannelTest, NamesACallThatAPeerDoesNotKnow) {
  Peer peer;
  TestCall call;
  Open(peer.address)->Start(&call, "/raftkv.proto.Raft/OfALaterRelease");
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsUnimplemented(call.status)) << call.status;
}

TEST_F(ChannelTest, ConnectsAgainWhenThePeerIsBack) {
  auto peer = std::make_unique<RawPeer>();
  const uint16_t port = peer->port();
  TestCall call;
  Channel* const channel = Ask(peer.get(), &call);
  ASSERT_TRUE(Until([&] { return channel->ready(); }));
  peer.reset();
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsUnavailable(call.status));
  EXPECT_EQ(call.status.message(), "the other side closed it");
  EXPECT_TRUE(channel->failing());

  channel->Start(&call, kAppend);
  ASSERT_TRUE(Until([&] { return call.ends > 1; }));
  EXPECT_THAT(std::string(call.status.message()), HasSubstr("connection refused"));
  peer = std::make_unique<RawPeer>(port);
  ASSERT_TRUE(Until([&] { return peer->HasConnection(); })) << "it connects without a call";
  peer->Accept();
  EXPECT_TRUE(Until([&] { return channel->ready(); }));
  EXPECT_FALSE(channel->failing());
}

TEST_F(ChannelTest, NoticesAPeerThatDoesNotAnswerPings) {
  options_.ping_interval = absl::Milliseconds(50);
  options_.ping_answer_max = absl::Milliseconds(100);
  RawPeer peer;
  TestCall call;
  Ask(&peer, &call);
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_EQ(call.status, absl::UnavailableError("it does not answer any more"));
}

// This member's loop may wait for its own disk for seconds.
TEST_F(ChannelTest, APingThatWasAnsweredMeanwhileIsNoLoss) {
  Peer peer;
  Channel* const channel = Open(peer.address);
  channel->Connect();
  ASSERT_TRUE(Until([&] { return channel->ready(); }));
  const MonotonicTime now = MonotonicNow();
  channel->EndLate(now + absl::Seconds(20));  // sends a ping
  absl::SleepFor(absl::Milliseconds(500));    // the answer is in the socket, or comes a bit later
  const MonotonicTime later = now + absl::Seconds(60);
  channel->EndLate(later);
  EXPECT_TRUE(channel->ready());
}

// What a peer sends must not end this process, or be kept.
TEST_F(ChannelTest, ClosesAConnectionThatBreaksTheProtocol) {
  const std::vector<std::string> wrong = {
      std::string(100, '\xff'),
      std::string("\xff\xff\xff\0\0\0\0\0\1", 9),       // a frame of 16 MiB
      std::string("\0\0\1\0\0\0\0\0\7x", 10),           // data of a call that was never made
      std::string("\0\0\4\3\0\0\0\0\0\0\0\0\0", 13),    // a reset of no stream
      std::string("\0\0\4\x8\0\0\0\0\0\0\0\0\0", 13),   // a window that grows by 0
      std::string("\0\0\5\5\4\0\0\0\1\0\0\0\2x", 14)};  // a promise
  for (const std::string& bytes : wrong) {
    RawPeer peer;
    TestCall call;
    Ask(&peer, &call, bytes);
    ASSERT_TRUE(Until([&] { return call.ends > 0; })) << bytes;
    EXPECT_TRUE(absl::IsUnavailable(call.status)) << call.status;
  }
}

// It will not execute new calls. What such a call would write counts as never sent.
TEST_F(ChannelTest, WritesNothingOfACallThatThePeerWillNotTake) {
  RawPeer peer;
  TestCall before, after;
  const std::string stops("\0\0\x8\7\0\0\0\0\0\0\0\0\1\0\0\0\0", 17);  // GOAWAY after stream 1
  Channel* const channel = Ask(&peer, &before, stops);
  ASSERT_TRUE(Until([&] { return before.MayWrite(); }));
  channel->Start(&after, kAppend);
  EXPECT_FALSE(after.MayWrite());
  ASSERT_TRUE(Until([&] { return after.ends > 0; }));
  EXPECT_TRUE(absl::IsUnavailable(after.status)) << after.status;
  EXPECT_EQ(after.writable, 0);
  EXPECT_EQ(before.ends, 0);
}

// Most servers also reset a call that they have ended before its last request.
TEST_F(ChannelTest, EndsACallThatThePeerHasEndedWithoutAReset) {
  RawPeer peer;
  TestCall call;
  Channel* const channel = Ask(&peer, &call, Headers(1, kEndHeaders | kEndStream, kStatus200));
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsInternal(call.status)) << call.status;
  EXPECT_TRUE(channel->ready());
}

TEST_F(ChannelTest, EndsACallWithTooManyBytesOfHeaders) {
  const auto ask = [&](size_t bytes, TestCall* call) {  // half of them in the trailers
    const std::string half = Literal(0, "x", std::string(bytes / 2, 'v'));
    RawPeer peer;
    Ask(&peer, call,
        Headers(1, kEndHeaders, kStatus200 + half) +
            Headers(1, kEndHeaders | kEndStream, half + Literal(0, "grpc-status", "9")));
    EXPECT_TRUE(Until([&] { return call->ends > 0; }));
    EXPECT_TRUE(channel_->ready());
  };
  TestCall large, too_large;
  ask(16'000, &large);
  EXPECT_TRUE(absl::IsFailedPrecondition(large.status)) << large.status;
  ask(16'500, &too_large);
  EXPECT_EQ(too_large.status,
            absl::ResourceExhaustedError("the headers of the answer are larger than 16384 bytes"));
}

// One frame with the number of the same large header in the table, thousands of times.
TEST_F(ChannelTest, KeepsNoneOfTheHeadersThatAreTooMany) {
  RawPeer peer;
  TestCall call, next;
  Channel* const channel = Open(peer.address());
  ResetMemoryPeak();
  const int64_t before = MemoryPeak();
  channel->Start(&call, kAppend);
  peer.Accept(Headers(1, kEndHeaders,
                      kStatus200 + Literal(0x40, "x", std::string(3900, 'v')) +
                          std::string(12'000, '\xbe')));  // 47 MB
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsResourceExhausted(call.status)) << call.status;
  EXPECT_LT(MemoryPeak() - before, 8 << 10);

  channel->Start(&next, kAppend);
  peer.Send(Headers(3, kEndHeaders | kEndStream, kStatus200 + Literal(0, "grpc-status", "9")));
  ASSERT_TRUE(Until([&] { return next.ends > 0; }));
  EXPECT_TRUE(absl::IsFailedPrecondition(next.status)) << next.status << " other calls go on";
}

// An answer whose prefix announces more than the channel accepts.
TEST_F(ChannelTest, EndsACallWithTooLargeAnAnswer) {
  options_.message_bytes_max = 1000;
  RawPeer peer;
  TestCall call;
  const std::string data("\0\0\6\0\0\0\0\0\1\0\0\0\x4\0x", 15);  // a message of 1,024 bytes
  Channel* const channel = Ask(&peer, &call, Headers(1, kEndHeaders, kStatus200) + data);
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsResourceExhausted(call.status)) << call.status;
  EXPECT_TRUE(channel->ready());
}

}  // namespace
}  // namespace raftkv
