// Backups of real processes: saved under load, restored into a new cluster.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::HashKVRequest;
using testing::HasSubstr;
using testing::StartsWith;

constexpr absl::Duration kBackupWaitMax = absl::Seconds(30);

Finished Raftkv(std::vector<std::string> arguments, const std::string& endpoint = "",
                const std::string& directory = "") {
  arguments.insert(arguments.begin(), BuiltProgram("raftkv"));
  if (!endpoint.empty()) arguments.push_back("--endpoints=" + endpoint);
  return RunToEnd({.argv = std::move(arguments), .directory = directory}, absl::Minutes(1));
}

// The number after `name` in a JSON object.
int64_t NumberIn(const std::string& json, const std::string& name) {
  int64_t number = -1;
  const std::string key = "\"" + name + "\":";
  const size_t at = json.find(key);
  if (at == std::string::npos) return number;
  const size_t begin = at + key.size();
  (void)absl::SimpleAtoi(json.substr(begin, json.find_first_of(",}", begin) - begin), &number);
  return number;
}

std::string KeysAt(Connection& connection, int64_t revision) {
  const auto range = Range(connection, EverythingRequest(revision, /*serializable=*/false));
  EXPECT_TRUE(range.ok()) << range.status.error_message();
  std::string all;
  for (const mvccpb::KeyValue& kv : range.response.kvs()) all += kv.SerializeAsString() + "\n";
  return all;
}

class Backup : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv";
  }
  // Restores the member of `cluster` from the file.
  static Finished RestoreTo(const Cluster& cluster, int member, const std::string& file,
                            std::vector<std::string> flags = {}) {
    std::vector<std::string> arguments = {
        "snapshot", "restore", file, "-c", cluster.config_path(), "-n", cluster.name(member)};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return Raftkv(arguments, "", cluster.dir());  // data_dir in the file is relative
  }
  // The members of `restored` are restored, and have not started. The config file of member 0 is
  // edited. The check and the start say the same.
  static void ExpectAnEditRejected(const Cluster& restored) {
    Command start = restored.ServerCommand(0);
    start.argv[2] = restored.dir() + "/edited.toml";
    const std::string url = "http://" + restored.peer_address(1), other = "http://127.0.0.1:1";
    WriteFile(start.argv[2], absl::StrReplaceAll(ReadFile(restored.config_path()), {{url, other}}));
    Command check = start;
    check.argv.push_back("--check-config");
    const Finished checked = RunToEnd(check), started = RunToEnd(start);
    EXPECT_EQ(checked.exit_code, 2) << checked.out;
    EXPECT_EQ(started.exit_code, 2) << started.err;
    EXPECT_THAT(checked.err, HasSubstr("(only the config file has n2 at " + other +
                                       "; only the restore had n2 at " + url + ")"));
    EXPECT_THAT(started.err, HasSubstr(checked.err));
  }
  static int Checkpoints(const Cluster& cluster) {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(cluster.data_dir(0))) {
      count += entry.path().filename().string().starts_with("snapshot-");
    }
    return count;
  }

  // What every member serves of the state that was saved.
  static void ExpectLeaseAndOneHash(Cluster& cluster, int64_t lease) {
    std::set<uint32_t> hashes;
    for (int i = 0; i < cluster.size(); ++i) {
      Connection& connection = cluster.connection(i);
      const auto hash = Call(connection, *connection.maintenance,
                             &etcdserverpb::Maintenance::Stub::HashKV, HashKVRequest());
      ASSERT_TRUE(hash.ok());
      hashes.insert(hash.response.hash());
      etcdserverpb::LeaseTimeToLiveRequest request;
      request.set_id(lease);
      const auto left =
          Call(connection, *connection.lease, &etcdserverpb::Lease::Stub::LeaseTimeToLive, request);
      EXPECT_GT(left.response.ttl(), 0) << "the lease goes on";
    }
    EXPECT_EQ(hashes.size(), 1u);
  }
  static void PutWithLease(Connection& connection, int64_t lease) {
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_id(lease);
    grant.set_ttl(600);
    ASSERT_TRUE(
        Call(connection, *connection.lease, &etcdserverpb::Lease::Stub::LeaseGrant, grant).ok());
    etcdserverpb::PutRequest put;
    put.set_key("leased");
    put.set_lease(lease);
    ASSERT_TRUE(Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Put, put).ok());
  }

  TempDir dir_;
  const std::string file_ = dir_.path() + "/backup";
};

