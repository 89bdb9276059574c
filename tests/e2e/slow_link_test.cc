// Entries that take longer than an election timeout to arrive. The leader stays the leader, and the
// entries arrive (docs/decisions/0020-heartbeats-apart.md).

#include "tests/e2e/links.h"

namespace raftkv::e2e {
namespace {

constexpr int kBytesPerSecond = 640 << 10;
constexpr int kEntryBytes = kBytesPerSecond;  // takes twice an election timeout

TEST(SlowLink, LargeEntriesDoNotDeposeTheLeader) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({.size = 3,
                   .heartbeat_interval = absl::Milliseconds(50),
                   .election_timeout = absl::Milliseconds(500),
                   // As long as the client waits. With the default, 5 s, puts timed out on a busy
                   // machine; why they took so long is not known.
                   .limits = "request_timeout = \"60s\""});
  Links links(&cluster);
  links.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int follower = (leader + 1) % 3;
  ASSERT_TRUE(cluster.Put(leader, "small", "v").ok());
  const uint64_t term = cluster.Status(leader).response.raftterm();
  // Slows down what the followers get, and what one of them forwards.
  for (int to = 0; to < 3; ++to) {
    if (to != leader) links.Slow(leader, to, kBytesPerSecond);
  }
  links.Slow(follower, leader, kBytesPerSecond);

  const absl::Duration long_enough = absl::Seconds(60);
  EXPECT_TRUE(cluster.Put(leader, "large", std::string(kEntryBytes, 'l'), long_enough).ok());
  const auto forwarded =
      cluster.Put(follower, "forwarded", std::string(kEntryBytes, 'f'), long_enough);
  EXPECT_TRUE(forwarded.ok()) << forwarded.status.error_message();
  EXPECT_EQ(cluster.Status(leader).response.raftterm(), term);
  EXPECT_EQ(cluster.Status(leader).response.leader(),
            cluster.Status(leader).response.header().member_id());
}

}  // namespace
}  // namespace raftkv::e2e
