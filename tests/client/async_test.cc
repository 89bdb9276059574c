// Client::Start: calls that return at once.
#include <gtest/gtest.h>

#include <future>
#include <stop_token>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/async_calls.h"
#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

std::unique_ptr<Client> ConnectAsync(std::vector<std::string> endpoints,
                                     absl::Duration timeout = absl::Seconds(20)) {
  auto client = Client::Connect({.endpoints = std::move(endpoints),
                                 .dial_timeout = absl::Seconds(20),
                                 .request_timeout = timeout});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

template <typename Result>
std::future<absl::StatusOr<Result>> Future(Client& client, const Request<Result>& request,
                                           const CallOptions& options = {}) {
  std::promise<absl::StatusOr<Result>> promise;
  auto future = promise.get_future();
  client.Start(
      request, [p = std::move(promise)](auto result) mutable { p.set_value(result); }, options);
  return future;
}

TEST(Start, PassesTheResultToTheCallback) {
  FakeServer server;
  server.range_response.add_kvs()->set_value("blue");
  const auto client = ConnectAsync({server.address()});
  const auto got = Future(*client, GetRequest("colour")).get();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ((*got)->value, "blue");
}

TEST(Start, RunsCallsAtTheSameTime) {
  FakeServer server;
  constexpr int kCalls = 8;
  server.before = [&](grpc::ServerContext* context) {  // none is answered before all have come
    while (server.calls < kCalls && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    return grpc::Status::OK;
  };
  const auto client = ConnectAsync({server.address()});
  std::vector<std::future<absl::StatusOr<PutResult>>> puts;
  for (int i = 0; i < kCalls; ++i) puts.push_back(Future(*client, PutRequest("k", "v")));
  for (auto& put : puts) EXPECT_TRUE(put.get().ok());
}

TEST(Start, MovesOnToAnotherEndpoint) {
  StoppedServer stopped;
  FakeServer hung, good;
  hung.before = NeverAnswer;
  const auto client = ConnectAsync({stopped.address(), hung.address(), good.address()});
  EXPECT_TRUE(Future(*client, GetRequest("k")).get().ok());
  EXPECT_EQ(hung.calls, 1);
  EXPECT_EQ(good.calls, 1);
  EXPECT_TRUE(Future(*client, PutRequest("k", "v")).get().ok());
}

TEST(Start, EndsAtTheDeadlineOfTheCall) {
  FakeServer server;
  server.before = NeverAnswer;
  const auto client = ConnectAsync({server.address()}, absl::Hours(1));
  const auto put =
      Future(*client, PutRequest("k", "v"), {.deadline = absl::Now() + absl::Milliseconds(300)})
          .get()
          .status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(put)) << put;
  EXPECT_TRUE(OutcomeUnknown(put));
  const auto late = Future(*client, PutRequest("k", "v"), {.deadline = absl::InfinitePast()});
  EXPECT_EQ(late.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(server.calls, 1);
}

TEST(Start, EndsWhenTheCallIsCancelled) {
  FakeServer server;
  server.before = NeverAnswer;
  const auto client = ConnectAsync({server.address()}, absl::Hours(1));
  std::stop_source stop;
  auto cancelled = Future(*client, GetRequest("k"), {.cancel = stop.get_token()});
  ASSERT_TRUE(server.AwaitCalls(1));
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(cancelled.get().status()));
  auto before = Future(*client, GetRequest("k"), {.cancel = stop.get_token()});
  EXPECT_TRUE(absl::IsCancelled(before.get().status()));
}

TEST(Start, TheDestructorOfTheClientCancelsCalls) {
  FakeServer server;
  server.before = NeverAnswer;
  StoppedServer stopped;
  std::vector<std::future<absl::StatusOr<PutResult>>> puts;
  {
    const auto client = ConnectAsync({server.address()}, absl::Hours(1));
    const auto other = ConnectAsync({stopped.address()}, absl::Hours(1));
    puts.push_back(Future(*client, PutRequest("k", "v")));
    ASSERT_TRUE(server.AwaitCalls(1));
    puts.push_back(Future(*other, PutRequest("k", "v")));
  }
  for (auto& put : puts) {
    ASSERT_EQ(put.wait_for(std::chrono::seconds(0)), std::future_status::ready);
  }
  const absl::Status sent = puts[0].get().status(), unsent = puts[1].get().status();
  EXPECT_TRUE(absl::IsCancelled(sent) && OutcomeUnknown(sent)) << sent;
  EXPECT_TRUE(absl::IsCancelled(unsent) && !OutcomeUnknown(unsent)) << unsent;
}

TEST(Start, ACallOfACallbackDuringTheDestructorIsCancelled) {
  FakeServer server;
  server.before = NeverAnswer;
  std::promise<absl::Status> second;
  {
    const auto client = ConnectAsync({server.address()}, absl::Hours(1));
    client->Start(PutRequest("k", "v"), [&second, &client = *client](auto) {
      client.Start(GetRequest("k"), [&](auto got) { second.set_value(got.status()); });
    });
  }
  EXPECT_TRUE(absl::IsCancelled(second.get_future().get()));
}

TEST(Start, ACallbackMayStartAnotherCallAndMayBlock) {
  FakeServer server;
  const auto client = ConnectAsync({server.address()});
  std::promise<absl::Status> last;
  client->Start(PutRequest("k", "v"), [&](absl::StatusOr<PutResult> first) {
    EXPECT_TRUE(first.ok()) << first.status();
    EXPECT_TRUE(client->Put("k", "v").ok());
    client->Start(GetRequest("k"), [&](auto got) { last.set_value(got.status()); });
  });
  EXPECT_TRUE(last.get_future().get().ok());
  EXPECT_EQ(server.calls, 3);
}

TEST(Start, CallsInFlightAreBounded) {
  StoppedServer stopped;
  const auto client = ConnectAsync({stopped.address()}, absl::Hours(1));
  std::stop_source stop;
  std::vector<std::future<absl::StatusOr<PutResult>>> puts;
  const auto put = [&](const std::string& value) {
    puts.push_back(Future(*client, PutRequest("k", value), {.cancel = stop.get_token()}));
  };
  const auto too_many = [&](const std::string& value) {
    return absl::IsResourceExhausted(Future(*client, PutRequest("k", value)).get().status());
  };
  const std::string large((AsyncCalls::kBytesMax - (1 << 20)) / 2, 'v');
  for (int i = 0; i < 2; ++i) put(large);
  EXPECT_TRUE(too_many(large));
  while (puts.size() < AsyncCalls::kCallsMax) put("");
  EXPECT_TRUE(too_many(""));
  stop.request_stop();
  for (auto& cancelled : puts) EXPECT_TRUE(absl::IsCancelled(cancelled.get().status()));
  // When the calls are over, there is room again.
  absl::Status again = absl::ResourceExhaustedError("");
  while (absl::IsResourceExhausted(again)) {
    again =
        Future(*client, PutRequest("k", large), {.deadline = absl::Now() + absl::Milliseconds(100)})
            .get()
            .status();
  }
  EXPECT_FALSE(OutcomeUnknown(again)) << again;  // it was not sent within its deadline
}

TEST(Start, StressOfStartsCancelsAndTheEnd) {
  FakeServer server;
  std::atomic<int> ended{0};
  for (int round = 0; round < 30; ++round) {
    std::stop_source stop;
    const auto client = ConnectAsync({server.address(), DeadAddress()});
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 3; ++thread) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i) {
          client->Start(GetRequest("k"), [&](auto) { ++ended; }, {.cancel = stop.get_token()});
        }
      });
    }
    std::thread canceller([&] { stop.request_stop(); });
    for (std::thread& thread : threads) thread.join();
    canceller.join();
  }
  EXPECT_EQ(ended, 30 * 3 * 20);
}

}  // namespace
}  // namespace raftkv::client
