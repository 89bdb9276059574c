// Leases with real processes: etcd's errors and values, and their time when a leader dies.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::Lease;
using testing::ElementsAre;

class Leases : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartAll();
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }

  Reply<etcdserverpb::LeaseGrantResponse> Grant(int i, int64_t ttl, int64_t id = 0) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(ttl);
    request.set_id(id);
    Connection& connection = cluster_.connection(i);
    return Call(connection, *connection.lease, &Lease::Stub::LeaseGrant, request);
  }
  Reply<etcdserverpb::LeaseRevokeResponse> Revoke(int i, int64_t id) {
    etcdserverpb::LeaseRevokeRequest request;
    request.set_id(id);
    Connection& connection = cluster_.connection(i);
    return Call(connection, *connection.lease, &Lease::Stub::LeaseRevoke, request);
  }
  etcdserverpb::LeaseTimeToLiveResponse TimeToLive(int i, int64_t id) {
    etcdserverpb::LeaseTimeToLiveRequest request;
    request.set_id(id);
    request.set_keys(true);
    Connection& connection = cluster_.connection(i);
    const auto reply = Call(connection, *connection.lease, &Lease::Stub::LeaseTimeToLive, request);
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    return reply.response;
  }
  grpc::Status PutWithLease(int i, const std::string& key, int64_t lease) {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_lease(lease);
    Connection& connection = cluster_.connection(i);
    return Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Put, request).status;
  }
  // Sends a keep-alive for each id on one stream, half-closes it, and returns the TTLs.
  std::vector<int64_t> KeepAlive(int i, const std::vector<int64_t>& ids) {
    Connection& connection = cluster_.connection(i);
    EXPECT_TRUE(connection.Ready());
    const auto context = MakeContext();
    const auto stream = connection.lease->LeaseKeepAlive(context.get());
    for (const int64_t id : ids) {
      etcdserverpb::LeaseKeepAliveRequest request;
      request.set_id(id);
      stream->Write(request);
    }
    stream->WritesDone();
    std::vector<int64_t> ttls;
    etcdserverpb::LeaseKeepAliveResponse response;
    while (stream->Read(&response)) {
      EXPECT_EQ(response.id(), ids[ttls.size()]);
      EXPECT_GT(response.header().revision(), 0);
      ttls.push_back(response.ttl());
    }
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return ttls;
  }
  bool Exists(int i, const std::string& key) {
    return cluster_.Get(i, key).response.kvs_size() == 1;
  }

  Cluster cluster_{ClusterOptions()};
  int leader_ = -1;
};