// After a disaster the new cluster usually has the addresses and the name of the old one.
TEST_F(Backup, SavedUnderLoadAndRestoredToThreeMembers) {
  auto old = std::make_unique<Cluster>(ClusterOptions{});
  old->StartAll();
  ASSERT_GE(old->WaitForLeader(), 0);
  int64_t revision = 0;
  std::string keys;
  uint64_t old_id = 0;
  {
    Traffic traffic(old.get(), TrafficOptions{});
    ASSERT_TRUE(traffic.WaitForAcknowledged(500, kBackupWaitMax));
    PutWithLease(old->connection(0), 77);
    const Finished saved = Raftkv({"snapshot", "save", file_}, old->client_address(0));
    ASSERT_EQ(saved.exit_code, 0) << saved.err;
    EXPECT_EQ(saved.out, "Snapshot saved at " + file_ + "\n");
    EXPECT_EQ(saved.err, "") << "no progress bar without a terminal";
    ASSERT_TRUE(
        traffic.WaitForAcknowledged(500, kBackupWaitMax));  // the backup does not have these
  }
  const Finished status = Raftkv({"snapshot", "status", file_, "-w", "json"});
  ASSERT_EQ(status.exit_code, 0) << status.err;
  revision = NumberIn(status.out, "revision");
  keys = KeysAt(old->connection(0), revision);
  ASSERT_THAT(keys, HasSubstr("leased"));
  const auto newest = old->Status(0);
  EXPECT_GT(newest.response.header().revision(), revision);
  old_id = newest.response.header().cluster_id();
  for (int i = 0; i < 3; ++i) old->Kill(i);

  Cluster restored({.ports = old->ports()});
  for (int i = 0; i < 3; ++i) {
    const Finished finished = RestoreTo(restored, i, file_);
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_THAT(finished.out, StartsWith(absl::StrCat("restored member ", restored.name(i))));
  }
  ExpectAnEditRejected(restored);
  restored.StartAll();
  ASSERT_GE(restored.WaitForLeader(), 0);
  EXPECT_EQ(KeysAt(restored.connection(1), revision), keys);
  EXPECT_EQ(NumberIn(status.out, "totalKey"),
            Range(restored.connection(1), EverythingRequest(revision, false)).response.count());
  EXPECT_NE(restored.Status(0).response.header().cluster_id(), old_id);
  ASSERT_TRUE(restored.Put(0, "after", "restore").ok());
  EXPECT_TRUE(restored.MembersAreEqual());
  ExpectLeaseAndOneHash(restored, 77);

  // A member of the old cluster, at an address of the new one, takes no part. The others serve.
  restored.Kill(2);
  old->Start(2);
  ASSERT_TRUE(Eventually(kBackupWaitMax, [&] { return restored.Put(0, "k", "v").ok(); }));
  EXPECT_TRUE(Eventually(kBackupWaitMax, [&] {
    return absl::StrContains(restored.log(0) + restored.log(1) + old->log(2), "another cluster");
  })) << old->log(2);
  EXPECT_FALSE(old->Get(2, "k", /*serializable=*/false, absl::Seconds(2)).ok());
  old->Kill(2);
  restored.Start(2);
  EXPECT_TRUE(restored.MembersAreEqual());
}

