#include "server/port/port.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/etcd/health.grpc.pb.h"
#include "server/clock.h"
#include "server/rpc/event_queue.h"
#include "server/rpc/gzip.h"

namespace raftkv {
namespace {

using google::protobuf::Message;
using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::ElementsAre;
using testing::IsEmpty;

// The health protocol's two methods stand for any unary method and any stream of responses.
class PortTest : public testing::Test {
 protected:
  class Recorder final : public StreamHandler {
   public:
    Recorder(PortTest* test, StreamCall* stream) : test_(test) {
      test_->stream_ = stream;
      ++test_->opened_;
    }
    ~Recorder() override {
      test_->stream_ = nullptr;
      ++test_->ended_;
    }
    absl::Status OnRequest(Message* request) override {
      const std::string& service = static_cast<HealthCheckRequest*>(request)->service();
      if (service == "rejected") return absl::NotFoundError("rejected");
      return absl::OkStatus();
    }
    void OnWritable() override { ++test_->written_; }

   private:
    PortTest* const test_;
  };

  void SetUp() override {
    Methods methods;
    UnaryMethod check;
    check.name = "/grpc.health.v1.Health/Check";
    check.permission = Permission::kWrite;
    check.request = &HealthCheckRequest::default_instance();
    check.response = &HealthCheckResponse::default_instance();
    check.needs = [](const Message& request) {
      const bool local = static_cast<const HealthCheckRequest&>(request).service() == "local";
      return local ? Permission::kNone : Permission::kWrite;
    };
    check.check = [](const Message& request) {
      return static_cast<const HealthCheckRequest&>(request).service() == "malformed"
                 ? absl::InvalidArgumentError("malformed")
                 : absl::OkStatus();
    };
    check.handler = [this](UnaryCall* call) { calls_.emplace_back(call); };
    methods.unary.push_back(std::move(check));
    StreamMethod watch;
    watch.name = "/grpc.health.v1.Health/Watch";
    watch.one_request = true;
    watch.request = &HealthCheckRequest::default_instance();
    watch.open = [this](StreamCall* stream) { return std::make_unique<Recorder>(this, stream); };
    methods.streams.push_back(std::move(watch));
    port_.Serve(std::move(methods), &events_,
                [this](Permission permission, Call* call) { return admission_(permission, call); });
    ASSERT_TRUE(port_.Listen("127.0.0.1:0").ok());
    port_.Start();
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", port_.port()),
                                   grpc::InsecureChannelCredentials());
    stub_ = Health::NewStub(channel_);
  }

  void TearDown() override {
    EndStreams();
    for (const auto& call : std::exchange(calls_, {})) call.Finish(absl::UnavailableError("end"));
    EXPECT_TRUE(Eventually([&] { return port_.running() == 0; }));
    port_.Close(absl::Milliseconds(20));
    while (events_.RunNext()) {
    }
  }

  void EndStreams() { port_.FinishStreams(&events_, absl::UnavailableError("end")); }

  bool Eventually(const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      if (!events_.RunNext()) absl::SleepFor(absl::Milliseconds(1));
    }
    return true;
  }

  // A client's call of Check, on a thread of its own.
  struct Client {
    ~Client() {
      context.TryCancel();
      thread.join();
    }
    grpc::ClientContext context;
    grpc::Status status;
    HealthCheckResponse response;
    std::atomic<bool> done{false};
    std::thread thread;
  };
  std::unique_ptr<Client> Ask(const std::string& service,
                              absl::Duration timeout = absl::InfiniteDuration()) {
    auto client = std::make_unique<Client>();
    if (timeout < absl::InfiniteDuration()) {
      client->context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    }
    client->context.AddMetadata("hasleader", "true");
    client->context.AddMetadata("raftkv-seq", "1");
    client->context.AddMetadata("raftkv-seq", "2");
    client->context.AddMetadata("other", "x");
    client->context.set_compression_algorithm(compression_);
    client->thread = std::thread([this, c = client.get(), service] {
      HealthCheckRequest request;
      request.set_service(service);
      c->status = stub_->Check(&c->context, request, &c->response);
      c->done = true;
    });
    return client;
  }
  grpc::Status StatusOf(const std::string& service) {
    const auto client = Ask(service);
    EXPECT_TRUE(Eventually([&] { return client->done.load(); }));
    return client->status;
  }

