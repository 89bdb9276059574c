// Alarms, and a member whose disk is nearly full or full. The disk is a small tmpfs that is mounted
// as the member's data directory; without the right to mount one, these tests are skipped.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::AlarmRequest;
using testing::HasSubstr;

constexpr char kNoSpaceText[] = "etcdserver: mvcc: database space exceeded";
constexpr char kCorruptText[] = "etcdserver: corrupt cluster";

Reply<etcdserverpb::AlarmResponse> Alarm(Connection& connection, AlarmRequest::AlarmAction action,
                                         etcdserverpb::AlarmType type = etcdserverpb::NONE,
                                         uint64_t member = 0) {
  AlarmRequest request;
  request.set_action(action);
  request.set_alarm(type);
  request.set_memberid(member);
  return Call(connection, *connection.maintenance, &etcdserverpb::Maintenance::Stub::Alarm,
              request);
}

Reply<etcdserverpb::TxnResponse> PutInTxn(Connection& connection) {
  etcdserverpb::TxnRequest request;
  auto& put = *request.add_failure()->mutable_request_put();
  put.set_key("k");
  return Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Txn, request);
}

Reply<etcdserverpb::LeaseGrantResponse> Grant(Connection& connection, int64_t id) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_id(id);
  request.set_ttl(1000);
  return Call(connection, *connection.lease, &etcdserverpb::Lease::Stub::LeaseGrant, request);
}

Reply<etcdserverpb::LeaseRevokeResponse> Revoke(Connection& connection, int64_t id) {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(id);
  return Call(connection, *connection.lease, &etcdserverpb::Lease::Stub::LeaseRevoke, request);
}

Reply<etcdserverpb::CompactionResponse> Compact(Connection& connection, int64_t revision) {
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision);
  return Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Compact, request);
}

template <typename Response>
void ExpectFails(const Reply<Response>& reply, grpc::StatusCode code, const char* text) {
  EXPECT_EQ(reply.status.error_code(), code) << reply.status.error_message();
  EXPECT_EQ(reply.status.error_message(), text);
}

template <typename Response>
void ExpectOk(const Reply<Response>& reply) {
  EXPECT_TRUE(reply.ok()) << reply.status.error_message();
}

// Also holds for etcd 3.4, except that it answers ranges under CORRUPT.
TEST(Alarms, DenyWhatTheyDenyInEtcd) {
  Cluster cluster({});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  Connection& a = cluster.connection(0);
  Connection& b = cluster.connection(1);
  ExpectOk(Grant(a, 7));
  ExpectOk(cluster.Put(0, "k", "v"));
  const int64_t revision = cluster.Put(0, "k", "v2").response.header().revision();

  auto raised = Alarm(a, AlarmRequest::ACTIVATE, etcdserverpb::NOSPACE, 5);
  ExpectOk(raised);
  ASSERT_EQ(raised.response.alarms_size(), 1);
  EXPECT_EQ(raised.response.alarms(0).memberid(), 5);
  ExpectFails(e2e::Put(b, "k", "v"), grpc::RESOURCE_EXHAUSTED, kNoSpaceText);
  ExpectFails(PutInTxn(b), grpc::RESOURCE_EXHAUSTED, kNoSpaceText);
  ExpectFails(Grant(b, 8), grpc::RESOURCE_EXHAUSTED, kNoSpaceText);
  ExpectOk(e2e::Range(b, GetRequest("k")));
  ExpectOk(Delete(b, "k"));
  ExpectOk(Compact(b, revision));
  ExpectOk(Revoke(b, 7));
  EXPECT_THAT(cluster.Status(1).response.errors(), testing::Contains("memberID:5 alarm:NOSPACE "));

  ExpectOk(Alarm(a, AlarmRequest::ACTIVATE, etcdserverpb::CORRUPT));
  if (ProductUnderTest() == Product::kRaftkv) {
    ExpectFails(e2e::Range(b, GetRequest("k")), grpc::DATA_LOSS, kCorruptText);
  }
  ExpectFails(Delete(b, "k"), grpc::DATA_LOSS, kCorruptText);
  ExpectFails(Compact(b, revision + 1), grpc::DATA_LOSS, kCorruptText);
  EXPECT_EQ(Alarm(b, AlarmRequest::GET).response.alarms_size(), 2);
  EXPECT_EQ(Alarm(b, AlarmRequest::GET, etcdserverpb::NOSPACE).response.alarms_size(), 1);

  ExpectOk(Alarm(b, AlarmRequest::DEACTIVATE, etcdserverpb::CORRUPT));
  EXPECT_EQ(Alarm(b, AlarmRequest::DEACTIVATE, etcdserverpb::NOSPACE, 5).response.alarms_size(), 1);
  EXPECT_EQ(Alarm(b, AlarmRequest::DEACTIVATE, etcdserverpb::NOSPACE, 5).response.alarms_size(), 0);
  ExpectOk(e2e::Put(a, "k", "v"));
}

