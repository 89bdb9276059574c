// Requests that a hostile client may send to keep members busy. Members may be slow to answer it,
// but must keep serving, also after a restart that replays what was applied.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

// Keys for which an earlier version's hash function gave one and the same value: 8 bytes that
// cancel its multiplication, then anything.
std::string CollidingKey(uint64_t number) {
  std::string key = "\x15\x7c\x4a\x7f\xb9\x79\x37\x9e";
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift));
  return key;
}

TEST(Flood, KeysThatWereChosenToCollideStopNobody) {
  constexpr int kClients = 200, kTxnsPerClient = 3, kPutsPerTxn = 128;
  Cluster cluster({.limits = "disk_stall_timeout = \"2s\""});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  std::atomic<int> applied{0};
  std::vector<std::thread> clients;
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back([&, client] {
      for (int txn = 0; txn < kTxnsPerClient; ++txn) {
        etcdserverpb::TxnRequest request;
        for (int i = 0; i < kPutsPerTxn; ++i) {
          auto* put = request.add_success()->mutable_request_put();
          put->set_key(CollidingKey((client * kTxnsPerClient + txn) * kPutsPerTxn + i));
          put->set_value("v");
        }
        Connection& member = cluster.connection(client % cluster.size());
        if (Call(member, *member.kv, &etcdserverpb::KV::Stub::Txn, request, absl::Seconds(60)).ok())
          ++applied;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(applied, 0);
  for (int i = 0; i < cluster.size(); ++i) {
    EXPECT_TRUE(cluster.Running(i)) << cluster.log(i);
    cluster.Kill(i);
  }
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(absl::Seconds(60)), 0);
  EXPECT_TRUE(cluster.MembersAreEqual(absl::Seconds(60)));
}

}  // namespace
}  // namespace raftkv::e2e
