// Cut logs and snapshots with real processes. RAFTKV_TEST_LOG_ENTRIES makes logs short, so that a
// member that was away for a moment needs a snapshot. With RAFTKV_SOAK=1 the state is larger and
// there are 50 rounds of kill -9 during a transfer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

bool Soak() { return std::getenv("RAFTKV_SOAK") != nullptr; }

std::map<std::string, std::string> ShortLog() { return {{"RAFTKV_TEST_LOG_ENTRIES", "100"}}; }

uint64_t BytesIn(const std::string& dir) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir, error)) {
    if (entry.is_regular_file(error)) bytes += entry.file_size(error);
  }
  return bytes;
}

class SnapshotOfProcesses : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  }
  void StartAll() {
    for (int i = 0; i < cluster.size(); ++i) cluster.Start(i, ShortLog());
    leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0);
  }
  // Puts values of 32 KiB (soak: 256 KiB) that do not compress.
  void Fill(int from, int to) {
    std::mt19937_64 random(from);
    std::string value(Soak() ? 256 << 10 : 32 << 10, 'x');
    for (int i = from; i < to; ++i) {
      for (size_t at = 0; at < value.size(); at += 8) value[at] = static_cast<char>(random());
      ASSERT_TRUE(cluster.Put(leader, absl::StrCat("key", i), value).ok()) << i;
    }
  }
  int Follower() const { return (leader + 1) % cluster.size(); }

  Cluster cluster{{}};
  int leader = -1;
};

TEST_F(SnapshotOfProcesses, MemberBehindACutLogCatchesUpUnderLoad) {
  StartAll();
  Traffic traffic(&cluster, TrafficOptions{});
  ASSERT_TRUE(traffic.WaitForAcknowledged(100, absl::Seconds(20)));
  leader = cluster.WaitForLeader();
  const int behind = Follower();
  cluster.Kill(behind);
  const int64_t cut_after = 600;
  ASSERT_TRUE(traffic.WaitForAcknowledged(cut_after, absl::Seconds(60)));
  std::this_thread::sleep_for(std::chrono::seconds(2));  // the state is flushed every second
  ASSERT_TRUE(traffic.WaitForAcknowledged(cut_after, absl::Seconds(60)));
  cluster.Start(behind, ShortLog());
  EXPECT_TRUE(Eventually(absl::Seconds(60), [&] {
    return cluster.log(behind).find("installing a snapshot") != std::string::npos;
  }));
  ASSERT_TRUE(traffic.WaitForAcknowledged(cut_after, absl::Seconds(60)));
  traffic.Stop();
  EXPECT_TRUE(cluster.MembersAreEqual());
  EXPECT_THAT(FindViolations(traffic.Collect()), IsEmpty());
}

TEST_F(SnapshotOfProcesses, KillsOfSenderAndReceiverDuringATransfer) {
  StartAll();
  int keys = 0;
  const int rounds = Soak() ? 50 : 2;
  Fill(keys, keys + 100), keys += 100;
  std::mt19937 random(7);
  for (int round = 0; round < rounds; ++round) {
    leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0);
    const int behind = Follower();
    cluster.Kill(behind);
    Fill(keys, keys + 260), keys += 260;  // more than the log keeps
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    Fill(keys, keys + 60), keys += 60;
    cluster.Start(behind, ShortLog());
    // Somewhere between the start of the process and a little after the install.
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 3000));
    const int victim = round % 2 == 0 ? behind : leader;
    cluster.Kill(victim);
    cluster.Start(victim, ShortLog());
    ASSERT_GE(cluster.WaitForLeader(), 0);
    ASSERT_TRUE(cluster.MembersAreEqual(absl::Seconds(60))) << "round " << round;
  }
  for (int i = 0; i < cluster.size(); ++i) {
    int states = 0;
    for (const auto& entry : std::filesystem::directory_iterator(cluster.data_dir(i))) {
      const std::string name = entry.path().filename().string();
      EXPECT_FALSE(name.starts_with("snapshot-")) << name;
      states += name.starts_with("sm");
    }
    EXPECT_EQ(states, 1) << cluster.name(i) << ": replaced states are removed";
  }
}

TEST_F(SnapshotOfProcesses, DiskUseIsBoundedUnderOverwrites) {
  if (!Soak()) GTEST_SKIP() << "takes a minute or more: RAFTKV_SOAK=1 (make soak)";
  StartAll();
  const std::string value(64 << 10, 'x');
  const int puts = 12'000;
  uint64_t most = 0;
  for (int i = 0; i < puts; ++i) {
    const auto put = cluster.Put(leader, absl::StrCat("key", i % 10), value);
    ASSERT_TRUE(put.ok()) << put.status.error_message();
    if (i % 500 != 0) continue;
    etcdserverpb::CompactionRequest compact;
    compact.set_revision(put.response.header().revision());
    Call(cluster.connection(leader), *cluster.connection(leader).kv,
         &etcdserverpb::KV::Stub::Compact, compact);
    most = std::max(most, BytesIn(cluster.data_dir(leader) + "/log"));
  }
  // 750 MiB were written. The rest is RocksDB's: write-ahead log, memory table, files of two
  // levels.
  EXPECT_LT(most, 230u << 20);
  const auto status = cluster.Status(leader);
  ASSERT_TRUE(status.ok());
  EXPECT_GT(status.response.dbsize(), status.response.dbsizeinuse());
  ASSERT_TRUE(cluster.Terminate(leader).has_value());
  cluster.Start(leader, ShortLog());
  EXPECT_TRUE(cluster.MembersAreEqual());
}

}  // namespace
}  // namespace raftkv::e2e
