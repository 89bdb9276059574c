// Members are killed repeatedly under load, and no client may see a wrong answer. The load reads,
// writes, compares and swaps, and changes several keys at once, while the store is compacted every
// 200 ms. There are 10 rounds; RAFTKV_SOAK=1 makes it 50 (`make soak`).

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>

#include "absl/time/clock.h"
#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

constexpr int kAcknowledgedPerSecondMin = 100;

void ExpectLinearizable(const History& history) {
  const std::vector<std::string> violations = FindViolations(history);
  for (size_t i = 0; i < std::min<size_t>(violations.size(), 10); ++i) {
    ADD_FAILURE() << violations[i];
  }
  EXPECT_EQ(violations.size(), 0u);
}

bool FoundByPrefix(const Operation& op, Operation::Kind kind) {
  return std::any_of(op.parts.begin(), op.parts.end(), [kind](const Operation& part) {
    return part.kind == kind && !part.prefix.empty() && part.found;
  });
}

// Prints how often each kind of operation and outcome occurred. Each must have occurred.
void PrintMix(const History& history) {
  using Kind = Operation::Kind;
  std::map<std::string, int> counts = {{"swaps that succeeded", 0},
                                       {"swaps that failed", 0},
                                       {"transactions that changed something", 0},
                                       {"transactions that only read", 0},
                                       {"reads of a prefix that found keys", 0},
                                       {"deletes of a prefix that found keys", 0},
                                       {"reads of a past revision", 0},
                                       {"reads that failed with compacted", 0},
                                       {"unknown outcomes", 0}};
  for (const Operation& op : history.operations) {
    const bool ok = op.outcome == Operation::Outcome::kOk;
    if (op.outcome == Operation::Outcome::kUnknown) ++counts["unknown outcomes"];
    if (op.outcome == Operation::Outcome::kCompacted) ++counts["reads that failed with compacted"];
    if (ok && op.kind == Kind::kCas) {
      ++counts[op.succeeded ? "swaps that succeeded" : "swaps that failed"];
    }
    if (ok && op.kind == Kind::kTxn) {
      ++counts[op.Changes() ? "transactions that changed something"
                            : "transactions that only read"];
    }
    if (ok && op.kind == Kind::kGet && op.at_revision > 0) ++counts["reads of a past revision"];
    if (FoundByPrefix(op, Kind::kGet)) ++counts["reads of a prefix that found keys"];
    if (FoundByPrefix(op, Kind::kDelete)) ++counts["deletes of a prefix that found keys"];
  }
  for (const auto& [what, count] : counts) {
    std::cout << "  " << count << " " << what << "\n";
    EXPECT_GT(count, 0) << what;
  }
}

enum class Victim { kLeader, kFollower, kAll };
constexpr const char* kVictimNames[] = {"leader", "follower", "all"};

// The members to kill and to start again.
std::vector<int> Choose(const Cluster& cluster, Victim victim, int leader, int round) {
  if (victim == Victim::kLeader) return {leader};
  if (victim == Victim::kFollower)
    return {(leader + 1 + round % (cluster.size() - 1)) % cluster.size()};
  std::vector<int> everybody(cluster.size());
  for (int i = 0; i < cluster.size(); ++i) everybody[i] = i;
  return everybody;
}

// Waits until the load is high enough for a meaningful round. False if it never is. `rate` is the
// number of acknowledgements in the last second; `low_seconds` counts the seconds with too few.
bool WaitForLoad(const Traffic& traffic, int64_t* rate, int* low_seconds) {
  int64_t before = traffic.acknowledged();
  absl::Time start = absl::Now();
  return Eventually(absl::Seconds(60), [&] {
    const absl::Time now = absl::Now();
    if (now - start < absl::Seconds(1)) return false;
    *rate = (traffic.acknowledged() - before) / absl::ToDoubleSeconds(now - start);
    start = now;
    before = traffic.acknowledged();
    *low_seconds += *rate < kAcknowledgedPerSecondMin;
    return *rate >= kAcknowledgedPerSecondMin;
  });
}

