// `raftkv lease keep-alive` with several endpoints, of which one hangs.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/raftkv.h"
#include "tests/client/fake_server.h"
#include "tests/e2e/cluster.h"

namespace raftkv::client {
namespace {

constexpr int64_t kTtl = 2, kLease = 0x77;
constexpr absl::Duration kLong = absl::Seconds(20);

class KeepAlive : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartAll();
    ASSERT_EQ(cluster_.WaitForLeader(), 0);
    auto client = Client::Connect({.endpoints = cluster_.client_addresses()});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    // Just after the start, a member may not have agreed on the newest cluster version.
    ASSERT_TRUE(e2e::Eventually(kLong, [&] { return client_->LeaseGrant(600).ok(); }));
  }

  bool Exists(int64_t lease) {
    const auto left = client_->LeaseTimeToLive(lease);
    EXPECT_TRUE(left.ok()) << left.status();
    return left.ok() && left->ttl >= 0;
  }

  // Keeps a lease alive with the real server and the others as endpoints, until two leases with the
  // same time, which nobody keeps alive, have expired one after the other.
  void ExpectKept(const std::string& others) {
    const std::string file = cluster_.dir() + "/keeper";
    ASSERT_TRUE(client_->LeaseGrant(kTtl, kLease).ok());
    e2e::Process keeper(
        {.argv = {e2e::BuiltProgram("raftkv"),
                  absl::StrCat("--endpoints=", others, ",", cluster_.client_address(0)),
                  "--command-timeout=60s", "lease", "keep-alive", absl::StrCat(absl::Hex(kLease))}},
        file);
    for (const int64_t id : {1, 2}) {
      ASSERT_TRUE(client_->LeaseGrant(kTtl, id).ok());
      EXPECT_TRUE(e2e::Eventually(kLong, [&] { return !Exists(id); }));
    }
    EXPECT_TRUE(Exists(kLease)) << e2e::ReadFile(file);
    EXPECT_TRUE(keeper.Running()) << e2e::ReadFile(file);
    ASSERT_TRUE(client_->LeaseRevoke(kLease).ok());
    EXPECT_EQ(keeper.Wait(kLong), 0);
    EXPECT_THAT(e2e::ReadFile(file), testing::EndsWith(" expired or revoked.\n"));
  }

  e2e::Cluster cluster_{
      {.product = e2e::Product::kRaftkv, .size = 1, .election_timeout = absl::Milliseconds(500)}};
  std::unique_ptr<Client> client_;
};

TEST_F(KeepAlive, MovesOnWhenTheEndpointStopsAnswering) {
  FakeServer hangs;
  std::atomic<int> calls = 0;
  hangs.answer_keep_alive = [&](grpc::ServerContext* context, auto* response) {
    response->set_ttl(kTtl);
    return ++calls == 1 ? grpc::Status::OK : NeverAnswer(context);
  };
  ExpectKept(hangs.address());
  EXPECT_GE(calls, 2);
}

// The lease's time to live is not known before the first answer.
TEST_F(KeepAlive, MovesOnWhenTheEndpointNeverAnswers) {
  FakeServer hangs;
  hangs.answer_keep_alive = [](grpc::ServerContext* context, auto*) {
    return NeverAnswer(context);
  };
  const StoppedServer stopped;
  ExpectKept(absl::StrCat(stopped.address(), ",", hangs.address()));
}

}  // namespace
}  // namespace raftkv::client