class SmallDisk : public testing::Test {
 protected:
  static constexpr uint64_t kMiB = 1 << 20;

  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd does not watch its disk";
    cluster_ = std::make_unique<Cluster>(
        ClusterOptions{.storage = absl::StrCat("min_free_bytes = ", 64 * kMiB)});
    std::filesystem::create_directory(disk());
    if (mount("none", disk().c_str(), "tmpfs", 0, "size=320m,mode=0700") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs: this test needs root and CAP_SYS_ADMIN";
    }
    mounted_ = true;
    cluster_->StartAll();
    ASSERT_GE(cluster_->WaitForLeader(), 0);
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster_->Put(0, "k", "v").ok(); }));
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return HasReserve(); }));
  }
  void TearDown() override {
    for (int i = 0; cluster_ != nullptr && i < cluster_->size(); ++i) {
      if (cluster_->Running(i)) cluster_->Kill(i);
    }
    if (mounted_) umount2(disk_.c_str(), MNT_DETACH);
    cluster_.reset();
  }

  std::string disk() {
    if (disk_.empty()) disk_ = cluster_->data_dir(0);
    return disk_;
  }
  // The file is complete once it has a size.
  bool HasReserve() {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(disk() + "/RESERVE", error);
    return !error && bytes > 0;
  }
  uint64_t Free() {
    struct statvfs info;
    statvfs(disk().c_str(), &info);
    return info.f_bavail * info.f_frsize;
  }
  // As another program would: takes up space until `free` bytes are left.
  void LeaveFree(uint64_t free) {
    const std::string path = disk() + "/of-another-program";
    struct stat info = {};
    const uint64_t before =
        stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
    const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    const uint64_t size = before + Free() > free ? before + Free() - free : 0;
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(std::min(size, before))), 0);
    if (size > before) {
      EXPECT_EQ(posix_fallocate(fd, 0, static_cast<off_t>(size)), 0);
    }
    close(fd);
  }
  bool PutsAreDenied(int i) {
    return cluster_->Put(i, "denied", "v").status.error_message() == kNoSpaceText;
  }
  bool OutOfSpace() {
    const auto status = cluster_->Status(0);
    for (const std::string& error : status.response.errors()) {
      if (error.find("the disk of this member is full") != std::string::npos) return true;
    }
    return false;
  }
  std::string Health(int i) {
    const auto reply =
        Call(cluster_->connection(i), *cluster_->connection(i).health,
             &grpc::health::v1::Health::Stub::Check, grpc::health::v1::HealthCheckRequest());
    return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(reply.response.status());
  }
  void ExpectAllWell() {
    EXPECT_TRUE(Eventually(absl::Seconds(30), [&] { return cluster_->Put(0, "k", "v").ok(); }));
    EXPECT_EQ(Alarm(cluster_->connection(1), AlarmRequest::GET).response.alarms_size(), 0);
    EXPECT_TRUE(cluster_->MembersAreEqual());
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return HasReserve(); }));
  }

  std::unique_ptr<Cluster> cluster_;
  std::string disk_;
  bool mounted_ = false;
};

