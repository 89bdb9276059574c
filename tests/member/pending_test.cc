// Which requests count against max_pending_requests.

#include <string>

#include "gtest/gtest.h"
#include "tests/member/cluster.h"

namespace raftkv {
namespace {

TEST(PendingRequests, RequestsInTheApplierCountAsPending) {
  Cluster c(1, /*pending_max=*/2);
  c.Run(kElection);
  std::string got;
  for (int i = 0; i < 10; ++i) {  // answered requests are no longer charged
    auto get = c.Get(1, "k", &got);
    c.Settle();
    ASSERT_EQ(get->fate, Fate::kApplied);
  }
  c[1].hold_apply = true;
  c.Get(1, "k", &got);
  c.Get(1, "k", &got);
  c.Settle();
  auto over = c.Get(1, "k", &got);
  c.Settle();
  EXPECT_EQ(over->fate, Fate::kTooManyRequests);
  c[1].member->StopRequests();
}

TEST(PendingRequests, AnsweredRequestsTakeNoRoomFromThoseThatArriveTogether) {
  Cluster c(1, /*pending_max=*/2);
  c.Run(kElection);
  std::string got;
  auto answered = c.Get(1, "k", &got);
  c.Settle();
  ASSERT_EQ(answered->fate, Fate::kApplied);
  auto a = c.Get(1, "k", &got);
  auto b = c.Get(1, "k", &got);
  c.Settle();
  EXPECT_EQ(a->fate, Fate::kApplied);
  EXPECT_EQ(b->fate, Fate::kApplied);
}

}  // namespace
}  // namespace raftkv
