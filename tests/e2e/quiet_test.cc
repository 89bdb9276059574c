// No member campaigns without need: neither while nothing happens, nor under full load.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/writers.h"

namespace raftkv::e2e {
namespace {

using testing::Each;

constexpr int kQuietClients = 256;

// How long each phase lasts. RAFTKV_QUIET_SECONDS: for a shorter trial.
absl::Duration PhaseLength() {
  const char* const given = std::getenv("RAFTKV_QUIET_SECONDS");
  int seconds = 0;
  return given != nullptr && absl::SimpleAtoi(given, &seconds) ? absl::Seconds(seconds)
                                                               : absl::Minutes(10);
}

// The terms of all members; 0: a member did not answer.
std::vector<uint64_t> Terms(Cluster& cluster) {
  std::vector<uint64_t> terms;
  for (int i = 0; i < cluster.size(); ++i) {
    terms.push_back(cluster.Status(i, kCallTimeout).response.raftterm());
  }
  return terms;
}

TEST(Quiet, NoElection) {
  if (std::getenv("RAFTKV_SOAK") == nullptr) {
    GTEST_SKIP() << "takes 20 minutes: RAFTKV_SOAK=1 (make soak)";
  }
  Cluster cluster({});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  uint64_t term = 0;
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
    const std::vector<uint64_t> terms = Terms(cluster);
    term = terms[0];
    return term != 0 && terms[1] == term && terms[2] == term;
  }));
  const auto expect_term_for_a_phase = [&] {
    const absl::Time end = absl::Now() + PhaseLength();
    for (; absl::Now() < end; absl::SleepFor(absl::Seconds(1))) {
      ASSERT_THAT(Terms(cluster), Each(term));
    }
  };
  ASSERT_NO_FATAL_FAILURE(expect_term_for_a_phase());
  Writers writers(cluster.client_addresses(), kQuietClients);
  ASSERT_NO_FATAL_FAILURE(expect_term_for_a_phase());
  const int64_t puts = writers.acknowledged();
  EXPECT_THAT(writers.Stop(), testing::IsEmpty());
  EXPECT_GT(puts, 0);
  std::cout << "no election in " << PhaseLength() << " without requests, nor during " << puts
            << " puts in as long a time\n";
}

}  // namespace
}  // namespace raftkv::e2e
