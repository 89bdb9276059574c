// Which reads wait for which, on the workers for reads (Edge::OnReaders).

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "server/api/edge.h"

namespace raftkv::api {
namespace {

class ReadersTest : public testing::Test {
 protected:
  // A read that needs more than kShortRead, and then waits for `until`.
  void Long(const std::string& client, absl::Notification* until) {
    Read(client, [this, until](const Limits& limits) {
      if (limits.steps_max == kShortRead.steps_max) return absl::ResourceExhaustedError("long");
      long_begun_.DecrementCount();
      until->WaitForNotification();
      return absl::OkStatus();
    });
  }
  void Read(const std::string& client, std::function<absl::Status(const Limits&)> read) {
    edge_.OnReaders(
        client, [] { return false; }, std::move(read),
        [this](const absl::Status& s) { EXPECT_TRUE(s.ok()) << s; });
  }

  Config config_;
  absl::BlockingCounter long_begun_{2};
  Workers long_readers_{/*threads=*/2, /*waiting_max=*/1024};
  Workers readers_{/*threads=*/1, /*waiting_max=*/1024};
  PhaseValue phase_;
  Edge edge_{.config = &config_,
             .phase = &phase_,
             .unsent_bytes = [] { return size_t{0}; },
             .readers = &readers_,
             .long_readers = &long_readers_};
};

TEST_F(ReadersTest, APageIsAnsweredWhileLongReadsHoldAllTheirWorkers) {
  absl::Notification answered, page;
  for (const char* client : {"a", "b"}) Long(client, &answered);
  long_begun_.Wait();
  // Without workers of their own they would hold the only reader, too.
  Read("c", [&](const Limits&) {
    page.Notify();
    return absl::OkStatus();
  });
  EXPECT_TRUE(page.WaitForNotificationWithTimeout(absl::Seconds(20)));
  answered.Notify();
  readers_.Stop();
  long_readers_.Stop();
}

// Each long read begins as a short one. So clients that send hundreds of them would delay the pages
// of others, too.
TEST_F(ReadersTest, ClientsTakeTurns) {
  absl::Notification begun, all_sent;
  std::vector<std::string> order;  // of the only reader
  const auto note = [&](const std::string& client) {
    Read(client, [&order, client](const Limits&) {
      order.push_back(client);
      return absl::OkStatus();
    });
  };
  Read("a", [&](const Limits&) {
    begun.Notify();
    all_sent.WaitForNotification();
    return absl::OkStatus();
  });
  begun.WaitForNotification();
  for (int i = 0; i < 200; ++i) {
    note("a");
    note("b");
  }
  note("c");
  all_sent.Notify();
  readers_.Stop();
  ASSERT_EQ(order.size(), 401u);
  EXPECT_EQ(order[2], "c");
}

// The wait for a worker does not count.
TEST_F(ReadersTest, AReadEndsAfterTheRequestTimeout) {
  config_.limits.request_timeout = absl::Milliseconds(20);
  bool ended = false;
  edge_.OnReaders(
      "a", [] { return false; },
      [](const Limits& limits) {
        while (!limits.give_up()) {
        }
        return absl::CancelledError();
      },
      [&](const absl::Status& status) { ended = status == ReadToWire(Fate::kTimedOut); });
  readers_.Stop();
  EXPECT_TRUE(ended);
}

TEST(Workers, AnOwnerGetsAQuarterOfThePlaces) {
  absl::Notification all_sent;
  Workers workers(/*threads=*/1, /*waiting_max=*/8);
  absl::Notification begun;
  ASSERT_TRUE(workers.Run([&] {
    begun.Notify();
    all_sent.WaitForNotification();
  }));
  begun.WaitForNotification();
  const auto accepted = [&](const char* owner) {
    int count = 0;
    while (workers.Run([] {}, owner)) ++count;
    return count;
  };
  EXPECT_EQ(accepted("a"), 2);
  EXPECT_EQ(accepted("b"), 2);
  EXPECT_EQ(accepted(""), 4);
  EXPECT_EQ(accepted("c"), 0) << "there are eight places";
  all_sent.Notify();
}

}  // namespace
}  // namespace raftkv::api
