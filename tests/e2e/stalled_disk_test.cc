// A leader whose disk stalls loses its leadership. A member whose disk fails ends. In both cases no
// acknowledged write is lost. fsync_shim.cc makes the disk stall or fail.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kAborted = 128 + 6;

class StalledDisk : public testing::Test {
 protected:
  void StartCluster(const std::string& limits) {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "Go programs do not call libc";
    cluster_ = std::make_unique<Cluster>(ClusterOptions{.limits = limits});
    for (int i = 0; i < cluster_->size(); ++i) StartWithShim(i);
    leader_ = cluster_->WaitForLeader();
    ASSERT_GE(leader_, 0);
    traffic_ = std::make_unique<Traffic>(cluster_.get(), TrafficOptions{});
    ASSERT_TRUE(traffic_->WaitForAcknowledged(500, absl::Seconds(20)));
  }

  std::string ShimFile(int i) const { return cluster_->dir() + "/" + cluster_->name(i) + ".shim"; }
  void StartWithShim(int i) {
    WriteFile(ShimFile(i), "");
    cluster_->Start(i,
                    {{"LD_PRELOAD", RAFTKV_FSYNC_SHIM_PATH}, {"RAFTKV_FSYNC_SHIM", ShimFile(i)}});
  }
  void SetDisk(int i, const std::string& behaviour) { WriteFile(ShimFile(i), behaviour); }

  // "SERVING", "NOT_SERVING", or the error message of the call.
  std::string Health(int i, const std::string& service = "") {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    const auto reply = Call(cluster_->connection(i), *cluster_->connection(i).health,
                            &grpc::health::v1::Health::Stub::Check, request);
    if (!reply.ok()) return reply.status.error_message();
    return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(reply.response.status());
  }

  // Within 5 s another member must lead and accept writes.
  void ExpectOthersServe() {
    const int other = (leader_ + 1) % cluster_->size();
    int tries = 0;
    EXPECT_TRUE(Eventually(absl::Seconds(5), [&] {
      Operation put = Observe(cluster_->connection(other), Operation::Kind::kPut, "attempt",
                              absl::StrCat("attempt", tries++), false, absl::Milliseconds(500));
      traffic_->Record(put);
      return put.outcome == Operation::Outcome::kOk;
    })) << "writes did not resume";
    const int now = cluster_->WaitForLeader();
    EXPECT_GE(now, 0);
    EXPECT_NE(now, leader_);
  }

  void ExpectNothingLost() {
    ASSERT_TRUE(traffic_->WaitForAcknowledged(500, absl::Seconds(20)));
    traffic_->Stop();
    ASSERT_TRUE(cluster_->MembersAreEqual());
    EXPECT_TRUE(cluster_->Running(0) && cluster_->Running(1) && cluster_->Running(2));
    EXPECT_THAT(FindViolations(traffic_->Collect()), IsEmpty());
  }

  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<Traffic> traffic_;
  int leader_ = -1;
};

TEST_F(StalledDisk, TheLeaderIsReplacedAndEndsAfterALongStall) {
  StartCluster("disk_stall_timeout = \"2s\"");
  if (IsSkipped() || HasFatalFailure()) return;
  SetDisk(leader_, "hang");
  ExpectOthersServe();
  EXPECT_EQ(cluster_->process(leader_).Wait(absl::Seconds(15)), kAborted);
  EXPECT_THAT(cluster_->log(leader_), HasSubstr("the disk has not answered for"));
  StartWithShim(leader_);
  ExpectNothingLost();
}

TEST_F(StalledDisk, TheLeaderIsReplacedAndFollowsWhenTheDiskComesBack) {
  StartCluster("disk_stall_timeout = \"60s\"\nrequest_timeout = \"61s\"");
  if (IsSkipped() || HasFatalFailure()) return;
  EXPECT_EQ(Health(leader_), "SERVING");
  SetDisk(leader_, "hang");
  ExpectOthersServe();
  // Of the gRPC methods, the member answers only health checks now.
  EXPECT_FALSE(cluster_->Status(leader_, absl::Milliseconds(300)).ok());
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return Health(leader_) == "NOT_SERVING"; }));
  EXPECT_EQ(Health(leader_, "no.such.Service"), "unknown service");
  Connection fresh(cluster_->client_address(leader_));
  EXPECT_TRUE(fresh.Ready()) << "a health check may use a new connection";
  EXPECT_FALSE(cluster_->Status(leader_, absl::Milliseconds(300)).ok())
      << "the disk must still hang";
  SetDisk(leader_, "");
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return Health(leader_) == "SERVING"; }));
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] {
    const auto status = cluster_->Status(leader_);
    return status.ok() && status.response.leader() != 0 &&
           status.response.leader() != status.response.header().member_id();
  })) << "it does not follow the new leader";
  ExpectNothingLost();
}

TEST_F(StalledDisk, AFailedSyncEndsTheProcess) {
  StartCluster("");
  if (IsSkipped() || HasFatalFailure()) return;
  SetDisk(leader_, "eio");
  ExpectOthersServe();
  EXPECT_EQ(cluster_->process(leader_).Wait(absl::Seconds(15)), kAborted);
  EXPECT_NE(cluster_->log(leader_).find("cannot be trusted"), std::string::npos)
      << "the last line says why";
  StartWithShim(leader_);
  ExpectNothingLost();
}

}  // namespace
}  // namespace raftkv::e2e