TEST_F(Backup, WatchOfARevisionBeforeABumpIsToldThatItIsCompacted) {
  Cluster old({.size = 1});
  old.StartAll();
  ASSERT_EQ(old.WaitForLeader(), 0);
  const int64_t revision = old.Put(0, "k", "v").response.header().revision();
  ASSERT_EQ(Raftkv({"snapshot", "save", file_}, old.client_address(0)).exit_code, 0);
  old.Kill(0);

  Cluster restored({.size = 1});
  const Finished half = RestoreTo(restored, 0, file_, {"--bump-revision", "1000"});
  EXPECT_EQ(half.exit_code, 2);
  EXPECT_THAT(half.err, HasSubstr("--mark-compacted"));
  const Finished finished =
      RestoreTo(restored, 0, file_, {"--bump-revision", "1000", "--mark-compacted"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  restored.StartAll();
  ASSERT_EQ(restored.WaitForLeader(), 0);
  EXPECT_EQ(restored.Get(0, "k").response.kvs(0).value(), "v");
  EXPECT_EQ(restored.Put(0, "k", "w").response.header().revision(), revision + 1001);

  const auto context = MakeContext();
  const auto stream = restored.connection(0).watch->Watch(context.get());
  etcdserverpb::WatchRequest watch;
  watch.mutable_create_request()->set_key("k");
  watch.mutable_create_request()->set_start_revision(revision + 1);
  ASSERT_TRUE(stream->Write(watch));
  etcdserverpb::WatchResponse response;
  while (stream->Read(&response) && !response.canceled()) {
  }
  EXPECT_EQ(response.compact_revision(), revision + 1000);
  context->TryCancel();
  stream->Finish();
}

TEST_F(Backup, SnapshotsOfSlowClientsAreFewAndAreReleased) {
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(cluster.Put(0, absl::StrCat("key", i), std::string(1 << 20, 'x')).ok());
  }
  Connection& connection = cluster.connection(0);
  const auto open = [&](absl::Duration timeout) {
    auto context = MakeContext(timeout);
    auto stream = connection.maintenance->Snapshot(context.get(), {});
    return std::make_pair(std::move(context), std::move(stream));
  };
  std::vector<decltype(open(kBackupWaitMax))> clients;  // they read one piece each
  etcdserverpb::SnapshotResponse piece;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(open(i == 0 ? absl::Seconds(5) : absl::Minutes(5)));
    ASSERT_TRUE(clients.back().second->Read(&piece));
  }
  EXPECT_EQ(Checkpoints(cluster), 4);
  auto one_more = open(kBackupWaitMax);
  EXPECT_FALSE(one_more.second->Read(&piece));
  EXPECT_EQ(one_more.second->Finish().error_message(), "etcdserver: too many requests");

  // The deadline of the first one passes.
  EXPECT_TRUE(Eventually(kBackupWaitMax, [&] { return Checkpoints(cluster) == 3; }));
  EXPECT_FALSE(clients[0].second->Finish().ok());
  clients[1].first->TryCancel();
  EXPECT_TRUE(Eventually(kBackupWaitMax, [&] { return Checkpoints(cluster) == 2; }));
  EXPECT_FALSE(clients[1].second->Finish().ok());
  // A stop ends the others.
  EXPECT_EQ(cluster.Terminate(0), 0);
  EXPECT_EQ(Checkpoints(cluster), 0);
  for (int i = 2; i < 4; ++i) {
    while (clients[i].second->Read(&piece)) {
    }
    EXPECT_FALSE(clients[i].second->Finish().ok());
  }
}

TEST_F(Backup, KilledRestoreIsRepeated) {
  Cluster old({.size = 1});
  old.StartAll();
  ASSERT_EQ(old.WaitForLeader(), 0);
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(old.Put(0, absl::StrCat("key", i), std::string(1 << 20, 'x')).ok());
  }
  ASSERT_EQ(Raftkv({"snapshot", "save", file_}, old.client_address(0)).exit_code, 0);
  Cluster restored({.size = 1});
  std::mt19937 random(7);
  int interrupted = 0;
  for (int round = 0; round < 10; ++round) {
    {
      Process restore({.argv = {BuiltProgram("raftkv-server"), "--restore", file_, "-c",
                                restored.config_path()},
                       .directory = restored.dir()},
                      restored.dir() + "/restore.log");
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 150));
      restore.Kill();
    }
    if (!std::filesystem::exists(restored.data_dir(0) + "/RESTORING")) {
      std::filesystem::remove_all(restored.data_dir(0));  // it had not begun, or was done
      continue;
    }
    ++interrupted;
    const Finished start = RunToEnd(restored.ServerCommand(0));
    EXPECT_EQ(start.exit_code, 2);
    EXPECT_THAT(start.err, HasSubstr("repeat raftkv snapshot restore"));
  }
  EXPECT_GT(interrupted, 0);
  const Finished repeated = RestoreTo(restored, 0, file_);
  ASSERT_EQ(repeated.exit_code, 0) << repeated.err;
  restored.StartAll();
  ASSERT_EQ(restored.WaitForLeader(), 0);
  EXPECT_EQ(restored.Get(0, "key7").response.kvs_size(), 1);
}

}  // namespace
}  // namespace raftkv::e2e
