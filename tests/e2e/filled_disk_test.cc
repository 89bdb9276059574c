// Members with default settings that fill their own disks: a tmpfs for each data directory. Without
// the right to mount one, these tests are skipped.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

constexpr size_t kValueBytes = 64 << 10;
constexpr char kNoSpace[] = "etcdserver: mvcc: database space exceeded";

class FilledDisk : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd does not watch its disk";
    cluster_ = std::make_unique<Cluster>(ClusterOptions{.size = GetParam()});
    for (int i = 0; i < cluster_->size(); ++i) {
      std::filesystem::create_directory(cluster_->data_dir(i));
      if (mount("none", cluster_->data_dir(i).c_str(), "tmpfs", 0, "size=300m,mode=0700") != 0) {
        GTEST_SKIP() << "cannot mount a tmpfs: this test needs root and CAP_SYS_ADMIN";
      }
      mounted_.push_back(cluster_->data_dir(i));
    }
    cluster_->StartAll();
    ASSERT_GE(cluster_->WaitForLeader(), 0);
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster_->Put(0, "k", "v").ok(); }));
  }
  void TearDown() override {
    for (int i = 0; cluster_ != nullptr && i < cluster_->size(); ++i) {
      if (cluster_->Running(i)) cluster_->Kill(i);
    }
    for (const std::string& dir : mounted_) umount2(dir.c_str(), MNT_DETACH);
  }

  // Clients put large values until each of them was denied several times because of the space.
  void Fill() {
    std::vector<std::thread> clients;
    for (int c = 0; c < 8; ++c) {
      clients.emplace_back([this, c] {
        Connection connection(cluster_->client_address(c % cluster_->size()));
        const std::string value(kValueBytes, static_cast<char>('a' + c));
        int denied = 0;
        for (int i = 0; denied < 20 && i < 100'000; ++i) {
          const std::string key = absl::StrCat("big/", c, "/", i);
          const auto put = e2e::Put(connection, key, value);
          const auto code = put.status.error_code();
          if (put.ok()) {
            absl::MutexLock lock(&mutex_);
            acknowledged_.insert(key);
          } else if (put.status.error_message() == kNoSpace) {
            ++denied;
          } else {
            EXPECT_TRUE(code == grpc::UNAVAILABLE || code == grpc::RESOURCE_EXHAUSTED)
                << code << ": " << put.status.error_message();
          }
        }
        EXPECT_EQ(denied, 20);
      });
    }
    for (std::thread& client : clients) client.join();
  }
  size_t Acknowledged() {
    absl::MutexLock lock(&mutex_);
    return acknowledged_.size();
  }
  int AcknowledgedThatAreMissing(int i) {
    etcdserverpb::RangeRequest request;
    request.set_key("big/");
    request.set_range_end("big0");
    request.set_keys_only(true);
    const auto range = e2e::Range(cluster_->connection(i), request);
    EXPECT_TRUE(range.ok()) << range.status.error_message();
    std::set<std::string> found;
    for (const auto& kv : range.response.kvs()) found.insert(kv.key());
    absl::MutexLock lock(&mutex_);
    int missing = 0;
    for (const std::string& key : acknowledged_) missing += !found.contains(key);
    return missing;
  }
  void DeleteAndCompact() {
    etcdserverpb::DeleteRangeRequest all;
    all.set_key("big/");
    all.set_range_end("big0");
    Connection& connection = cluster_->connection(0);
    const auto deleted =
        Call(connection, *connection.kv, &etcdserverpb::KV::Stub::DeleteRange, all);
    ASSERT_TRUE(deleted.ok()) << deleted.status.error_message();
    etcdserverpb::CompactionRequest compaction;
    compaction.set_revision(deleted.response.header().revision());
    compaction.set_physical(true);
    const auto compacted =
        Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Compact, compaction);
    ASSERT_TRUE(compacted.ok()) << compacted.status.error_message();
    for (int i = 0; i < cluster_->size(); ++i) {
      Connection& member = cluster_->connection(i);
      const auto defragmented =
          Call(member, *member.maintenance, &etcdserverpb::Maintenance::Stub::Defragment,
               etcdserverpb::DefragmentRequest());
      EXPECT_TRUE(defragmented.ok()) << defragmented.status.error_message();
    }
  }
  size_t Alarms() {
    Connection& connection = cluster_->connection(0);
    const auto alarms = Call(connection, *connection.maintenance,
                             &etcdserverpb::Maintenance::Stub::Alarm, etcdserverpb::AlarmRequest());
    return alarms.ok() ? static_cast<size_t>(alarms.response.alarms_size()) : 99;
  }

  std::unique_ptr<Cluster> cluster_;
  std::vector<std::string> mounted_;
  absl::Mutex mutex_;
  std::set<std::string> acknowledged_ ABSL_GUARDED_BY(mutex_);
};

TEST_P(FilledDisk, ByItsOwnWrites) {
  const int members = cluster_->size();
  Fill();
  EXPECT_GT(Acknowledged(), 0);
  for (int i = 0; i < members; ++i) {
    ASSERT_TRUE(cluster_->Running(i)) << cluster_->log(i);
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster_->Get(i, "k").ok(); }));
    EXPECT_TRUE(cluster_->Get(i, "k", /*serializable=*/true).ok());
  }

  for (int i = 0; i < members; ++i) cluster_->Kill(i);
  cluster_->StartAll();
  for (int i = 0; i < members; ++i) {
    ASSERT_TRUE(Eventually(absl::Seconds(30), [&] { return cluster_->Get(i, "k").ok(); }))
        << cluster_->log(i);
    EXPECT_EQ(AcknowledgedThatAreMissing(i), 0);
  }

  // What freed space: the level falls by itself, and puts are accepted again.
  ASSERT_NO_FATAL_FAILURE(DeleteAndCompact());
  EXPECT_TRUE(Eventually(absl::Seconds(60), [&] { return Alarms() == 0; })) << cluster_->log(0);
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
    return cluster_->Put(0, "k", std::string(kValueBytes, 'n')).ok();
  }));
  EXPECT_TRUE(cluster_->MembersAreEqual());
  for (int i = 0; i < members; ++i) EXPECT_EQ(cluster_->Terminate(i), 0) << cluster_->log(i);
}

// tests/e2e/space_test.cc ends one whose disk is full.
TEST_P(FilledDisk, EndsInOrderWhilePutsAreDenied) {
  Fill();
  EXPECT_GT(Acknowledged(), 0);
  for (int i = 0; i < cluster_->size(); ++i) {
    EXPECT_EQ(cluster_->Terminate(i), 0) << cluster_->log(i);
  }
}

INSTANTIATE_TEST_SUITE_P(Members, FilledDisk, testing::Values(1, 3));

}  // namespace
}  // namespace raftkv::e2e
