// Cut logs and snapshots with real processes. RAFTKV_TEST_LOG_ENTRIES makes logs short, so that a
// member that was away for a moment needs a snapshot. With RAFTKV_SOAK=1 there is more data, and
// there are 50 rounds of kill -9 during a transfer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

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
    for (int i = 0; i < cluster.size(); ++i) cluster.Start(i, ShortLog());
    leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0);
  }
  // Puts random values, so that they do not compress, over and over into the same keys.
  void Fill(int puts, size_t value_bytes) {
    std::string value(value_bytes, 'x');
    for (int i = 0; i < puts; ++i) {
      for (size_t at = 0; at < value.size(); at += 8) value[at] = static_cast<char>(random_());
      const std::string key = absl::StrCat("large", puts_++ % kLargeKeys);
      const auto put = cluster.Put(leader, key, value);
      ASSERT_TRUE(put.ok()) << put.status.error_message();
      acknowledged_[key] = std::hash<std::string>()(value);
    }
  }
  // Every value that Fill wrote last is there, as the member has it.
  void ExpectFilled(int member) {
    for (const auto& [key, hash] : acknowledged_) {
      const auto get = cluster.Get(member, key, /*serializable=*/true);
      ASSERT_EQ(get.response.kvs_size(), 1) << key << " " << get.status.error_message();
      EXPECT_EQ(std::hash<std::string>()(get.response.kvs(0).value()), hash) << key;
    }
  }
  // Deletes the keys of an earlier Traffic. Returns the revision of the store.
  int64_t DeleteTraffic() {
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(std::string(1, '\0'));
    request.set_range_end("l");
    const auto reply = Call(cluster.connection(leader), *cluster.connection(leader).kv,
                            &etcdserverpb::KV::Stub::DeleteRange, request);
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    return reply.response.header().revision();
  }
  void Compact(int64_t revision) {
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision);
    const auto reply = Call(cluster.connection(leader), *cluster.connection(leader).kv,
                            &etcdserverpb::KV::Stub::Compact, request);
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
  }
  int Follower() const { return (leader + 1) % cluster.size(); }
  // How many snapshots have begun to arrive at the member since its log file began.
  int Arrived(int member) const { return LinesWith(member, "a snapshot arrives from"); }
  // How many it has installed.
  int Installed(int member) const { return LinesWith(member, "installing a snapshot"); }

  Cluster cluster{{}};
  int leader = -1;

 private:
  static constexpr int kLargeKeys = 420;

  int LinesWith(int member, const std::string& text) const {
    int count = 0;
    const std::string log = cluster.log(member);
    for (size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++count;
    return count;
  }

  std::mt19937_64 random_{7};
  int puts_ = 0;
  std::map<std::string, size_t> acknowledged_;  // the hash of each key's last value
};

TEST_F(SnapshotOfProcesses, MemberBehindACutLogCatchesUpUnderLoad) {
  Traffic traffic(&cluster, TrafficOptions{});
  ASSERT_TRUE(traffic.WaitForAcknowledged(100, absl::Seconds(20)));
  const int behind = Follower();
  // The leader cuts its log after a flush. Usually once is enough.
  ASSERT_TRUE(Eventually(absl::Seconds(120), [&] {
    cluster.Kill(behind);
    EXPECT_TRUE(traffic.WaitForAcknowledged(1500, absl::Seconds(60)));
    cluster.Start(behind, ShortLog());
    EXPECT_TRUE(traffic.WaitForAcknowledged(1500, absl::Seconds(60)));
    return Installed(behind) > 0;
  }));
  traffic.Stop();
  EXPECT_TRUE(cluster.MembersAreEqual());
  EXPECT_THAT(FindViolations(traffic.Collect()), IsEmpty());
}

// A member hangs, and is far behind when it continues. Its process does not end, and its clients
// stay connected.
TEST_F(SnapshotOfProcesses, WatchesContinueOnAMemberThatInstallsOne) {
  const int behind = Follower();
  const auto context = MakeContext(absl::Minutes(2));
  ASSERT_TRUE(cluster.connection(behind).Ready());
  const auto stream = cluster.connection(behind).watch->Watch(context.get());
  etcdserverpb::WatchRequest watch;
  watch.mutable_create_request()->set_key("large");
  watch.mutable_create_request()->set_range_end("largf");
  ASSERT_TRUE(stream->Write(watch));
  etcdserverpb::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));
  int64_t last = response.header().revision();
  ASSERT_TRUE(Eventually(absl::Seconds(120), [&] {
    cluster.Pause(behind);
    Fill(1000, 100);  // the leader soon no longer keeps its log for this member
    cluster.Resume(behind);
    EXPECT_TRUE(cluster.MembersAreEqual());
    return Installed(behind) > 0;
  }));
  const int64_t end = cluster.Put(leader, "large", "end").response.header().revision();
  while (last < end) {
    ASSERT_TRUE(stream->Read(&response));
    ASSERT_FALSE(response.canceled()) << response.cancel_reason();
    for (const mvccpb::Event& event : response.events()) {
      ASSERT_EQ(event.kv().mod_revision(), last + 1) << "each once, and in order";
      ++last;
    }
  }
  context->TryCancel();
  stream->Finish();
}

