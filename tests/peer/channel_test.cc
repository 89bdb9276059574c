#include "server/peer/channel.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "proto/raft.grpc.pb.h"
#include "server/clock.h"

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

// A listening socket on loopback.
class Listener {
 public:
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
    EXPECT_EQ(listen(fd_, 10), 0);
    EXPECT_EQ(getsockname(fd_, any, &size), 0);
    this->port = ntohs(address.sin_port);
  }
  ~Listener() { close(fd_); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port); }
  int Accept() const { return accept(fd_, nullptr, nullptr); }

  uint16_t port = 0;

 private:
  const int fd_;
};

// The first bytes of a server: empty settings.
constexpr char kSettings[] = "\0\0\0\4\0\0\0\0\0";
constexpr size_t kSettingsBytes = 9;

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
    channel_ = std::make_unique<Channel>(ChannelOptions{.address = address,
                                                        .connect_max = absl::Seconds(5),
                                                        .ping_interval = absl::Seconds(20),
                                                        .ping_answer_max = absl::Seconds(20),
                                                        .message_bytes_max = 64 << 20},
                                         &poller_);
    return channel_.get();
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

TEST_F(ChannelTest, CancelsACall) {
  Peer peer;
  Channel* const channel = Open(peer.address);
  TestCall call;
  channel->Start(&call, kAppend);
  call.Write(Request(1));
  ASSERT_TRUE(Until([&] { return !call.answers.empty(); }));
  call.Write(Request(1));
  call.Cancel();
  EXPECT_EQ(call.ends, 0) << "never within another function";
  EXPECT_FALSE(call.MayWrite());
  ASSERT_TRUE(Until([&] { return peer.ended.HasBeenNotified(); }));
  EXPECT_TRUE(peer.cancelled);
  EXPECT_EQ(call.ends, 1);
  EXPECT_TRUE(absl::IsCancelled(call.status)) << call.status;
  EXPECT_TRUE(channel->ready()) << "other calls go on";
}

TEST_F(ChannelTest, ACallThatIsDestroyedIsCancelled) {
  Peer peer;
  Channel* const channel = Open(peer.address);
  auto call = std::make_unique<TestCall>();
  channel->Start(call.get(), kAppend);
  call->Write(Request(1));
  ASSERT_TRUE(Until([&] { return !call->answers.empty(); }));
  call->Write(Request(1));
  call.reset();
  ASSERT_TRUE(Until([&] { return peer.ended.HasBeenNotified(); }));
  EXPECT_TRUE(peer.cancelled);
  EXPECT_EQ(channel->calls(), 0);
  auto ended = std::make_unique<TestCall>();  // before OnEnd
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
  auto listener = std::make_unique<Listener>();
  const uint16_t port = listener->port;
  Channel* const channel = Open(listener->address());
  TestCall call;
  channel->Start(&call, kAppend);
  int connection = listener->Accept();
  ASSERT_EQ(send(connection, kSettings, kSettingsBytes, 0), kSettingsBytes);
  ASSERT_TRUE(Until([&] { return channel->ready(); }));
  listener.reset();
  close(connection);
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsUnavailable(call.status));
  EXPECT_EQ(call.status.message(), "the other side closed it");
  EXPECT_TRUE(channel->failing());

  channel->Start(&call, kAppend);
  ASSERT_TRUE(Until([&] { return call.ends > 1; }));
  EXPECT_THAT(std::string(call.status.message()), HasSubstr("connection refused"));
  listener = std::make_unique<Listener>(port);
  std::thread accepting([&] {
    connection = listener->Accept();
    EXPECT_EQ(send(connection, kSettings, kSettingsBytes, 0), kSettingsBytes);
  });
  EXPECT_TRUE(Until([&] { return channel->ready(); })) << "without a call";
  EXPECT_FALSE(channel->failing());
  accepting.join();
  close(connection);
}

