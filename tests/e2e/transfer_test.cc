// Leadership moves to another member: when it is asked for (MoveLeader), and when the leader stops.
// No call of a client fails.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/e2e/writers.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kTransferClients = 64;

class Transfer : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartAll();
    ASSERT_GE(cluster_.WaitForLeader(), 0);
  }

  uint64_t IdOf(int member) { return cluster_.Status(member).response.header().member_id(); }

  grpc::Status Move(int asked, uint64_t target) {
    etcdserverpb::MoveLeaderRequest request;
    request.set_targetid(target);
    return Call(cluster_.connection(asked), *cluster_.connection(asked).maintenance,
                &etcdserverpb::Maintenance::Stub::MoveLeader, request)
        .status;
  }

  // How often a member asked for votes because it had not heard from a leader for too long.
  int Elections() const {
    int count = 0;
    for (int i = 0; i < cluster_.size(); ++i) {
      const std::string log = cluster_.log(i);
      for (size_t at = 0; (at = log.find("no leader heard: asking", at)) != std::string::npos;
           ++at) {
        ++count;
      }
    }
    return count;
  }

  Cluster cluster_{ClusterOptions()};
};

TEST_F(Transfer, ErrorsAreEtcds) {
  const int leader = cluster_.WaitForLeader();
  const int follower = (leader + 1) % cluster_.size();
  const auto expect = [](const grpc::Status& status, const char* text) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(status.error_message(), text);
  };
  expect(Move(follower, IdOf(follower)), "etcdserver: not leader");
  expect(Move(follower, 7), "etcdserver: not leader");
  expect(Move(leader, 7), "etcdserver: bad leader transferee");
  expect(Move(leader, 0), "etcdserver: bad leader transferee");
  EXPECT_TRUE(Move(leader, IdOf(leader)).ok()) << "it leads already";
}

// The target hangs. Writes continue after an election timeout.
TEST_F(Transfer, ToAMemberThatDoesNotAnswerIsGivenUp) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd waits until the call's deadline";
  const int leader = cluster_.WaitForLeader();
  const int target = (leader + 1) % cluster_.size();
  const uint64_t id = IdOf(target);
  cluster_.Pause(target);
  const grpc::Status status = Move(leader, id);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(status.error_message(), "etcdserver: request timed out, leader transfer took too long");
  EXPECT_TRUE(cluster_.Put(leader, "k", "v").ok());
  cluster_.Resume(target);
}

TEST_F(Transfer, UnderLoadFailsNoWrite) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "some writes time out";
  Writers writers(cluster_.client_addresses(), kTransferClients);
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(writers.WaitFor(500));
    const int leader = cluster_.WaitForLeader();
    ASSERT_GE(leader, 0);
    const int target = (leader + 1 + i % 2) % cluster_.size();
    const uint64_t id = IdOf(target);
    const grpc::Status status = Move(leader, id);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(cluster_.Status(leader).response.leader(), id);
  }
  EXPECT_TRUE(writers.WaitFor(500));
  EXPECT_THAT(writers.Stop(), IsEmpty());
  EXPECT_TRUE(cluster_.MembersAreEqual());
  for (int i = 0; i < cluster_.size(); ++i) EXPECT_THAT(cluster_.Warnings(i), IsEmpty());
}

// All members are restarted, one after the other; the leader hands its leadership over first.
TEST_F(Transfer, ARollingRestartFailsNoWrite) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "some writes time out";
  Writers writers(cluster_.client_addresses(), kTransferClients);
  int led = 0;
  const int elections = Elections();
  for (int member = 0; member < cluster_.size(); ++member) {
    ASSERT_TRUE(writers.WaitFor(1000));
    led += cluster_.WaitForLeader() == member;
    ASSERT_EQ(cluster_.Terminate(member), 0) << cluster_.log(member);
    EXPECT_THAT(cluster_.log(member), testing::Not(HasSubstr("took over in time")));
    ASSERT_TRUE(writers.WaitFor(1000));
    cluster_.Start(member);
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster_.Put(member, "k", "v").ok(); }));
  }
  EXPECT_GE(led, 1) << "some member led when it was restarted";
  EXPECT_EQ(Elections(), elections) << "an election timeout passed";
  EXPECT_THAT(writers.Stop(), IsEmpty());
  for (int i = 0; i < cluster_.size(); ++i) EXPECT_THAT(cluster_.Warnings(i), IsEmpty());
  EXPECT_TRUE(cluster_.MembersAreEqual());
}

}  // namespace
}  // namespace raftkv::e2e
