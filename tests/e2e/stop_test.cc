// A member stops while clients write. The clients use another member, and none of their calls
// fails.

#include <gtest/gtest.h>
#include <signal.h>

#include "absl/strings/match.h"
#include "proto/etcd/outcome.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/writers.h"

namespace raftkv::e2e {
namespace {

constexpr int kStopClients = 32;

class StopUnderWrites : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv-server only";
    cluster_.StartAll();
  }

  // Stops the leader or a follower, which clients call all the time, and starts it again.
  void ExpectACleanStop(bool leader) {
    const int member = (cluster_.WaitForLeader() + (leader ? 0 : 1)) % 3;
    Writers writers(cluster_.client_addresses(), kStopClients);
    EXPECT_TRUE(writers.WaitFor(1000));
    EXPECT_EQ(cluster_.Terminate(member), 0) << cluster_.log(member);
    EXPECT_TRUE(writers.WaitFor(1000));
    for (const auto& [failure, times] : writers.Stop()) {
      ADD_FAILURE() << times << " times " << failure;
    }
    cluster_.Start(member);
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster_.Put(member, "k", "v").ok(); }));
  }

  Cluster cluster_{ClusterOptions()};
};

TEST_F(StopUnderWrites, OfAFollowerFailsNoCall) {
  for (int i = 0; i < 2; ++i) ExpectACleanStop(/*leader=*/false);
}

// Another member leads before the process ends, and requests that waited for it are answered.
TEST_F(StopUnderWrites, OfTheLeaderFailsNoCall) {
  for (int i = 0; i < 2; ++i) ExpectACleanStop(/*leader=*/true);
}

// A stopping member sends NOT_SERVING to health watchers before it ends their streams.
TEST(Stop, IsReportedToHealthWatchers) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd sends it only at its start";
  using grpc::health::v1::HealthCheckResponse;
  Cluster cluster({.size = 1});
  bool reported = false;
  // The member updates its watchers ten times a second, but on an overloaded machine one stop may
  // be faster than that. So try several.
  for (int stops = 0; stops < 5 && !reported; ++stops) {
    cluster.Start(0);
    ASSERT_EQ(cluster.WaitForLeader(), 0);
    ASSERT_TRUE(cluster.Put(0, "k", "v").ok());
    const auto context = MakeContext(absl::Seconds(60));
    const auto watch = cluster.connection(0).health->Watch(context.get(), {});
    HealthCheckResponse response;
    ASSERT_TRUE(watch->Read(&response));
    while (response.status() != HealthCheckResponse::SERVING) ASSERT_TRUE(watch->Read(&response));
    EXPECT_EQ(cluster.Terminate(0), 0);
    while (watch->Read(&response)) {
      EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
      reported = true;
    }
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  EXPECT_TRUE(reported);
}

// A client without another member to try learns that its put was not proposed: from the answer, or
// because the client was told to make no new calls and nobody accepts its new connection.
TEST(Stop, RejectedCallsSayThatNothingWasProposed) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv-server only";
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
    if (absl::StartsWith(status.error_message(), "failed to connect to all addresses")) break;
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
