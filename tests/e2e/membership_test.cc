// Changes of the members with real processes: a member joins, is promoted, and the leader leaves.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::MemberAddRequest;
using etcdserverpb::MemberListRequest;
using etcdserverpb::MemberPromoteRequest;
using etcdserverpb::MemberRemoveRequest;
using Stub = etcdserverpb::Cluster::Stub;
using testing::HasSubstr;

constexpr absl::Duration kSoon = absl::Seconds(30);

class Membership : public testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 3; ++i) cluster_.Start(i);
    ASSERT_GE(cluster_.WaitForLeader(), 0);
  }

  template <typename Request, typename Response>
  grpc::Status Ask(int member,
                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request) {
    Connection& connection = cluster_.connection(member);
    return Call(connection, *connection.cluster, method, request).status;
  }
  uint64_t IdOf(int member) { return cluster_.Status(member).response.header().member_id(); }

  Cluster cluster_{{.size = 3, .joining = 1, .election_timeout = absl::Milliseconds(500)}};
};

TEST_F(Membership, AMemberJoinsAndTheLeaderLeaves) {
  ASSERT_TRUE(cluster_.Put(0, "k", "before").ok());
  MemberAddRequest add;
  add.add_peerurls("http://" + cluster_.peer_address(3));
  add.set_islearner(true);
  grpc::Status status;
  // The members are in the log once all have announced that they can read that.
  ASSERT_TRUE(Eventually(kSoon, [&] {
    status = Ask(1, &Stub::MemberAdd, add);
    return status.ok();
  })) << status.error_message();
  EXPECT_EQ(Ask(0, &Stub::MemberAdd, add).error_message(), "etcdserver: Peer URLs already exists");

  cluster_.Start(3);
  ASSERT_TRUE(Eventually(kSoon, [&] { return cluster_.Status(3).response.islearner(); }));
  EXPECT_EQ(cluster_.Put(3, "k", "v").status.error_message(),
            "etcdserver: rpc not supported for learner");
  MemberPromoteRequest promote;
  promote.set_id(IdOf(3));
  ASSERT_TRUE(Eventually(kSoon, [&] {
    status = Ask(2, &Stub::MemberPromote, promote);
    return status.ok();
  })) << status.error_message();
  ASSERT_TRUE(Eventually(kSoon, [&] { return cluster_.Put(3, "k", "after").ok(); }));

  const int leader = cluster_.WaitForLeader();
  ASSERT_GE(leader, 0);
  MemberRemoveRequest remove;
  remove.set_id(IdOf(leader));
  ASSERT_TRUE(Ask((leader + 1) % 3, &Stub::MemberRemove, remove).ok());
  EXPECT_EQ(cluster_.process(leader).Wait(kSoon), 0);
  EXPECT_THAT(cluster_.log(leader), HasSubstr("this member was removed from the cluster"));
  cluster_.Start(leader);
  EXPECT_EQ(cluster_.process(leader).Wait(kSoon), 2) << "a removed member does not start again";

  ASSERT_TRUE(Eventually(kSoon, [&] { return cluster_.Put(3, "k", "without").ok(); }));
  EXPECT_TRUE(cluster_.MembersAreEqual());
}

}  // namespace
}  // namespace raftkv::e2e
