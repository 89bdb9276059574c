// The library against real processes, of raftkv and of Debian's etcd.
#include "tests/e2e/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/raftkv.h"

namespace raftkv::client {
namespace {

using e2e::Product;

class ClientCluster : public testing::TestWithParam<Product> {
 protected:
  void Start(int size) {
    cluster_.emplace(e2e::ClusterOptions{.product = GetParam(), .size = size});
    cluster_->StartAll();
    ASSERT_GE(cluster_->WaitForLeader(), 0);
    auto client = Client::Connect({.endpoints = cluster_->client_addresses(),
                                   .on_call_end = [this](const CallReport& report) {
                                     if (report.method == std::string("Watch.Watch"))
                                       ++watch_streams_;
                                   }});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }

  std::atomic<int> watch_streams_{0};  // that have ended
  std::optional<e2e::Cluster> cluster_;
  std::unique_ptr<Client> client_;
};

// Pages while others write, with values of very different sizes, across the death of a member.
TEST_P(ClientCluster, PagesShowTheKeysOfOneRevision) {
  Start(3);
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 2000; i += 100) {
    Transaction puts;
    for (int j = i; j < i + 100; ++j) {
      const std::string key = absl::StrCat("k", absl::Dec(j, absl::kZeroPad4));
      expected[key] = std::string(j % 500 == 0 ? 300 << 10 : j % 7 * 100, 'v');
      puts.then.push_back(Op::Put(key, expected[key]));
    }
    ASSERT_TRUE(client_->Txn(puts).ok());
  }
  Pages pages = client_->Pages(Keys::Prefix("k"), {.page_bytes = 64 << 10});
  std::map<std::string, std::string> got;
  int number = 0;
  while (pages.Next()) {
    for (const KeyValue& kv : pages.page()) EXPECT_TRUE(got.emplace(kv.key, kv.value).second);
    if (++number == 3) cluster_->Kill(0);
    ASSERT_TRUE(client_->Put(absl::StrCat("k0", number, "new"), "later").ok() || number >= 3);
    client_->Put("k1999", "later").IgnoreError();
  }
  ASSERT_TRUE(pages.status().ok()) << pages.status();
  EXPECT_GT(number, 10);
  EXPECT_TRUE(got == expected);
}

TEST_P(ClientCluster, PagesEndIfTheirRevisionIsCompacted) {
  Start(1);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(client_->Put(absl::StrCat("k", i), "v").ok());
  Pages pages = client_->Pages(Keys::All(), {.page_bytes = 1024});
  ASSERT_TRUE(pages.Next());
  const auto put = client_->Put("k", "v");
  ASSERT_TRUE(put.ok() && client_->Compact(put->header.revision).ok());
  EXPECT_FALSE(pages.Next());
  EXPECT_TRUE(absl::IsOutOfRange(pages.status())) << pages.status();
}

TEST_P(ClientCluster, ManyAsynchronousCallsRunAtTheSameTime) {
  Start(3);
  std::vector<std::future<absl::StatusOr<PutResult>>> puts;
  for (int i = 0; i < 500; ++i) {
    std::promise<absl::StatusOr<PutResult>> promise;
    puts.push_back(promise.get_future());
    client_->Start(PutRequest(absl::StrCat("k", i), "v"),
                   [p = std::move(promise)](auto result) mutable { p.set_value(result); });
  }
  std::set<int64_t> revisions;
  for (auto& put : puts) {
    const auto result = put.get();
    ASSERT_TRUE(result.ok()) << result.status();
    revisions.insert(result->header.revision);
  }
  EXPECT_EQ(revisions.size(), 500);
  EXPECT_EQ(client_->Range(Keys::Prefix("k"), {.count_only = true})->count, 500);
}

TEST_P(ClientCluster, ACancelledReadFailsAndLaterOnesSucceed) {
  Start(1);
  cluster_->Pause(0);
  std::stop_source stop;
  auto cancelled = std::async(std::launch::async, [&] {
    return client_->Call(GetRequest("k"), {.cancel = stop.get_token()}).status();
  });
  absl::SleepFor(absl::Milliseconds(50));
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(cancelled.get()));
  cluster_->Resume(0);
  EXPECT_TRUE(client_->Get("k").ok());
}

TEST_P(ClientCluster, EachEndOfAStreamOfAWatchIsReported) {
  Start(1);
  {
    auto watcher = client_->Watch("k");
    ASSERT_TRUE(watcher.ok()) << watcher.status();
    cluster_->Kill(0);
    cluster_->Start(0);
    ASSERT_GE(cluster_->WaitForLeader(), 0);
    ASSERT_TRUE(client_->Put("k", "v").ok());
    const auto batch = (*watcher)->Next(absl::Now() + absl::Seconds(20));
    ASSERT_TRUE(batch.ok()) << batch.status();
    EXPECT_GE(watch_streams_, 1);
  }
  EXPECT_GE(watch_streams_, 2);
}

INSTANTIATE_TEST_SUITE_P(Products, ClientCluster, testing::Values(Product::kRaftkv, Product::kEtcd),
                         [](const auto& info) {
                           return info.param == Product::kEtcd ? "Etcd" : "Raftkv";
                         });

}  // namespace
}  // namespace raftkv::client