TEST_F(SmallDisk, WithLittleSpacePutsAreDeniedUntilThereIsMore) {
  const int64_t revision = cluster_->Put(0, "a", "v").response.header().revision();
  LeaveFree(40 * kMiB);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return PutsAreDenied(1); }));
  EXPECT_TRUE(PutsAreDenied(0));
  ExpectOk(cluster_->Get(0, "a"));
  ExpectOk(Delete(cluster_->connection(0), "a"));
  ExpectOk(Compact(cluster_->connection(0), revision));
  const auto alarms = Alarm(cluster_->connection(1), AlarmRequest::GET);
  ASSERT_EQ(alarms.response.alarms_size(), 1);
  EXPECT_EQ(alarms.response.alarms(0).memberid(),
            cluster_->Status(0).response.header().member_id());
  EXPECT_THAT(cluster_->log(0), HasSubstr("(storage.min_free_bytes)"));
  // If an operator disarms the alarm, the member raises it again.
  ExpectOk(Alarm(cluster_->connection(1), AlarmRequest::DEACTIVATE, etcdserverpb::NOSPACE,
                 alarms.response.alarms(0).memberid()));
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return PutsAreDenied(1); }));

  cluster_->Kill(0);
  EXPECT_TRUE(PutsAreDenied(1)) << "the alarm is in the log";
  cluster_->Start(0);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster_->Get(0, "k").ok(); }));
  EXPECT_TRUE(PutsAreDenied(0));
  LeaveFree(200 * kMiB);
  ExpectAllWell();
}

TEST_F(SmallDisk, AFullDiskNeitherEndsAMemberNorKeepsItDown) {
  const auto context = MakeContext(absl::Seconds(60));
  const auto watch = cluster_->connection(0).watch->Watch(context.get());
  etcdserverpb::WatchRequest create;
  create.mutable_create_request()->set_key("k");
  ASSERT_TRUE(watch->Write(create));
  LeaveFree(kMiB / 4);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return OutOfSpace(); }));
  // It stores no entries, so clients must use another member: their calls would wait in vain.
  for (etcdserverpb::WatchResponse response; watch->Read(&response);) {
  }
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(cluster_->Put(0, "k", "v").status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(cluster_->Get(0, "k").status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(HasReserve()) << "it gives its space back";
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return Health(0) == "NOT_SERVING"; }));
  ExpectOk(cluster_->Get(0, "k", /*serializable=*/true));
  // The others go on without it.
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return PutsAreDenied(1); }));
  for (int i = 0; i < 50; ++i) ExpectOk(Delete(cluster_->connection(2), "x"));
  const auto leads = [&](int i) {
    const auto status = cluster_->Status(i).response;
    return status.leader() != 0 && status.leader() == status.header().member_id();
  };
  EXPECT_TRUE(leads(1) || leads(2));
  EXPECT_TRUE(cluster_->Running(0));

  cluster_->Kill(0);
  LeaveFree(0);
  cluster_->Start(0);
  EXPECT_EQ(cluster_->process(0).Wait(absl::Seconds(20)), 1);
  EXPECT_THAT(cluster_->log(0), HasSubstr("the disk is full: the start needs about"));
  LeaveFree(200 * kMiB);
  cluster_->Start(0);
  ExpectAllWell();
}

TEST_F(SmallDisk, AFullMemberEndsInOrder) {
  LeaveFree(0);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return OutOfSpace(); }));
  EXPECT_EQ(cluster_->Terminate(0), 0) << cluster_->log(0);
}

TEST_F(SmallDisk, TheReserveIsEnoughToStart) {
  cluster_->Kill(0);
  LeaveFree(0);
  cluster_->Start(0);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return OutOfSpace(); })) << cluster_->log(0);
  EXPECT_THAT(cluster_->log(0), HasSubstr("so that there is room to start"));
  ExpectOk(cluster_->Get(0, "k", /*serializable=*/true));
  LeaveFree(200 * kMiB);
  ExpectAllWell();
}

}  // namespace
}  // namespace raftkv::e2e
