// Partitions that cut one direction only. A proxy carries all connections between the members: a
// byte that one member sends to another waits as long as that direction is cut, and arrives when it
// is healed. Clients work all the time, and the checker examines every answer. With RAFTKV_SOAK=1
// there are more rounds.

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>
#include <utility>

#include "tests/e2e/links.h"
#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

using testing::IsEmpty;

constexpr int kMembers = 3;

enum class Kind { kToFollower, kFromFollower, kAllToLeader, kAllFromLeader, kRing, kRandom };
constexpr const char* kKindNames[] = {"leader -> follower", "follower -> leader", "all -> leader",
                                      "leader -> all",      "around the ring",    "random"};

// The directions to cut.
std::vector<std::pair<int, int>> Choose(Kind kind, int leader, std::mt19937_64* random) {
  const int a = (leader + 1) % kMembers, b = (leader + 2) % kMembers;
  switch (kind) {
    case Kind::kToFollower:
      return {{leader, a}};
    case Kind::kFromFollower:
      return {{a, leader}};
    case Kind::kAllToLeader:
      return {{a, leader}, {b, leader}};
    case Kind::kAllFromLeader:
      return {{leader, a}, {leader, b}};
    case Kind::kRing:
      return {{leader, a}, {a, b}};  // b still reaches everybody, and everybody hears somebody
    case Kind::kRandom:
      break;
  }
  std::vector<std::pair<int, int>> cuts;
  for (int from = 0; from < kMembers; ++from) {
    for (int to = 0; to < kMembers; ++to) {
      if (from != to && (*random)() % 3 == 0) cuts.push_back({from, to});
    }
  }
  return cuts;
}

// Whether two members still reach each other, and a majority can work.
bool SomePairIsWhole(const std::vector<std::pair<int, int>>& cuts) {
  int broken = 0;
  for (int a = 0; a < kMembers; ++a) {
    for (int b = a + 1; b < kMembers; ++b) {
      broken += std::any_of(cuts.begin(), cuts.end(), [a, b](const auto& cut) {
        return cut == std::pair(a, b) || cut == std::pair(b, a);
      });
    }
  }
  return broken < kMembers;
}

TEST(Partition, OneDirectionAtATimeBreaksNoPromise) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  const int rounds = std::getenv("RAFTKV_SOAK") != nullptr ? 60 : 6;
  Cluster cluster({.size = kMembers});
  Links links(&cluster);
  links.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  Traffic traffic(&cluster, {});
  std::mt19937_64 random(7);
  for (int round = 0; round < rounds; ++round) {
    const int leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0) << "round " << round;
    const Kind kind = static_cast<Kind>(round % 6);
    const auto cuts = Choose(kind, leader, &random);
    for (const auto& [from, to] : cuts) links.Cut(from, to);
    std::cout << "round " << round << ": " << kKindNames[static_cast<int>(kind)] << ", "
              << cuts.size() << " directions\n";
    if (SomePairIsWhole(cuts)) {
      EXPECT_TRUE(traffic.WaitForAcknowledged(100, absl::Seconds(30))) << "round " << round;
    } else {
      Eventually(absl::Seconds(2), [] { return false; });  // only waits
    }
    for (const auto& [from, to] : cuts) {
      const uint64_t arrived = links.arrived(from, to);
      traffic.WaitForAcknowledged(1, absl::Seconds(1));
      EXPECT_EQ(links.arrived(from, to), arrived) << "round " << round << ": it is not cut";
    }
    links.HealAll();
    ASSERT_TRUE(traffic.WaitForAcknowledged(200, absl::Seconds(30))) << "round " << round;
  }
  traffic.Stop();
  EXPECT_TRUE(cluster.MembersAreEqual());
  EXPECT_THAT(FindViolations(traffic.Collect()), IsEmpty());
}

}  // namespace
}  // namespace raftkv::e2e