TEST_F(ChannelTest, NoticesAPeerThatDoesNotAnswerPings) {
  const Listener listener;
  channel_ = std::make_unique<Channel>(ChannelOptions{.address = listener.address(),
                                                      .connect_max = absl::Seconds(5),
                                                      .ping_interval = absl::Milliseconds(50),
                                                      .ping_answer_max = absl::Milliseconds(100),
                                                      .message_bytes_max = 1000},
                                       &poller_);
  TestCall call;
  channel_->Start(&call, kAppend);
  const int connection = listener.Accept();
  ASSERT_EQ(send(connection, kSettings, kSettingsBytes, 0), kSettingsBytes);
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_EQ(call.status, absl::UnavailableError("it does not answer any more"));
  close(connection);
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
  const std::string settings(kSettings, kSettingsBytes);
  const std::vector<std::string> wrong = {
      std::string(100, '\xff'),
      std::string("\xff\xff\xff\0\0\0\0\0\1", 9),       // a frame of 16 MiB
      std::string("\0\0\1\0\0\0\0\0\7x", 10),           // data of a call that was never made
      std::string("\0\0\4\3\0\0\0\0\0\0\0\0\0", 13),    // a reset of no stream
      std::string("\0\0\4\x8\0\0\0\0\0\0\0\0\0", 13),   // a window that grows by 0
      std::string("\0\0\5\5\4\0\0\0\1\0\0\0\2x", 14)};  // a promise
  for (const std::string& bytes : wrong) {
    const Listener listener;
    Channel* const channel = Open(listener.address());
    TestCall call;
    channel->Start(&call, kAppend);
    const int connection = listener.Accept();
    const std::string all = settings + bytes;
    ASSERT_EQ(send(connection, all.data(), all.size(), 0), all.size());
    ASSERT_TRUE(Until([&] { return call.ends > 0; })) << bytes;
    EXPECT_TRUE(absl::IsUnavailable(call.status)) << call.status;
    close(connection);
  }
}

// It will not execute new calls. What such a call would write counts as never sent.
TEST_F(ChannelTest, WritesNothingOfACallThatThePeerWillNotTake) {
  const Listener listener;
  Channel* const channel = Open(listener.address());
  TestCall before, after;
  channel->Start(&before, kAppend);
  const int connection = listener.Accept();
  std::string bytes(kSettings, kSettingsBytes);
  bytes += std::string("\0\0\x8\7\0\0\0\0\0\0\0\0\1\0\0\0\0", 17);  // GOAWAY after stream 1
  ASSERT_EQ(send(connection, bytes.data(), bytes.size(), 0), bytes.size());
  ASSERT_TRUE(Until([&] { return before.MayWrite(); }));
  channel->Start(&after, kAppend);
  EXPECT_FALSE(after.MayWrite());
  ASSERT_TRUE(Until([&] { return after.ends > 0; }));
  EXPECT_TRUE(absl::IsUnavailable(after.status)) << after.status;
  EXPECT_EQ(after.writable, 0);
  EXPECT_EQ(before.ends, 0);
  close(connection);
}

// Most servers also reset a call that they have ended before its last request.
TEST_F(ChannelTest, EndsACallThatThePeerHasEndedWithoutAReset) {
  const Listener listener;
  Channel* const channel = Open(listener.address());
  TestCall call;
  channel->Start(&call, kAppend);
  const int connection = listener.Accept();
  std::string bytes(kSettings, kSettingsBytes);
  bytes += std::string("\0\0\1\1\5\0\0\0\1\x88", 10);  // headers: ":status: 200", and the end
  ASSERT_EQ(send(connection, bytes.data(), bytes.size(), 0), bytes.size());
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsInternal(call.status)) << call.status;
  EXPECT_TRUE(channel->ready());
  close(connection);
}

// An answer whose prefix announces more than the channel accepts.
TEST_F(ChannelTest, EndsACallWithTooLargeAnAnswer) {
  const Listener listener;
  channel_ = std::make_unique<Channel>(ChannelOptions{.address = listener.address(),
                                                      .connect_max = absl::Seconds(5),
                                                      .ping_interval = absl::Seconds(20),
                                                      .ping_answer_max = absl::Seconds(20),
                                                      .message_bytes_max = 1000},
                                       &poller_);
  TestCall call;
  channel_->Start(&call, kAppend);
  const int connection = listener.Accept();
  std::string bytes(kSettings, kSettingsBytes);
  bytes += std::string("\0\0\1\1\4\0\0\0\1\x88", 10);          // headers: ":status: 200"
  bytes += std::string("\0\0\6\0\0\0\0\0\1\0\0\0\x4\0x", 15);  // a message of 1,024 bytes
  ASSERT_EQ(send(connection, bytes.data(), bytes.size(), 0), bytes.size());
  ASSERT_TRUE(Until([&] { return call.ends > 0; }));
  EXPECT_TRUE(absl::IsResourceExhausted(call.status)) << call.status;
  EXPECT_TRUE(channel_->ready());
  close(connection);
}

}  // namespace
}  // namespace raftkv