TEST_F(SnapshotOfProcesses, KillsOfSenderAndReceiverDuringATransfer) {
  const int rounds = Soak() ? 50 : 2;
  const size_t bytes = Soak() ? 256 << 10 : 32 << 10;
  std::mt19937 random(7);
  Fill(100, bytes);
  int installed = 0, receivers_hit = 0, senders_hit = 0;
  for (int round = 0; round < rounds; ++round) {
    leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0);
    const int behind = Follower();
    const int before = Installed(behind), arrived_before = Arrived(behind);
    cluster.Kill(behind);
    // Longer than a few flushes take: the leader cuts its log only up to what is flushed.
    for (int i = 0; i < 16; ++i) {
      Fill(20, bytes);
      std::this_thread::sleep_for(std::chrono::milliseconds(40));
    }
    const int64_t revision = DeleteTraffic();
    Compact(revision);  // so that the snapshots do not become larger with each round
    Traffic traffic(&cluster,
                    {.seed = static_cast<uint64_t>(round) + 1, .start_revision = revision});
    cluster.Start(behind, ShortLog());
    // Mostly between the first chunk and a little after the install, sometimes before.
    if (round % 5 != 4) {
      Eventually(absl::Seconds(5), [&] { return Arrived(behind) > arrived_before; });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % (Soak() ? 3000 : 500)));
    const int victim = round % 2 == 0 ? behind : leader;
    const bool hit = Arrived(behind) - arrived_before > Installed(behind) - before;
    (victim == behind ? receivers_hit : senders_hit) += hit;
    cluster.Kill(victim);
    cluster.Start(victim, ShortLog());
    ASSERT_GE(cluster.WaitForLeader(), 0);
    ASSERT_TRUE(traffic.WaitForAcknowledged(100, absl::Seconds(60)));
    traffic.Stop();
    ASSERT_TRUE(cluster.MembersAreEqual(absl::Seconds(60))) << "round " << round;
    ExpectFilled(behind);
    EXPECT_THAT(FindViolations(traffic.Collect()), IsEmpty()) << "round " << round;
    installed += Installed(behind) - before;
  }
  std::cout << installed << " snapshots were installed in " << rounds << " rounds; "
            << receivers_hit << " receivers and " << senders_hit
            << " senders were killed while one was on its way\n";
  EXPECT_GT(installed, 0);
  if (Soak()) {
    EXPECT_GE(receivers_hit, 5);
    EXPECT_GE(senders_hit, 5);
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
  const std::string value(64 << 10, 'x');
  const int puts = 12'000;
  uint64_t largest_log = 0, largest_state = 0;
  const std::string reserve = cluster.data_dir(leader) + "/RESERVE";
  for (int i = 0; i < puts; ++i) {
    const auto put = cluster.Put(leader, absl::StrCat("key", i % 10), value);
    ASSERT_TRUE(put.ok()) << put.status.error_message();
    if (i % 500 != 0) continue;
    Compact(put.response.header().revision());
    const uint64_t log = BytesIn(cluster.data_dir(leader) + "/log");
    largest_log = std::max(largest_log, log);
    std::error_code error;  // there is no reserve until there is space for it
    const uint64_t reserved = std::filesystem::file_size(reserve, error);
    largest_state =
        std::max(largest_state, BytesIn(cluster.data_dir(leader)) - log - (error ? 0 : reserved));
  }
  std::cout << "largest log: " << (largest_log >> 20)
            << " MiB, largest state: " << (largest_state >> 20) << " MiB\n";
  // 750 MiB were written. The rest is RocksDB's: write-ahead log, memory table, files of two
  // levels.
  EXPECT_LT(largest_log, 230u << 20);
  EXPECT_LT(largest_state, 230u << 20);
  const auto status = cluster.Status(leader);
  ASSERT_TRUE(status.ok());
  EXPECT_GT(status.response.dbsize(), status.response.dbsizeinuse());
  ASSERT_TRUE(cluster.Terminate(leader).has_value());
  cluster.Start(leader, ShortLog());
  EXPECT_TRUE(cluster.MembersAreEqual());
}

}  // namespace
}  // namespace raftkv::e2e
