// /metrics: the client port and listen_metrics_urls serve it, and it says what happened.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/http_client.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;
using testing::Not;

// The value of the line that begins with `series`; -1: there is none.
double ValueOf(const std::string& text, const std::string& series) {
  const size_t at = text.find(absl::StrCat("\n", series, " "));
  return at == std::string::npos ? -1 : std::atof(text.c_str() + at + series.size() + 2);
}

TEST(Metrics, SayWhatAMemberDoes) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "raftkv's metrics";
  Cluster cluster({.size = 3});
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(cluster.Put(leader, "k", "v").ok());
  ASSERT_TRUE(cluster.Get(leader, "k").ok());
  ASSERT_EQ(HttpGet(cluster.client_address(leader), "/health").status, 200);
  std::string text;
  const auto value = [&](const std::string& series) { return ValueOf(text, series); };
  // Some of it is published once a second.
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
    const HttpReply reply = HttpGet(cluster.client_address(leader), "/metrics");
    EXPECT_EQ(reply.status, 200);
    EXPECT_THAT(reply.headers, HasSubstr("Content-Type: text/plain; version=0.0.4"));
    text = reply.body;
    return value("etcd_debugging_mvcc_current_revision") >= 11 &&
           value("etcd_server_is_leader") == 1;
  })) << text;
  EXPECT_EQ(value("etcd_server_has_leader"), 1);
  EXPECT_GE(value("etcd_server_leader_changes_seen_total"), 1);
  EXPECT_GE(value("etcd_server_proposals_applied_total"), 10);
  EXPECT_GE(value("etcd_server_proposals_committed_total"),
            value("etcd_server_proposals_applied_total"));
  EXPECT_EQ(value("etcd_server_proposals_failed_total"), 0);
  EXPECT_GE(value("etcd_server_health_success"), 1);
  EXPECT_GE(value("etcd_disk_wal_fsync_duration_seconds_count"), 1);
  EXPECT_GT(value("etcd_disk_wal_fsync_duration_seconds_sum"), 0);
  EXPECT_GE(value("raftkv_apply_duration_seconds_count"), 1);
  for (const char* db : {"log", "state"}) {
    const std::string label = absl::StrCat("{db=\"", db, "\"}");
    EXPECT_GT(value("raftkv_rocksdb_write_buffer_bytes" + label), 0) << db;
    EXPECT_GE(value("raftkv_rocksdb_files" + label),
              value("raftkv_rocksdb_first_level_files" + label));
    EXPECT_GE(value("raftkv_rocksdb_first_level_files" + label), 0);
    EXPECT_GE(value("raftkv_rocksdb_block_cache_bytes" + label), 0);
    EXPECT_GE(value("raftkv_rocksdb_value_bytes" + label),
              value("raftkv_rocksdb_garbage_bytes" + label));
    EXPECT_GE(value("raftkv_rocksdb_garbage_bytes" + label), 0);
    EXPECT_GE(value("raftkv_rocksdb_pending_compaction_bytes" + label), 0);
    EXPECT_EQ(value("raftkv_rocksdb_running_compactions" + label), 0);
    EXPECT_GE(value("raftkv_rocksdb_running_flushes" + label), 0);
    EXPECT_EQ(value("raftkv_rocksdb_slows_writes" + label), 0);
  }
  EXPECT_EQ(value("raftkv_members"), 3);
  EXPECT_EQ(value("raftkv_halted"), 0);
  const std::string put = R"({grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_type="unary")";
  EXPECT_EQ(value(absl::StrCat("grpc_server_started_total", put, "}")), 10);
  EXPECT_EQ(value(absl::StrCat("grpc_server_handled_total", put, R"(,grpc_code="OK"})")), 10);
  EXPECT_EQ(value(absl::StrCat("grpc_server_handling_seconds_count", put, "}")), 10);
  EXPECT_GT(value("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(value("process_open_fds"), 10);
  EXPECT_GT(value("process_cpu_seconds_total"), 0);
  EXPECT_GT(value("process_start_time_seconds"), 1.6e9);
  const HttpReply follower = HttpGet(cluster.client_address((leader + 1) % 3), "/metrics");
  EXPECT_EQ(ValueOf(follower.body, "etcd_server_is_leader"), 0);
}

TEST(Metrics, HaveAPortOfTheirOwn) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "raftkv's setting";
  const std::vector<int> ports = FreePorts(1);
  const std::string address = absl::StrCat("127.0.0.1:", ports[0]);
  Cluster cluster({.size = 1});
  WriteFile(cluster.config_path(),
            absl::StrCat(ReadFile(cluster.config_path()), "listen_metrics_urls = [\"http://",
                         address, "\"]\n"));
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  EXPECT_THAT(HttpGet(address, "/metrics").body, HasSubstr("etcd_server_has_leader 1"));
  EXPECT_EQ(HttpGet(address, "/health").status, 200);
  Connection api(address);
  EXPECT_FALSE(Put(api, "k", "v").ok()) << "no API";
  const char put[] = R"({"key":"aw==","value":"dg=="})";
  EXPECT_EQ(Http(address, "POST", "/v3/kv/put", put).status, 404) << "no JSON either";
  EXPECT_EQ(Http(cluster.client_address(0), "POST", "/v3/kv/put", put).status, 200);
}

}  // namespace
}  // namespace raftkv::e2e
