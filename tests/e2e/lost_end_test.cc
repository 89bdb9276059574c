// The write-ahead log of a member is cut, so that its log lacks entries that it had acknowledged
// (docs/decisions/0022).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class LostEnd : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
    cluster.StartAll();
    a = cluster.WaitForLeader();
    ASSERT_GE(a, 0);
    b = (a + 1) % 3;
    c = (a + 2) % 3;
    for (int i = 0; i < kWrites; ++i) ASSERT_TRUE(cluster.Put(a, Key(i), "v").ok());
    ASSERT_TRUE(cluster.MembersAreEqual());
  }

  static std::string Key(int i) { return absl::StrCat("key", i); }
  void CutWal(int member) {
    std::string newest;
    for (const fs::directory_entry& file :
         fs::directory_iterator(cluster.data_dir(member) + "/log")) {
      const bool holds = file.path().extension() == ".log" && file.file_size() > 10;
      if (holds) newest = std::max(newest, file.path().string());
    }
    ASSERT_FALSE(newest.empty());
    fs::resize_file(newest, fs::file_size(newest) - 10);
  }
  std::string Errors(int member) {
    const auto status = cluster.Status(member);
    std::string all;
    for (const std::string& error : status.response.errors()) absl::StrAppend(&all, error, "\n");
    return all;
  }
  bool Serving(int member) {
    const auto health =
        Call(cluster.connection(member), *cluster.connection(member).health,
             &grpc::health::v1::Health::Stub::Check, grpc::health::v1::HealthCheckRequest());
    return health.response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  }
  uint32_t HashKv(int member) {
    const auto hash = Call(cluster.connection(member), *cluster.connection(member).maintenance,
                           &etcdserverpb::Maintenance::Stub::HashKV, etcdserverpb::HashKVRequest());
    EXPECT_TRUE(hash.ok()) << hash.status.error_message();
    return hash.response.hash();
  }
  void ExpectNothingLost() {
    ASSERT_TRUE(cluster.MembersAreEqual());
    EXPECT_EQ(HashKv(c), HashKv(a));
    for (int i = 0; i < kWrites; ++i) {
      EXPECT_EQ(cluster.Get(c, Key(i)).response.count(), 1) << Key(i);
    }
  }

  static constexpr int kWrites = 20;
  Cluster cluster{
      {.heartbeat_interval = absl::Milliseconds(50), .election_timeout = absl::Milliseconds(500)}};
  int a = -1, b = -1, c = -1;
};

TEST_F(LostEnd, IsRepairedByTheLeaderWithoutVotingFirst) {
  cluster.Kill(c);
  CutWal(c);
  cluster.Kill(a);
  cluster.Start(c);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
    return absl::StrContains(Errors(c), "the log lost entries ");
  })) << cluster.log(c);
  EXPECT_THAT(cluster.log(c),
              HasSubstr("which this member had acknowledged; a leader sends "
                        "them again, and this member does not vote before it has them"));
  EXPECT_FALSE(Serving(c));
  // The vote of c would make b the leader.
  EXPECT_FALSE(cluster.Put(b, "needs a leader", "v", absl::Seconds(2)).ok());
  cluster.Start(a);
  ASSERT_GE(cluster.WaitForLeader(), 0);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
    return absl::StrContains(cluster.log(c), "the log is repaired: ");
  })) << cluster.log(c);
  EXPECT_TRUE(Serving(c));
  EXPECT_EQ(Errors(c), "");
  ExpectNothingLost();
  // It votes again.
  cluster.Kill(a);
  ASSERT_GE(cluster.WaitForLeader(), 0);
  EXPECT_TRUE(cluster.Put(b, "after", "v").ok());
}

// No leader sends it anything, so it asks the others.
TEST_F(LostEnd, OfAMemberThatWasRemovedMeanwhileEndsIt) {
  cluster.Kill(c);
  CutWal(c);
  etcdserverpb::MemberRemoveRequest remove;
  const auto members =
      Call(cluster.connection(a), *cluster.connection(a).cluster,
           &etcdserverpb::Cluster::Stub::MemberList, etcdserverpb::MemberListRequest());
  for (const etcdserverpb::Member& member : members.response.members()) {
    if (member.name() == cluster.name(c)) remove.set_id(member.id());
  }
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
    return Call(cluster.connection(a), *cluster.connection(a).cluster,
                &etcdserverpb::Cluster::Stub::MemberRemove, remove)
        .ok();
  }));
  cluster.Start(c);
  EXPECT_EQ(cluster.process(c).Wait(absl::Seconds(20)), 0) << cluster.log(c);
  EXPECT_THAT(cluster.log(c), HasSubstr("this member was removed from the cluster"));
}

TEST_F(LostEnd, ThatTheStateHasIsNoLoss) {
  ASSERT_EQ(cluster.Terminate(c), 0);
  CutWal(c);
  cluster.Start(c);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return Serving(c); })) << cluster.log(c);
  EXPECT_THAT(cluster.log(c), HasSubstr("the state has them, so they are not missing"));
  ExpectNothingLost();
}

}  // namespace
}  // namespace raftkv::e2e