TEST_F(Leases, AnswerLikeEtcd) {
  const int i = (leader_ + 1) % 3;
  EXPECT_EQ(Grant(i, 1).response.ttl(), 2) << "one and a half election timeouts at least";
  EXPECT_EQ(Grant(i, -1, -7).response.id(), -7);
  EXPECT_GT(Grant(i, 100).response.id(), 0);
  EXPECT_EQ(Grant(i, 100, 7).response.ttl(), 100);
  const auto again = Grant(i, 100, 7);
  EXPECT_EQ(again.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(again.status.error_message(), "etcdserver: lease already exists");
  const auto large = Grant(i, 9'000'000'001);
  EXPECT_EQ(large.status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(large.status.error_message(), "etcdserver: too large lease TTL");
  const auto unknown = Revoke(i, 8);
  EXPECT_EQ(unknown.status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(unknown.status.error_message(), "etcdserver: requested lease not found");
  EXPECT_EQ(PutWithLease(i, "k", 8).error_message(), "etcdserver: requested lease not found");

  EXPECT_TRUE(PutWithLease(i, "b", 7).ok());
  EXPECT_TRUE(PutWithLease(i, "a", 7).ok());
  for (int member = 0; member < 3; ++member) {
    const auto found = TimeToLive(member, 7);
    EXPECT_EQ(found.grantedttl(), 100);
    EXPECT_GE(found.ttl(), 60);
    EXPECT_LE(found.ttl(), 100);
    EXPECT_THAT(found.keys(), ElementsAre("a", "b"));
  }
  const auto none = TimeToLive(i, 8);
  EXPECT_EQ(none.ttl(), -1);
  EXPECT_EQ(none.grantedttl(), 0);

  EXPECT_THAT(KeepAlive(i, {7, 8, 7, 7}), ElementsAre(100, 0, 100, 100));
  EXPECT_THAT(KeepAlive(leader_, {}), ElementsAre());
  const int64_t revision = cluster_.Get(i, "a").response.header().revision();
  const auto revoked = Revoke(i, 7);
  EXPECT_TRUE(revoked.ok());
  EXPECT_EQ(revoked.response.header().revision(), revision + 1);
  EXPECT_FALSE(Exists(i, "a"));
  EXPECT_FALSE(Exists(i, "b"));
}

// A client that requires a leader by metadata looks for another member then.
TEST_F(Leases, StreamsOfKeepAlivesEndWithoutALeader) {
  ASSERT_TRUE(Grant(leader_, 600, 7).ok());
  const int follower = (leader_ + 1) % 3;
  Connection& connection = cluster_.connection(follower);
  ASSERT_TRUE(connection.Ready());
  etcdserverpb::LeaseKeepAliveRequest request;
  etcdserverpb::LeaseKeepAliveResponse response;
  request.set_id(7);
  const auto open = [&](grpc::ClientContext* context) {
    context->AddMetadata("hasleader", "true");
    auto stream = connection.lease->LeaseKeepAlive(context);
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.ttl(), 600);
    return stream;
  };
  const auto idle_context = MakeContext(absl::Seconds(60));
  const auto idle = open(idle_context.get());
  const auto busy_context = MakeContext(absl::Seconds(60));
  const auto busy = open(busy_context.get());
  cluster_.Pause(leader_);
  cluster_.Pause((leader_ + 2) % 3);
  const absl::Time paused = absl::Now();
  ASSERT_TRUE(Eventually(absl::Seconds(20),
                         [&] { return cluster_.Status(follower).response.leader() == 0; }));
  EXPECT_TRUE(busy->Write(request));
  for (const auto* stream : {&idle, &busy}) {
    EXPECT_FALSE((*stream)->Read(&response));
    const grpc::Status status = (*stream)->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(), "etcdserver: no leader");
  }
  EXPECT_LE(absl::Now() - paused, absl::Seconds(20));
  cluster_.Resume(leader_);
  cluster_.Resume((leader_ + 2) % 3);
  ASSERT_GE(cluster_.WaitForLeader(), 0);
  EXPECT_THAT(KeepAlive(follower, {7}), ElementsAre(600));
}

TEST_F(Leases, SurviveTheirLeaderAndExpireLater) {
  const int64_t ttl = 6;
  const int i = (leader_ + 1) % 3;
  ASSERT_TRUE(Grant(i, ttl, 7).ok());
  ASSERT_TRUE(PutWithLease(i, "k", 7).ok());
  cluster_.Kill(leader_);
  ASSERT_GE(cluster_.WaitForLeader(), 0);
  const absl::Time renewed = absl::Now();
  EXPECT_THAT(KeepAlive(i, {7}), ElementsAre(ttl));
  EXPECT_LE(TimeToLive(i, 7).ttl(), ttl);
  EXPECT_TRUE(Exists(i, "k"));
  EXPECT_TRUE(Eventually(absl::Seconds(60), [&] { return !Exists(i, "k"); }));
  EXPECT_GE(absl::Now() - renewed, absl::Seconds(ttl)) << "too early";
  EXPECT_EQ(TimeToLive(i, 7).ttl(), -1);
  EXPECT_THAT(KeepAlive(i, {7}), ElementsAre(0));
}

}  // namespace
}  // namespace raftkv::e2e
