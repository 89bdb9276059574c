#include "server/raft/progress.h"

#include "gtest/gtest.h"

namespace raftkv::raft {
namespace {

constexpr Progress::Window kWindow{.messages_max = 3, .bytes_max = 100};

// A peer whose log matches up to `match`.
Progress Replicating(Index match) {
  Progress progress(match + 1, kWindow);
  progress.OnAccepted(match, 1);
  return progress;
}

TEST(Progress, ProbeSendsOneMessageUntilAcked) {
  Progress progress(5, kWindow);
  EXPECT_EQ(progress.state(), Progress::State::kProbe);
  ASSERT_TRUE(progress.CanSend());
  progress.OnSent(7, 30);
  EXPECT_FALSE(progress.CanSend());
  EXPECT_EQ(progress.next_index(), 5u) << "a probe does not advance it";
  EXPECT_TRUE(progress.OnAccepted(7, 1));
  EXPECT_EQ(progress.state(), Progress::State::kReplicate);
  EXPECT_EQ(progress.next_index(), 8u);
  EXPECT_TRUE(progress.CanSend());
}

TEST(Progress, LostProbeIsRepeatedOnceAHeartbeat) {
  Progress progress(5, kWindow);
  progress.OnSent(7, 30);
  progress.OnHeartbeat();
  EXPECT_TRUE(progress.CanSend());
  progress.OnSent(7, 30);
  EXPECT_FALSE(progress.CanSend());
  progress.OnUnreachable(1);
  EXPECT_FALSE(progress.CanSend()) << "a dead peer is not probed in a loop";
}

TEST(Progress, ReplyBelowTheProbeDoesNotConfirmIt) {
  Progress progress(5, kWindow);
  EXPECT_TRUE(progress.OnAccepted(2, 1));
  EXPECT_EQ(progress.state(), Progress::State::kProbe);
  EXPECT_EQ(progress.match_index(), 2u);
  EXPECT_EQ(progress.next_index(), 5u);
}

TEST(Progress, ProbeThatIsAcceptedButNotYetSavedIsInFlight) {
  Progress progress(5, kWindow);
  progress.OnSent(7, 30);
  EXPECT_TRUE(progress.OnAccepted(4, 1)) << "the logs match up to there";
  EXPECT_EQ(progress.state(), Progress::State::kReplicate);
  EXPECT_EQ(progress.next_index(), 8u) << "nothing is sent twice";
  EXPECT_EQ(progress.inflight_messages(), 1u);
  EXPECT_EQ(progress.inflight_bytes(), 30u);
  progress.OnAccepted(7, 1);
  EXPECT_EQ(progress.inflight_bytes(), 0u);
}

TEST(Progress, ReplicateAdvancesNextIndexAtOnce) {
  Progress progress = Replicating(4);
  progress.OnSent(6, 10);
  EXPECT_EQ(progress.next_index(), 7u);
  progress.OnSent(9, 10);
  EXPECT_EQ(progress.next_index(), 10u);
  EXPECT_EQ(progress.match_index(), 4u);
}

TEST(Progress, WindowIsBoundedInMessages) {
  Progress progress = Replicating(0);
  for (Index i = 1; i <= 3; ++i) {
    ASSERT_TRUE(progress.CanSend());
    progress.OnSent(i, 1);
  }
  EXPECT_FALSE(progress.CanSend());
  progress.OnAccepted(1, 1);
  EXPECT_EQ(progress.inflight_messages(), 2u);
  EXPECT_TRUE(progress.CanSend());
}

TEST(Progress, WindowIsBoundedInBytesAndOneMessageAlwaysFits) {
  Progress progress = Replicating(0);
  progress.OnSent(1, 500);
  EXPECT_FALSE(progress.CanSend());
  progress.OnAccepted(1, 1);
  EXPECT_EQ(progress.inflight_bytes(), 0u);
  progress.OnSent(2, 60);
  EXPECT_TRUE(progress.CanSend());
  progress.OnSent(3, 60);
  EXPECT_FALSE(progress.CanSend());
}

TEST(Progress, LaterAcknowledgementCoversEarlierOnes) {
  Progress progress = Replicating(0);
  for (Index i = 1; i <= 3; ++i) progress.OnSent(i, 10);
  EXPECT_TRUE(progress.OnAccepted(3, 1));
  EXPECT_EQ(progress.inflight_messages(), 0u);
  EXPECT_EQ(progress.inflight_bytes(), 0u);
  EXPECT_FALSE(progress.OnAccepted(2, 1)) << "a late reply does not lower match_index";
  EXPECT_EQ(progress.match_index(), 3u);
}

// If the byte count stayed when the window is emptied, replication would stall.
TEST(Progress, RejectionEmptiesTheWindow) {
  Progress progress = Replicating(2);
  progress.OnSent(4, 90);
  progress.OnSent(6, 90);
  EXPECT_EQ(progress.OnRejected(4, 4, 2), Progress::Rejection::kUsed);
  EXPECT_EQ(progress.state(), Progress::State::kProbe);
  EXPECT_EQ(progress.next_index(), 4u);
  EXPECT_EQ(progress.inflight_bytes(), 0u);
  EXPECT_EQ(progress.inflight_messages(), 0u);
  EXPECT_TRUE(progress.CanSend());
}

TEST(Progress, NextStaysAboveMatch) {
  Progress progress = Replicating(5);
  progress.OnSent(9, 10);
  EXPECT_EQ(progress.OnRejected(9, 2, 2), Progress::Rejection::kUsed);
  EXPECT_EQ(progress.next_index(), 6u);
}

TEST(Progress, LateRejectionIsIgnored) {
  Progress progress(9, kWindow);
  progress.OnSent(9, 10);
  EXPECT_EQ(progress.OnRejected(7, 5, 1), Progress::Rejection::kIgnored)
      << "not a reply to the current probe";
  EXPECT_FALSE(progress.CanSend());
  EXPECT_EQ(progress.OnRejected(8, 5, 1), Progress::Rejection::kUsed);
  EXPECT_EQ(progress.next_index(), 5u);
  progress.OnAccepted(9, /*round=*/3);
  EXPECT_EQ(progress.OnRejected(8, 5, 3), Progress::Rejection::kIgnored)
      << "it was sent before the acknowledgement";
  EXPECT_EQ(progress.match_index(), 9u);
}

TEST(Progress, APeerThatLostSavedEntriesIsExcluded) {
  Progress progress(9, kWindow);
  progress.OnAccepted(8, /*round=*/3);
  EXPECT_EQ(progress.OnRejected(8, 1, /*round=*/4), Progress::Rejection::kLostEntries);
  EXPECT_EQ(progress.match_index(), 0u) << "it does not count";
  EXPECT_EQ(progress.acknowledged(), 8u);
  EXPECT_FALSE(progress.CanSend());
  EXPECT_FALSE(progress.OnAccepted(9, /*round=*/5));
  EXPECT_EQ(progress.OnRejected(9, 1, /*round=*/5), Progress::Rejection::kIgnored);
  EXPECT_EQ(progress.state(), Progress::State::kExcluded);
}

TEST(Progress, APeerThatKnowsItsLossGetsTheEntriesAgain) {
  Progress progress = Replicating(8);
  progress.OnAccepted(9, /*round=*/3);
  progress.OnSent(12, 10);
  EXPECT_EQ(progress.OnRejected(9, 5, /*round=*/3, /*repairs=*/true), Progress::Rejection::kIgnored)
      << "it was sent before the acknowledgement";
  EXPECT_EQ(progress.OnRejected(9, 5, /*round=*/4, /*repairs=*/true),
            Progress::Rejection::kLostEntries);
  EXPECT_EQ(progress.match_index(), 0u) << "its earlier acknowledgements do not count";
  EXPECT_EQ(progress.acknowledged(), 9u);
  EXPECT_EQ(progress.next_index(), 5u);
  EXPECT_EQ(progress.state(), Progress::State::kProbe);
  EXPECT_TRUE(progress.CanSend());
  EXPECT_TRUE(progress.OnAccepted(6, /*round=*/4));
  EXPECT_EQ(progress.match_index(), 6u);
  EXPECT_EQ(progress.acknowledged(), 9u);
}

TEST(Progress, UnreachablePeerIsProbedFromItsMatchIndex) {
  Progress progress = Replicating(3);
  progress.OnSent(5, 10);
  progress.OnUnreachable(1);
  EXPECT_EQ(progress.state(), Progress::State::kProbe);
  EXPECT_EQ(progress.next_index(), 4u);
  EXPECT_EQ(progress.inflight_bytes(), 0u);
}

TEST(Progress, LostAppendsAreLookedForOnceInASilentInterval) {
  Progress progress = Replicating(3);
  progress.OnHeartbeat();
  progress.OnSent(5, 10);
  progress.OnHeartbeat();
  EXPECT_FALSE(progress.TakeStalled()) << "the append had no full interval yet";
  for (int i = 0; i < 2; ++i) {
    progress.OnHeartbeat();
    EXPECT_TRUE(progress.TakeStalled());
    EXPECT_FALSE(progress.TakeStalled());
  }
  progress.OnHeartbeat();
  progress.OnAccepted(5, 1);
  EXPECT_FALSE(progress.TakeStalled());
}

TEST(Progress, WhatIsSentBehindLargeOrLateAppendsMayArriveLate) {
  Progress progress(4, {.messages_max = 3, .bytes_max = 1 << 20});
  EXPECT_FALSE(progress.congested());
  progress.OnSent(4, 10);
  EXPECT_FALSE(progress.congested());
  progress.OnHeartbeat();
  EXPECT_TRUE(progress.congested()) << "the probe was not answered";
  progress.OnAccepted(4, 1);
  EXPECT_FALSE(progress.congested());
  progress.OnSent(5, 100 << 10);
  EXPECT_TRUE(progress.congested());
  progress.OnAccepted(5, 1);
  progress.OnSent(6, 10);
  progress.OnHeartbeat();
  EXPECT_FALSE(progress.congested()) << "the append had no full interval yet";
  progress.OnHeartbeat();
  EXPECT_TRUE(progress.congested());
  progress.OnAccepted(6, 1);
  EXPECT_FALSE(progress.congested());
}

}  // namespace
}  // namespace raftkv::raft