TEST(KillRounds, NoAcknowledgedWriteIsLostAndNoReadIsStale) {
  const int rounds = std::getenv("RAFTKV_SOAK") != nullptr ? 50 : 10;
  const uint64_t seed = absl::ToUnixMicros(absl::Now());
  std::cout << "seed " << seed << "\n";
  Cluster cluster({});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  Traffic traffic(&cluster, {.seed = seed, .compact_every = absl::Milliseconds(200)});

  int low_seconds = 0;
  for (int round = 0; round < rounds;) {
    const Victim victim = static_cast<Victim>(round % 3);
    const int leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0);
    int64_t rate = 0;
    ASSERT_TRUE(WaitForLoad(traffic, &rate, &low_seconds))
        << "too little load: " << rate << " acknowledgements a second";
    const absl::Time killed = absl::Now();
    const std::vector<int> victims = Choose(cluster, victim, leader, round);
    for (int member : victims) cluster.Kill(member);
    if (victim != Victim::kAll) {
      // The others must serve without the killed member before it is started again.
      ASSERT_TRUE(traffic.WaitForAcknowledged(100, absl::Seconds(20))) << "round " << round;
    }
    for (int member : victims) cluster.Start(member);
    ASSERT_TRUE(traffic.WaitForAcknowledged(100, absl::Seconds(20))) << "round " << round;
    ++round;
    std::cout << "round " << round << ": " << rate << " acks/s, killed "
              << kVictimNames[static_cast<int>(victim)] << ", serving again after "
              << absl::FormatDuration(absl::Trunc(absl::Now() - killed, absl::Milliseconds(1)))
              << "\n";
  }

  ASSERT_GE(cluster.WaitForLeader(), 0);
  traffic.Stop();
  ASSERT_TRUE(cluster.MembersAreEqual());
  const History history = traffic.Collect();
  std::cout << history.operations.size() << " operations, " << history.evidence.size()
            << " changes, " << traffic.compactions() << " compactions, " << low_seconds
            << " seconds of too little load\n";
  PrintMix(history);
  EXPECT_GE(traffic.compactions(), rounds);
  ExpectLinearizable(history);
}

// Tests the checker itself: it must find stale reads. A member is down and misses some writes. It
// is started again while the others are paused, and the test reads from it.
class StaleMember : public testing::Test {
 protected:
  void ReadFromStaleMember(bool serializable) {
    if (ProductUnderTest() == Product::kEtcd)
      GTEST_SKIP() << "etcd serves only once it has a leader";
    Cluster cluster({});
    cluster.StartAll();
    const int leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0);
    Traffic traffic(&cluster, {});
    ASSERT_TRUE(traffic.WaitForAcknowledged(500, absl::Seconds(20)));
    const int stale = (leader + 1) % cluster.size();
    cluster.Kill(stale);
    ASSERT_TRUE(traffic.WaitForAcknowledged(500, absl::Seconds(20)));
    traffic.Stop();
    ASSERT_TRUE(cluster.MembersAreEqual());
    History history = traffic.Collect();
    ASSERT_TRUE(FindViolations(history).empty());

    for (int i = 0; i < cluster.size(); ++i) {
      if (i != stale) cluster.Pause(i);
    }
    cluster.Start(stale);
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
      return cluster.Get(stale, TrafficKey(0), /*serializable=*/true).ok();
    }));
    for (int key = 0; key < 10; ++key) {
      const Operation op = Observe(cluster.connection(stale), Operation::Kind::kGet,
                                   TrafficKey(key), "", serializable, absl::Seconds(1));
      if (op.outcome == Operation::Outcome::kOk) history.operations.push_back(op);
    }
    violations_ = FindViolations(history);
  }
  std::vector<std::string> violations_;
};

TEST_F(StaleMember, SerializableReadsAreViolations) {
  ReadFromStaleMember(/*serializable=*/true);
  if (IsSkipped()) return;
  EXPECT_FALSE(violations_.empty());
}

TEST_F(StaleMember, LinearizableReadsAreNeverStale) {
  ReadFromStaleMember(/*serializable=*/false);
  EXPECT_TRUE(violations_.empty()) << violations_.front();
}

}  // namespace
}  // namespace raftkv::e2e
