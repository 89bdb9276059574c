// Requests as values: calls with a deadline of their own, and cancelled calls.
#include <gtest/gtest.h>

#include <stop_token>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

std::unique_ptr<Client> ConnectWithTimeout(std::vector<std::string> endpoints,
                                           absl::Duration timeout) {
  auto client = Client::Connect({.endpoints = std::move(endpoints),
                                 .dial_timeout = absl::Seconds(20),
                                 .request_timeout = timeout});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

TEST(Call, SendsARequestAnyNumberOfTimes) {
  FakeServer server;
  const auto client = ConnectWithTimeout({server.address()}, absl::Seconds(20));
  const Request<PutResult> put = PutRequest("k", "v", {.lease = 7});
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(client->Call(put).ok());
  EXPECT_EQ(server.calls, 2);
  EXPECT_EQ(server.put_request.key(), "k");
  EXPECT_EQ(server.put_request.lease(), 7);
}

TEST(Call, EndsAtItsDeadline) {
  FakeServer server;
  server.before = NeverAnswer;
  const auto client = ConnectWithTimeout({server.address()}, absl::Hours(1));
  const auto got =
      client->Call(GetRequest("k"), {.deadline = absl::Now() + absl::Milliseconds(300)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(got.status())) << got.status();
  const auto put =
      client->Call(PutRequest("k", "v"), {.deadline = absl::Now() + absl::Milliseconds(300)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(put.status())) << put.status();
  EXPECT_TRUE(OutcomeUnknown(put.status()));
}

TEST(Call, MayTakeLongerThanTheRequestTimeout) {
  FakeServer server;
  constexpr absl::Duration kTimeout = absl::Milliseconds(200);
  server.before = [&](grpc::ServerContext* context) {
    if (server.calls == 1) return NeverAnswer(context);
    absl::SleepFor(2 * kTimeout);
    return grpc::Status::OK;
  };
  const auto client = ConnectWithTimeout({server.address()}, kTimeout);
  EXPECT_TRUE(absl::IsDeadlineExceeded(client->Put("k", "v").status()));
  const auto put = client->Call(PutRequest("k", "v"), {.deadline = absl::Now() + absl::Hours(1)});
  EXPECT_TRUE(put.ok()) << put.status();
}

TEST(Call, IsNotSentAfterItsDeadline) {
  FakeServer server;
  const auto client = ConnectWithTimeout({server.address()}, absl::Seconds(20));
  const auto put = client->Call(PutRequest("k", "v"), {.deadline = absl::InfinitePast()}).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(put));
  EXPECT_EQ(put.message(), "the deadline had passed before KV.Put was sent");
  EXPECT_FALSE(OutcomeUnknown(put));
  EXPECT_EQ(server.calls, 0);
}

// Requests a stop once the server has got a request.
template <typename Result>
absl::Status CancelInFlight(const Request<Result>& request) {
  FakeServer server;
  server.before = NeverAnswer;
  const auto client = ConnectWithTimeout({server.address()}, absl::Hours(1));
  std::stop_source stop;
  std::thread canceller([&] {
    EXPECT_TRUE(server.AwaitCalls(1));
    stop.request_stop();
  });
  const absl::Status status = client->Call(request, {.cancel = stop.get_token()}).status();
  canceller.join();
  return status;
}

TEST(Call, ACancelledReadEndsAtOnce) {
  const absl::Status status = CancelInFlight(GetRequest("k"));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(status.message(), "the call was cancelled");
}

TEST(Call, ACancelledWriteMayHaveHappened) {
  const absl::Status status = CancelInFlight(PutRequest("k", "v"));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(OutcomeUnknown(status));
}

TEST(Call, ACancelledWriteThatWasNotSentHasNotHappened) {
  StoppedServer stopped;
  const auto client = ConnectWithTimeout({stopped.address()}, absl::Hours(1));
  std::stop_source stop;
  std::thread canceller([&] {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (stopped.Connections() == 0 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_LT(absl::Now(), end);
    stop.request_stop();
  });
  const auto put = client->Call(PutRequest("k", "v"), {.cancel = stop.get_token()}).status();
  canceller.join();
  EXPECT_TRUE(absl::IsCancelled(put)) << put;
  EXPECT_FALSE(OutcomeUnknown(put));
}

TEST(Call, IsNotSentAfterItWasCancelled) {
  FakeServer server;
  const auto client = ConnectWithTimeout({server.address()}, absl::Seconds(20));
  std::stop_source stop;
  stop.request_stop();
  const auto put = client->Call(PutRequest("k", "v"), {.cancel = stop.get_token()}).status();
  EXPECT_TRUE(absl::IsCancelled(put)) << put;
  EXPECT_FALSE(OutcomeUnknown(put));
  EXPECT_EQ(server.calls, 0);
}

// A stop that comes after the end of a call, or just at its end, does nothing to others.
TEST(Call, ManyCallsMayHaveOneToken) {
  FakeServer server;
  const auto client = ConnectWithTimeout({server.address()}, absl::Seconds(20));
  for (int round = 0; round < 50; ++round) {
    std::stop_source stop;
    std::thread canceller([&] { stop.request_stop(); });
    for (int i = 0; i < 3; ++i) {
      const auto got = client->Call(GetRequest("k"), {.cancel = stop.get_token()}).status();
      EXPECT_TRUE(got.ok() || absl::IsCancelled(got)) << got;
    }
    canceller.join();
  }
  EXPECT_TRUE(client->Get("k").ok());
}

// What Options::on_call_end was told.
struct Report {
  std::string method;
  absl::StatusCode code;
  int attempts;
  std::string endpoint;
  bool operator==(const Report&) const = default;
};

class Reports : public testing::Test {
 protected:
  std::unique_ptr<Client> Connect(std::vector<std::string> endpoints) {
    return *Client::Connect({.endpoints = std::move(endpoints),
                             .request_timeout = absl::Seconds(4),
                             .on_call_end = [this](const CallReport& report) {
                               EXPECT_GE(report.took, absl::ZeroDuration());
                               absl::MutexLock lock(&mutex_);
                               reports_.push_back({report.method, report.status.code(),
                                                   report.attempts, std::string(report.endpoint)});
                             }});
  }
  std::vector<Report> Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(reports_, {});
  }

 private:
  absl::Mutex mutex_;
  std::vector<Report> reports_;
};

TEST_F(Reports, OfACallSayHowItEnded) {
  FakeServer bad, good;
  bad.before = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: no leader");
  };
  good.before = [&](grpc::ServerContext*) {
    return good.calls < 3 ? grpc::Status::OK
                          : grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no");
  };
  const auto client = Connect({bad.address(), good.address()});
  EXPECT_TRUE(client->Get("k").ok());
  EXPECT_EQ(Take(), (std::vector<Report>{{"KV.Range", absl::StatusCode::kOk, 2, good.address()}}));
  EXPECT_TRUE(client->Put("k", "v").ok());
  EXPECT_EQ(Take(), (std::vector<Report>{{"KV.Put", absl::StatusCode::kOk, 1, good.address()}}));
  EXPECT_FALSE(client->Put("k", "v").ok());
  EXPECT_EQ(
      Take(),
      (std::vector<Report>{{"KV.Put", absl::StatusCode::kInvalidArgument, 1, good.address()}}));
  EXPECT_FALSE(client->Call(PutRequest("k", "v"), {.deadline = absl::InfinitePast()}).ok());
  EXPECT_EQ(Take(), (std::vector<Report>{{"KV.Put", absl::StatusCode::kDeadlineExceeded, 0, ""}}));
}

TEST_F(Reports, CountHedgesAndUnreachableEndpoints) {
  FakeServer hung, good;
  hung.before = NeverAnswer;
  EXPECT_TRUE(Connect({hung.address(), good.address()})->Get("k").ok());
  EXPECT_EQ(Take(), (std::vector<Report>{{"KV.Range", absl::StatusCode::kOk, 2, good.address()}}));
  EXPECT_FALSE(Connect({DeadAddress()})->Get("k").ok());
  EXPECT_EQ(Take(), (std::vector<Report>{{"KV.Range", absl::StatusCode::kUnavailable, 0, ""}}));
}

TEST_F(Reports, OfAsynchronousCallsPagesAndSnapshots) {
  FakeServer server;
  server.snapshot = {"x"};
  const auto client = Connect({server.address()});
  absl::Notification done;
  client->Start(PutRequest("k", "v"), [&](auto) {
    EXPECT_EQ(Take().size(), 1) << "before the callback";
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_FALSE(client->Pages("k").Next());
  EXPECT_EQ(Take(),
            (std::vector<Report>{{"KV.Range", absl::StatusCode::kOk, 1, server.address()}}));
  EXPECT_TRUE(client->Snapshot([](auto, auto) { return absl::OkStatus(); }).ok());
  EXPECT_EQ(
      Take(),
      (std::vector<Report>{{"Maintenance.Snapshot", absl::StatusCode::kOk, 1, server.address()}}));
}

}  // namespace
}  // namespace raftkv::client