  grpc_compression_algorithm compression_ = GRPC_COMPRESS_NONE;  // of what clients send
  Admission admission_ = [](Permission, Call*) { return absl::OkStatus(); };
  static constexpr size_t kMessageBytesMax = 1000;
  EventQueue events_{[] {}};
  port::Port port_{{.connection = {.message_bytes_max = kMessageBytesMax}}};
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Health::Stub> stub_;

  std::vector<Unary<HealthCheckRequest, HealthCheckResponse>> calls_;  // whose handler ran
  StreamCall* stream_ = nullptr;                                       // the newest, not ended
  int opened_ = 0;
  int written_ = 0;
  int ended_ = 0;
};

TEST_F(PortTest, AHandlerSeesTheCallAndAnswersFromAnyThread) {
  const auto client = Ask("a");
  ASSERT_TRUE(Eventually([&] { return !calls_.empty(); }));
  const auto call = calls_[0];
  calls_.clear();
  EXPECT_EQ(call.request().service(), "a");
  EXPECT_EQ(call->Metadata("hasleader"), "true");
  EXPECT_EQ(call->Metadata("raftkv-seq"), "1") << "the first value";
  EXPECT_EQ(call->Metadata("other"), std::nullopt) << "no handler reads it";
  EXPECT_NE(call->client_address(), "");
  EXPECT_EQ(call->deadline(), MonotonicTime::InfiniteFuture());
  EXPECT_FALSE(call->gone());
  EXPECT_EQ(port_.running(), 1);
  std::thread worker([call] {
    call.response()->set_status(HealthCheckResponse::SERVING);
    call.Finish(absl::OkStatus());
  });
  EXPECT_TRUE(Eventually([&] { return client->done.load(); }));
  worker.join();
  EXPECT_TRUE(client->status.ok());
  EXPECT_EQ(client->response.status(), HealthCheckResponse::SERVING);
  EXPECT_TRUE(Eventually([&] { return port_.running() == 0; }));
}

