// A member that is told to stop while clients write: they go on to another member, and none of
// their calls fails.

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "proto/etcd/outcome.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

// Clients that put without pause, each call through the next member that is connected, and repeat a
// put as etcd's client library (clientv3 3.4 to 3.6) does: exactly if the answer is Unavailable
// with one of two texts. Sixteen share their connections, as goroutines do.
class Writers {
 public:
  Writers(const Cluster& cluster, int clients) {
    for (int i = 0; i < clients; ++i) {
      if (i % kShared == 0) {
        auto& connections = connections_.emplace_back();
        for (const std::string& address : cluster.client_addresses()) {
          connections.push_back(std::make_unique<Connection>(address));
        }
      }
      threads_.emplace_back([this, i, &connections = connections_.back()] { Run(i, connections); });
    }
  }
  ~Writers() { Stop(); }

  // How calls failed, by code and text, and how often.
  std::map<std::string, int> Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    absl::MutexLock lock(&mutex_);
    return failures_;
  }

  // `count` more puts are acknowledged.
  bool WaitFor(int64_t count) {
    const int64_t end = acknowledged_ + count;
    return Eventually(absl::Seconds(30), [&] { return acknowledged_ >= end; });
  }

 private:
  static constexpr int kShared = 16;
  static constexpr int kAttempts = 100, kQuorum = 2;
  using Connections = std::vector<std::unique_ptr<Connection>>;

  static bool NothingWasSent(const grpc::Status& status) {
    return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
           (status.error_message() == "there is no connection available" ||
            status.error_message() == "there is no address available" ||
            // What gRPC for C++ says where grpc-go would take another connection by itself.
            absl::StartsWith(status.error_message(), "failed to connect to all addresses"));
  }

  void Run(int client, const Connections& connections) {
    size_t next = client;
    etcdserverpb::PutRequest request;
    request.set_key(absl::StrCat("key", client));
    request.set_value(std::string(100, 'v'));
    for (int attempts = 0; !stop_;) {
      Connection& connection = *connections[next++ % connections.size()];
      if (connection.channel->GetState(/*try_to_connect=*/true) != GRPC_CHANNEL_READY) {
        std::this_thread::yield();
        continue;
      }
      etcdserverpb::PutResponse response;
      const grpc::Status status = connection.kv->Put(MakeContext().get(), request, &response);
      if (NothingWasSent(status) && ++attempts < kAttempts) {
        if (attempts % kQuorum == 0) absl::SleepFor(absl::Milliseconds(25));
        continue;
      }
      attempts = 0;
      if (status.ok()) {
        ++acknowledged_;
        continue;
      }
      absl::MutexLock lock(&mutex_);
      ++failures_[absl::StrCat(status.error_code(), " ", status.error_message())];
    }
  }

  std::deque<Connections> connections_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> acknowledged_{0};
  absl::Mutex mutex_;
  std::map<std::string, int> failures_;
};

// gRPC cancels calls that come from clients which were silent for long just before: on a machine
// that starves them that may happen at one of the two stops.
TEST(Stop, OfAFollowerFailsNoCall) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({});
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  int without_failures = 0;
  for (int follower : {(leader + 1) % 3, (leader + 2) % 3}) {
    Writers writers(cluster, /*clients=*/32);
    ASSERT_TRUE(writers.WaitFor(1000));
    EXPECT_EQ(cluster.Terminate(follower), 0);
    EXPECT_TRUE(writers.WaitFor(1000));
    const auto failures = writers.Stop();
    without_failures += failures.empty();
    for (const auto& [failure, times] : failures) {
      EXPECT_EQ(failure, absl::StrCat(grpc::StatusCode::CANCELLED, " CANCELLED")) << times;
    }
    cluster.Start(follower);
    ASSERT_TRUE(
        Eventually(absl::Seconds(20), [&] { return cluster.Put(follower, "k", "v").ok(); }));
  }
  EXPECT_GT(without_failures, 0);
}

// Where there is no other member to go to, the answer says what it is worth.
TEST(Stop, RefusedCallsSayThatNothingWasProposed) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({.size = 1});
  cluster.Start(0);
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  Connection& connection = cluster.connection(0);
  ASSERT_TRUE(cluster.Put(0, "k", "v").ok());
  cluster.process(0).Signal(SIGTERM);
  etcdserverpb::PutRequest request;
  request.set_key("k");
  etcdserverpb::PutResponse response;
  for (;;) {
    const auto context = MakeContext();
    const grpc::Status status = connection.kv->Put(context.get(), request, &response);
    if (status.ok()) continue;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(), "there is no connection available");
    const auto& metadata = context->GetServerTrailingMetadata();
    const auto outcome = metadata.find(kOutcomeKey);
    ASSERT_NE(outcome, metadata.end());
    EXPECT_EQ(outcome->second, kNotProposed);
    break;
  }
  EXPECT_EQ(cluster.process(0).Wait(absl::Seconds(15)), 0);
}

}  // namespace
}  // namespace raftkv::e2e
