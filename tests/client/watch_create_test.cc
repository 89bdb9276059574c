// The creation of a watch: endpoints that do not answer, a deadline, and a cancellation. Also of
// the watches of a lock and of an observer.

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

constexpr absl::Duration kForever = absl::Minutes(10);
// A busy machine needs less time than that to connect.
constexpr absl::Duration kDeadline = absl::Seconds(2);

std::unique_ptr<Client> ClientOf(std::vector<std::string> endpoints,
                                 absl::Duration request_timeout = kForever) {
  auto client = Client::Connect({.endpoints = std::move(endpoints),
                                 .dial_timeout = kForever,
                                 .request_timeout = request_timeout});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

// The status of a function that blocks. If it has not ended after 20 s, `end` must end it.
template <typename Block, typename End>
absl::Status StatusOf(Block block, End end) {
  auto status = std::async(std::launch::async, std::move(block));
  const bool ended = status.wait_for(std::chrono::seconds(20)) == std::future_status::ready;
  EXPECT_TRUE(ended);
  if (!ended) end();
  return status.get();
}

TEST(WatchCreate, AStoppedEndpointDelaysItForAShortTime) {
  const StoppedServer stopped;
  FakeServer server;
  const auto client = ClientOf({stopped.address(), server.address()});
  std::stop_source stop;
  const auto create = [&] { return client->Watch("k", {}, {.cancel = stop.get_token()}).status(); };
  EXPECT_EQ(StatusOf(create, [&] { stop.request_stop(); }), absl::OkStatus());
  EXPECT_EQ(server.calls, 1);
}

TEST(WatchCreate, AnEndpointThatHangsDelaysItForAShortTime) {
  FakeServer hangs, server;
  hangs.creates_watches = false;
  const auto client = ClientOf({hangs.address(), server.address()}, absl::Seconds(16));
  const auto watcher = client->Watch("k");
  EXPECT_TRUE(watcher.ok()) << watcher.status();
  EXPECT_EQ(hangs.calls, 1);
  EXPECT_EQ(server.calls, 1);
}

TEST(WatchCreate, HasADeadline) {
  FakeServer hangs;
  hangs.creates_watches = false;
  const auto client = ClientOf({hangs.address()});
  std::stop_source stop;
  const auto create = [&] {
    return client->Watch("k", {}, {.deadline = absl::Now() + kDeadline, .cancel = stop.get_token()})
        .status();
  };
  const absl::Status status = StatusOf(create, [&] { stop.request_stop(); });
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST(WatchCreate, CanBeCancelled) {
  FakeServer hangs;
  hangs.creates_watches = false;
  const StoppedServer stopped;
  for (const std::string& endpoint : {hangs.address(), stopped.address()}) {
    auto client = ClientOf({endpoint});
    std::stop_source stop;
    auto create = std::async(std::launch::async, [&] {
      return client->Watch("k", {}, {.cancel = stop.get_token()}).status();
    });
    if (endpoint == hangs.address()) {
      EXPECT_TRUE(hangs.AwaitCalls(1));
    }
    stop.request_stop();
    ASSERT_EQ(create.wait_for(std::chrono::seconds(20)), std::future_status::ready);
    const absl::Status status = create.get();
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
  }
}

TEST(WatchCreate, TheTokenCancelsTheWatchToo) {
  FakeServer server;
  const auto client = ClientOf({server.address()});
  std::stop_source stop;
  const auto watcher = client->Watch("k", {}, {.cancel = stop.get_token()});
  ASSERT_TRUE(watcher.ok()) << watcher.status();
  auto next = std::async(std::launch::async, [&] { return (*watcher)->Next().status(); });
  stop.request_stop();
  const bool ended = next.wait_for(std::chrono::seconds(20)) == std::future_status::ready;
  EXPECT_TRUE(ended);
  if (!ended) (*watcher)->Cancel();
  EXPECT_TRUE(absl::IsCancelled(next.get()));
}

TEST(WatchCreate, AWaitForALockCanBeCancelled) {
  FakeServer server;
  server.creates_watches = false;
  server.txn_response.set_succeeded(true);
  server.answer_txn = [](const etcdserverpb::TxnRequest& request,
                         etcdserverpb::TxnResponse* response) {
    response->mutable_header()->set_revision(5);
    for (const auto& op : request.success()) {
      auto* result = response->add_responses();
      if (op.has_request_put()) result->mutable_response_put();
      if (op.has_request_delete_range()) result->mutable_response_delete_range();
      if (!op.has_request_range()) continue;
      auto* owner = result->mutable_response_range()->add_kvs();  // somebody else
      owner->set_key("name/0");
      owner->set_create_revision(2);
    }
  };
  const auto client = ClientOf({server.address()});
  const auto session = Session::Open(*client, {.ttl = kForever});
  ASSERT_TRUE(session.ok()) << session.status();
  Mutex mutex(session->get(), "name");
  auto locked = std::async(std::launch::async, [&] { return mutex.Lock(); });
  ASSERT_TRUE(server.AwaitCalls(3));  // creates the key, looks for the owner, watches it
  mutex.Cancel();
  EXPECT_EQ(locked.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  // A wait that has not ended ends now.
  (*session)->Close(absl::Now() + absl::Milliseconds(100)).IgnoreError();
  server.Stop();
  const absl::Status status = locked.get();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

// `reads`: the service does not answer the read of the leader; else it does not create the watch.
void ObserveAndCancel(bool reads) {
  FakeServer server;
  server.creates_watches = false;
  if (reads) server.before = NeverAnswer;
  const auto client = ClientOf({server.address()});
  LeaderObserver observer(client.get(), "name");
  auto next = std::async(std::launch::async, [&] { return observer.Next().status(); });
  ASSERT_TRUE(server.AwaitCalls(reads ? 1 : 2));
  observer.Cancel();
  EXPECT_EQ(next.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  server.Stop();
  const absl::Status status = next.get();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}
TEST(WatchCreate, AnObserverCanBeCancelledWhileItReads) { ObserveAndCancel(/*reads=*/true); }
TEST(WatchCreate, AnObserverCanBeCancelledWhileItCreatesAWatch) {
  ObserveAndCancel(/*reads=*/false);
}

TEST(WatchCreate, AnObserverHasADeadline) {
  FakeServer server;
  server.creates_watches = false;
  const auto client = ClientOf({server.address()});
  LeaderObserver observer(client.get(), "name");
  const auto next = [&] { return observer.Next(absl::Now() + kDeadline).status(); };
  const absl::Status status = StatusOf(next, [&] { server.Stop(); });
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

// The deadline of each call suffices for a read only. The observer goes on where the last call
// ended.
TEST(WatchCreate, AnObserverReturnsTheLeaderBeforeItWatches) {
  FakeServer server;
  server.creates_watches = false;
  auto* leader = server.range_response.add_kvs();
  leader->set_key("name/1");
  leader->set_value("v");
  const auto client = ClientOf({server.address()});
  LeaderObserver observer(client.get(), "name");
  const auto next = [&] { return observer.Next(absl::Now() + absl::Seconds(1)); };
  const auto first = next();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->leader.value, "v");
  const int reads = server.calls;
  const absl::Status status = StatusOf([&] { return next().status(); }, [&] { server.Stop(); });
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_EQ(server.calls, reads + 1) << "a watch, and no second read";
}

}  // namespace
}  // namespace raftkv::client