TEST_F(PortTest, GzipIsDecompressedUpToTheLimit) {
  compression_ = GRPC_COMPRESS_GZIP;
  const std::string fits(kMessageBytesMax - 10, 'x');
  const auto client = Ask(fits);
  ASSERT_TRUE(Eventually([&] { return !calls_.empty(); }));
  EXPECT_EQ(calls_[0].request().service(), fits);
  calls_[0].Finish(absl::OkStatus());
  calls_.clear();
  EXPECT_TRUE(Eventually([&] { return client->done.load(); }));

  // Some 200 bytes as they are sent.
  const grpc::Status status = StatusOf(std::string(200'000, 'x'));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "grpc: received message after decompression larger than max 1000");
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(PortTest, OtherCompressionIsUnimplemented) {
  compression_ = GRPC_COMPRESS_DEFLATE;
  EXPECT_EQ(StatusOf(std::string(100, 'x')).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST(Gunzip, DamagedBytesAreRejected) {
  for (const char* bytes : {"", "\x1f", "\x1f\x8b", "\x1f\x8b\x08garbage garbage garbage"}) {
    std::string plain;
    EXPECT_TRUE(absl::IsInternal(wire::Gunzip(bytes, 1000, &plain))) << bytes;
  }
}

TEST_F(PortTest, AnErrorKeepsItsCodeTextAndTrailers) {
  const auto client = Ask("a");
  ASSERT_TRUE(Eventually([&] { return !calls_.empty(); }));
  calls_[0]->AddTrailer("raftkv-outcome", "not-proposed");
  calls_[0].Finish(absl::OutOfRangeError("etcdserver: too old"));
  calls_.clear();
  ASSERT_TRUE(Eventually([&] { return client->done.load(); }));
  EXPECT_EQ(client->status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(client->status.error_message(), "etcdserver: too old");
  EXPECT_EQ(client->context.GetServerTrailingMetadata().count("raftkv-outcome"), 1);
}

TEST_F(PortTest, AdmissionComesFirstThenTheShape) {
  std::vector<Permission> asked;
  bool admits = true;
  admission_ = [&](Permission permission, Call*) {
    asked.push_back(permission);
    return admits ? absl::OkStatus() : absl::UnavailableError("stopping");
  };
  EXPECT_EQ(StatusOf("malformed").error_message(), "malformed");
  admits = false;
  EXPECT_EQ(StatusOf("malformed").error_message(), "stopping");
  EXPECT_EQ(StatusOf("local").error_message(), "stopping");
  EXPECT_THAT(asked, ElementsAre(Permission::kWrite, Permission::kWrite, Permission::kNone));
  EXPECT_THAT(calls_, IsEmpty());
  EXPECT_EQ(port_.running(), 0) << "whose handlers never ran";
}

// A client learns that it must go elsewhere before its call is declined.
TEST_F(PortTest, ADeclinedClientHasBeenToldToGoElsewhere) {
  EXPECT_EQ(StatusOf("malformed").error_message(), "malformed");
  EXPECT_EQ(channel_->GetState(false), GRPC_CHANNEL_READY);
  const auto running = Ask("a");
  ASSERT_TRUE(Eventually([&] { return !calls_.empty(); }));
  port_.Decline();
  EXPECT_TRUE(Eventually([&] { return channel_->GetState(false) != GRPC_CHANNEL_READY; }));
  calls_[0].Finish(absl::OkStatus());
  calls_.clear();
  EXPECT_TRUE(Eventually([&] { return running->done.load(); }));
  EXPECT_TRUE(running->status.ok()) << "what was running is answered";
  EXPECT_EQ(StatusOf("b").error_code(), grpc::StatusCode::UNAVAILABLE) << "nobody listens";
}

// An answer that is as large as the windows of HTTP/2 many times over arrives whole, in pieces.
TEST_F(PortTest, ALargeAnswerArrivesWhole) {
  const std::string large(20 << 20, 'x');
  const auto client = Ask("a");
  ASSERT_TRUE(Eventually([&] { return !calls_.empty(); }));
  // An unknown field, because the response has no text.
  auto* const response = calls_[0].response();
  response->GetReflection()->MutableUnknownFields(response)->AddLengthDelimited(9, large);
  std::thread worker([call = calls_[0]] { call.Finish(absl::OkStatus()); });
  calls_.clear();
  EXPECT_TRUE(Eventually([&] { return client->done.load(); }));
  worker.join();
  EXPECT_EQ(client->status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED)
      << "the client takes 4 MiB: it has read all of it, and says so";
  EXPECT_TRUE(Eventually([&] { return port_.unsent_bytes() == 0; }));
}

TEST_F(PortTest, TheDeadlineIsNeverBeforeTheClients) {
  const absl::Duration timeout = absl::Milliseconds(200);
  for (int i = 0; i < 20; ++i) {
    const MonotonicTime before = MonotonicNow();
    const auto client = Ask("a", timeout);
    ASSERT_TRUE(Eventually([&] { return !calls_.empty(); }));
    const MonotonicTime arrived = MonotonicNow();
    EXPECT_GE(calls_[0]->deadline(), before + timeout);
    EXPECT_LE(calls_[0]->deadline(), arrived + timeout + absl::Milliseconds(10));
    calls_[0].Finish(absl::OkStatus());
    calls_.clear();
    EXPECT_TRUE(Eventually([&] { return client->done.load(); }));
  }
}

TEST_F(PortTest, AClientThatCancelsIsGoneWhileItsCallWaits) {
  const auto client = Ask("a"), other = Ask("b");
  ASSERT_TRUE(Eventually([&] { return calls_.size() == 2; }));
  const bool first = calls_[0].request().service() == "a";
  client->context.TryCancel();
  EXPECT_TRUE(Eventually([&] { return calls_[first ? 0 : 1]->gone(); }));
  EXPECT_FALSE(calls_[first ? 1 : 0]->gone());
  EXPECT_EQ(port_.running(), 2) << "both are still to be answered";
}

TEST_F(PortTest, NothingAnswersAtTheDeadlineButTheHandler) {
  // On a busy machine a call may take long to arrive.
  ASSERT_TRUE(
      channel_->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(20)));
  const auto client = Ask("a", absl::Milliseconds(500));
  ASSERT_TRUE(Eventually([&] { return !calls_.empty(); }));
  EXPECT_TRUE(Eventually([&] { return calls_[0]->gone(); }))
      << "the client cancels at its deadline";
  EXPECT_TRUE(Eventually([&] { return client->done.load(); }));
  EXPECT_EQ(client->status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << "its own";
}

TEST_F(PortTest, AStreamCarriesResponsesAndAStatus) {
  grpc::ClientContext context;
  const auto reader = stub_->Watch(&context, HealthCheckRequest());
  ASSERT_TRUE(Eventually([&] { return stream_ != nullptr && port_.running() == 1; }));
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(stream_->writable());
    HealthCheckResponse response;
    response.set_status(HealthCheckResponse::SERVING);
    stream_->Write(response, /*more_follow=*/i < 3);
    EXPECT_FALSE(stream_->writable()) << "one at a time";
    ASSERT_TRUE(Eventually([&] { return written_ == i; }));
  }
  stream_->Finish(absl::UnavailableError("stopping"));
  EXPECT_EQ(ended_, 0) << "never inside a function of the stream";
  std::atomic<bool> done{false};
  int read = 0;
  grpc::Status status;
  std::thread client([&] {
    for (HealthCheckResponse response; reader->Read(&response);) ++read;
    status = reader->Finish();
    done = true;
  });
  EXPECT_TRUE(Eventually([&] { return done && port_.running() == 0; }));
  client.join();
  EXPECT_EQ(read, 3);
  EXPECT_EQ(status.error_message(), "stopping");
  EXPECT_EQ(ended_, 1);
}

TEST_F(PortTest, AStreamEndsWithItsRequestsStatusItsClientOrTheServer) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>> readers;
  const auto open = [&](const std::string& service) {
    HealthCheckRequest request;
    request.set_service(service);
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->Watch(contexts.back().get(), request));
  };
  open("rejected");
  ASSERT_TRUE(Eventually([&] { return ended_ == 1 && port_.running() == 0; }));
  EXPECT_EQ(readers[0]->Finish().error_code(), grpc::StatusCode::NOT_FOUND);

  open("a");
  ASSERT_TRUE(Eventually([&] { return opened_ == 2; }));
  contexts[1]->TryCancel();
  ASSERT_TRUE(Eventually([&] { return ended_ == 2 && port_.running() == 0; }));
  EXPECT_FALSE(readers[1]->Finish().ok());

  for (int i = 0; i < 3; ++i) open("a");
  ASSERT_TRUE(Eventually([&] { return opened_ == 5; }));
  EndStreams();
  ASSERT_TRUE(Eventually([&] { return ended_ == 5 && port_.running() == 0; }));
  for (int i = 2; i < 5; ++i) EXPECT_FALSE(readers[i]->Finish().ok());
}

TEST_F(PortTest, MalformedRequestsAndUnservedMethodsGetErrors) {
  grpc::GenericStub stub(channel_);
  const auto ask = [&](const std::string& method, const std::string& bytes) {
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    auto reader = stub.PrepareUnaryCall(&context, method, request, &queue);
    reader->StartCall();
    reader->Finish(&response, &status, nullptr);
    bool done = false;
    EXPECT_TRUE(Eventually([&] {
      void* tag = nullptr;
      bool ok = false;
      done = done || queue.AsyncNext(&tag, &ok, std::chrono::system_clock::now()) ==
                         grpc::CompletionQueue::GOT_EVENT;
      return done;
    }));
    return status;
  };
  const grpc::Status no_request = ask("/grpc.health.v1.Health/Check", "\xff\xff");
  EXPECT_EQ(no_request.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(no_request.error_message(), "Unable to parse request");
  const grpc::Status not_served = ask("/a.Service/Method", "");
  EXPECT_EQ(not_served.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(not_served.error_message(), "etcdserver: raftkv does not serve /a.Service/Method yet");
}

// The port's thread and this one send answers at the same time.
TEST_F(PortTest, AFewAnswersAreSentByTheThreadThatMadeThem) {
  constexpr int kClients = 3, kCalls = 300;
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&] {
      for (int call = 0; call < kCalls; ++call) {
        grpc::ClientContext context;
        HealthCheckRequest request;
        HealthCheckResponse response;
        if (!stub_->Check(&context, request, &response).ok()) return;
        ++answered;
      }
    });
  }
  EXPECT_TRUE(Eventually([&] {
    for (const auto& call : std::exchange(calls_, {})) call.Finish(absl::OkStatus());
    port_.SendAnswers();
    return answered == kClients * kCalls;
  }));
  for (std::thread& client : clients) client.join();
}

}  // namespace
}  // namespace raftkv
