// An operator puts an older copy of a member's data directory back (docs/decisions/0017).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;

class OldCopy : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
    cluster.StartAll();
    a = cluster.WaitForLeader();
    ASSERT_GE(a, 0);
    b = (a + 1) % 3;
    c = (a + 2) % 3;
    Fill(a, "before", 10);
  }

  void Fill(int member, const std::string& key, int count) {
    for (int i = 0; i < count; ++i) {
      const auto put = cluster.Put(member, absl::StrCat(key, i), "v");
      ASSERT_TRUE(put.ok()) << put.status.error_message();
    }
  }
  std::string copy_path() const { return cluster.dir() + "/copy"; }
  void TakeCopy(int member) {
    ASSERT_EQ(cluster.Terminate(member), 0);
    std::filesystem::copy(cluster.data_dir(member), copy_path(),
                          std::filesystem::copy_options::recursive);
    cluster.Start(member);
    ASSERT_TRUE(cluster.MembersAreEqual());
  }
  void PutCopyBack(int member) {
    cluster.Wipe(member);
    std::filesystem::rename(copy_path(), cluster.data_dir(member));
    cluster.Start(member);
  }
  std::string Errors(int member) {
    const auto status = cluster.Status(member);
    std::string all;
    for (const std::string& error : status.response.errors()) absl::StrAppend(&all, error, "\n");
    return all;
  }
  bool Halted(int member) { return absl::StrContains(Errors(member), "halted: "); }
  bool Serving(int member) {
    const auto health =
        Call(cluster.connection(member), *cluster.connection(member).health,
             &grpc::health::v1::Health::Stub::Check, grpc::health::v1::HealthCheckRequest());
    return health.response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  }

  // Leader A; copy C; stop A; writes to B and C; stop both; put the copy of C back; start A and C.
  void MakeTwoHistories() {
    TakeCopy(c);
    cluster.Kill(a);
    ASSERT_GE(cluster.WaitForLeader(), 0);
    Fill(b, "acknowledged", 200);
    ASSERT_EQ(cluster.Terminate(b), 0);
    cluster.Kill(c);
    PutCopyBack(c);
    cluster.Start(a);
    ASSERT_GE(cluster.WaitForLeader(), 0);
  }
  void ExpectTwoHistoriesAreFound() {
    Fill(a, "other", 5);
    cluster.Start(b);
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return Halted(b); })) << cluster.log(b);
    EXPECT_THAT(Errors(b), HasSubstr("contradicts the log of this member at entry"));
    EXPECT_FALSE(Serving(b));
    EXPECT_THAT(cluster.log(b), HasSubstr("this member has halted"));
    // The others have acknowledged "other", and do not have what B has acknowledged.
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return Halted(a) || Halted(c); }));
    EXPECT_FALSE(cluster.Put(a, "more", "v", absl::Seconds(2)).ok());
    EXPECT_FALSE(cluster.Put(c, "more", "v", absl::Seconds(2)).ok());
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(cluster.Running(i));
    // The contradiction is found again after a restart.
    cluster.Kill(b);
    cluster.Kill(a);
    cluster.Kill(c);
    cluster.StartAll();
    EXPECT_TRUE(
        Eventually(absl::Seconds(30), [&] { return Halted(b) && (Halted(a) || Halted(c)); }));
  }

  Cluster cluster{
      {.heartbeat_interval = absl::Milliseconds(50), .election_timeout = absl::Milliseconds(500)}};
  int a = -1, b = -1, c = -1;
};

TEST_F(OldCopy, ThatMadeAnotherHistoryInTheSameTermIsFound) {
  MakeTwoHistories();
  ExpectTwoHistoriesAreFound();
}

TEST_F(OldCopy, ThatMadeAnotherHistoryInALaterTermIsFound) {
  MakeTwoHistories();
  for (int i = 0; i < 2; ++i) {
    cluster.Kill(a);
    cluster.Start(a);
    ASSERT_GE(cluster.WaitForLeader(), 0);
  }
  ExpectTwoHistoriesAreFound();
}

TEST_F(OldCopy, OfAFollowerIsExcludedAndTheOthersGoOn) {
  TakeCopy(c);
  Fill(a, "acknowledged", 100);
  // C must have acknowledged what its copy lacks. It may connect to the leader later than the puts
  // are committed.
  ASSERT_TRUE(cluster.MembersAreEqual());
  cluster.Kill(c);
  PutCopyBack(c);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return Halted(c); })) << cluster.log(c);
  EXPECT_THAT(Errors(c), HasSubstr("replace it (raftkv member replace)"));
  EXPECT_FALSE(Serving(c));
  const auto get = cluster.Get(c, "before0", /*serializable=*/true);
  EXPECT_EQ(get.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  Fill(a, "after", 3);
  EXPECT_FALSE(Halted(a));
  EXPECT_FALSE(Halted(b));
}

}  // namespace
}  // namespace raftkv::e2e
