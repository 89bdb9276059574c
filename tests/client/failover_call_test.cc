// Which endpoint a call is sent to, when some endpoints are stopped or slow.
#include <gtest/gtest.h>

#include <thread>

#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

using grpc::StatusCode;

// The dial timeout is longer than the request timeout, so that a call that waited for a stopped
// endpoint would fail.
std::unique_ptr<Client> ConnectWithDialTimeout(std::vector<std::string> endpoints,
                                               absl::Duration dial = absl::Seconds(20)) {
  auto client = Client::Connect({.endpoints = std::move(endpoints),
                                 .dial_timeout = dial,
                                 .request_timeout = absl::Seconds(8)});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

TEST(FailoverCall, StoppedEndpointsDelayNeitherReadsNorWrites) {
  StoppedServer one, two;
  FakeServer good;
  const std::vector<std::string> endpoints = {one.address(), two.address(), good.address()};
  const auto got = ConnectWithDialTimeout(endpoints)->Get("k");
  EXPECT_TRUE(got.ok()) << got.status();
  const auto put = ConnectWithDialTimeout(endpoints)->Put("k", "v");
  EXPECT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(good.calls, 2);
}

TEST(FailoverCall, TheEndpointThatAnsweredIsTriedFirstNextTime) {
  StoppedServer stopped;
  FakeServer good, other;
  const auto client = ConnectWithDialTimeout({stopped.address(), good.address(), other.address()});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client->Put("k", "v").ok());
  EXPECT_EQ(stopped.Connections(), 1);
  EXPECT_EQ(good.calls, 3);
}

TEST(FailoverCall, EndpointsAreTriedInTheGivenOrder) {
  FakeServer first, second;
  const auto client = ConnectWithDialTimeout({first.address(), second.address()});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client->Put("k", "v").ok());
  EXPECT_EQ(first.calls, 3);
  EXPECT_EQ(second.calls, 0);
}

TEST(FailoverCall, OnlyStoppedEndpointsMeansNeverSent) {
  StoppedServer one, two;
  const auto client =
      ConnectWithDialTimeout({one.address(), two.address()}, absl::Milliseconds(200));
  const auto put = client->Put("k", "v").status();
  EXPECT_TRUE(NeverSent(put)) << put;
  EXPECT_EQ(put.message(),
            "cannot connect to " + one.address() + ", " + two.address() + " within 200ms");
}

TEST(FailoverCall, ThreadsThatConnectInParallelShareTheConnection) {
  StoppedServer stopped;
  FakeServer good;
  const auto client = ConnectWithDialTimeout({stopped.address(), good.address()});
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int call = 0; call < 20; ++call) {
        const auto put = client->Put("k", "v");
        EXPECT_TRUE(put.ok()) << put.status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good.calls, 8 * 20);
}

// A hedge does not cancel the first request.
TEST(FailoverCall, TheFirstResponseOfAHedgedReadCounts) {
  FakeServer slow, hung;
  slow.range_response.add_kvs()->set_value("blue");
  hung.before = NeverAnswer;
  slow.before = [&](grpc::ServerContext* context) {
    while (hung.calls == 0 && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    return context->IsCancelled() ? grpc::Status::CANCELLED : grpc::Status::OK;
  };
  const auto client = ConnectWithDialTimeout({slow.address(), hung.address()});
  for (int i = 0; i < 2; ++i) {
    const auto got = client->Get("colour");
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ((*got)->value, "blue");
  }
  EXPECT_EQ(slow.calls, 2);
}

TEST(FailoverCall, AReadWhoseHedgeFailsWaitsForTheFirstResponse) {
  FakeServer slow, other;
  other.before = [](grpc::ServerContext*) {
    return grpc::Status(StatusCode::UNAVAILABLE, "etcdserver: no leader");
  };
  slow.before = [&](grpc::ServerContext* context) {
    while (other.calls == 0 && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    return grpc::Status::OK;
  };
  const auto got = ConnectWithDialTimeout({slow.address(), other.address()})->Get("colour");
  EXPECT_TRUE(got.ok()) << got.status();
}

TEST(FailoverCall, ASlowReadOfTheOnlyEndpointIsSentOnce) {
  FakeServer slow;
  slow.before = [](grpc::ServerContext*) {
    absl::SleepFor(absl::Milliseconds(300));
    return grpc::Status::OK;
  };
  auto client =
      Client::Connect({.endpoints = {slow.address()}, .request_timeout = absl::Milliseconds(500)});
  ASSERT_TRUE(client.ok());
  EXPECT_TRUE((*client)->Get("k").ok());
  EXPECT_EQ(slow.calls, 1);
}

TEST(FailoverCall, AWriteThatWasNotProposedMovesOn) {
  FakeServer cut_off, good;
  cut_off.before = [](grpc::ServerContext* context) {
    context->AddTrailingMetadata("raftkv-outcome", "not-proposed");
    return grpc::Status(StatusCode::UNAVAILABLE, "there is no connection available");
  };
  const auto put = ConnectWithDialTimeout({cut_off.address(), good.address()})->Put("k", "v");
  EXPECT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(good.calls, 1);
}

}  // namespace
}  // namespace raftkv::client
