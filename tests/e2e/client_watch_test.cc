// The C++ library's watch, and `raftkv watch`, against real processes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/raftkv.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using client::Client;
using client::Event;
using client::Keys;
using client::WatchBatch;

std::unique_ptr<Client> ConnectTo(const Cluster& cluster) {
  auto client = Client::Connect({.endpoints = cluster.client_addresses()});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

TEST(ClientWatch, ReturnsWhatHappensAfterItWasAccepted) {
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  const auto client = ConnectTo(cluster);
  ASSERT_TRUE(client->Put("k1", "before").ok());
  auto watcher = client->Watch(Keys::Prefix("k"), {.prev_kv = true});
  ASSERT_TRUE(watcher.ok()) << watcher.status();
  EXPECT_TRUE(
      absl::IsDeadlineExceeded((*watcher)->Next(absl::Now() + absl::Milliseconds(50)).status()));
  ASSERT_TRUE(client->Put("k1", "1").ok());
  ASSERT_TRUE(client->Put("other", "2").ok());
  ASSERT_TRUE(client->Delete("k1").ok());
  std::vector<Event> events;
  while (events.size() < 2) {
    const auto batch = (*watcher)->Next(absl::Now() + absl::Seconds(10));
    ASSERT_TRUE(batch.ok()) << batch.status();
    events.insert(events.end(), batch->events.begin(), batch->events.end());
  }
  EXPECT_EQ(events[0].kv.value, "1");
  EXPECT_EQ(events[0].prev_kv->value, "before");
  EXPECT_EQ(events[1].type, Event::Type::kDelete);
  EXPECT_EQ(events[1].prev_kv->value, "1");
  EXPECT_EQ((*watcher)->next_revision(), events[1].kv.mod_revision + 1);

  // It is answered also while Next waits.
  const int64_t other = client->Put("other", "3")->header.revision;
  std::thread asker([&] { (*watcher)->RequestProgress(); });
  const auto progress = (*watcher)->Next(absl::Now() + absl::Seconds(10));
  asker.join();
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_TRUE(progress->events.empty());
  EXPECT_EQ(progress->header.revision, other);
  EXPECT_EQ((*watcher)->next_revision(), other + 1);

  std::thread canceller([&] { (*watcher)->Cancel(); });
  EXPECT_TRUE(absl::IsCancelled((*watcher)->Next().status()));
  canceller.join();

  ASSERT_TRUE(client->Compact((*watcher)->next_revision() - 1).ok());
  auto late = client->Watch("k1", {.start_revision = 2});
  ASSERT_TRUE(late.ok()) << late.status();
  EXPECT_TRUE(absl::IsOutOfRange((*late)->Next().status()));
  EXPECT_EQ((*late)->compact_revision(), (*watcher)->next_revision() - 1);
  EXPECT_FALSE(client->Watch(Keys::Range("b", "a")).ok());
}

TEST(ClientWatch, ResumesAtAnotherMember) {
  Cluster cluster({.size = 3, .election_timeout = absl::Milliseconds(500)});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  const auto client = ConnectTo(cluster);
  auto watcher = client->Watch("k", {.start_revision = 2});
  ASSERT_TRUE(watcher.ok()) << watcher.status();
  std::vector<int64_t> revisions;
  const auto read_to = [&](int64_t revision) {
    while (revisions.empty() || revisions.back() < revision) {
      const auto batch = (*watcher)->Next(absl::Now() + absl::Seconds(30));
      if (!batch.ok()) return ADD_FAILURE() << batch.status(), false;
      for (const Event& event : batch->events) revisions.push_back(event.kv.mod_revision);
    }
    return true;
  };
  int64_t first = 0, last = 0;
  for (int victim = 0; victim < 3; ++victim) {
    for (int i = 0; i < 20; ++i) {
      for (;;) {  // until it is acknowledged
        const auto put = client->Put("k", absl::StrCat(i));
        if (put.ok()) {
          last = put->header.revision;
          break;
        }
      }
      if (first == 0) first = last;
    }
    ASSERT_TRUE(read_to(last));
    cluster.Kill(victim);
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster.WaitForLeader() >= 0; }));
    cluster.Start(victim);
  }
  const auto put = client->Put("k", "last");
  ASSERT_TRUE(put.ok()) << put.status();
  ASSERT_TRUE(read_to(put->header.revision));
  ASSERT_EQ(revisions.front(), 2);
  for (size_t i = 0; i < revisions.size(); ++i) {
    ASSERT_EQ(revisions[i], static_cast<int64_t>(i) + 2) << "every revision, once, in order";
  }
}

TEST(ClientWatch, CommandLineRunsACommandForEachEvent) {
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  const auto client = ConnectTo(cluster);
  ASSERT_TRUE(client->Put("k", "one").ok());
  ASSERT_TRUE(client->Delete("k").ok());
  const std::string endpoints = "--endpoints=" + cluster.client_address(0);
  const std::string out = cluster.dir() + "/watch";
  Process watch(
      {.argv = {BuiltProgram("raftkv"), endpoints, "watch", "k", "--rev=2", "--prev-kv", "--", "sh",
                "-c", "echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"}},
      out);
  const std::string expected =
      "PUT\nk\none\nDELETE\nk\none\nk\n\n\"PUT\" \"k\" \"one\"\n\"DELETE\" \"k\" \"\"\n";
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return ReadFile(out) == expected; }))
      << ReadFile(out);
  watch.Kill();

  ASSERT_TRUE(client->Compact(3).ok());
  const Finished compacted =
      RunToEnd({.argv = {BuiltProgram("raftkv"), endpoints, "watch", "k", "--rev=2"}});
  EXPECT_EQ(compacted.exit_code, 5);
  EXPECT_EQ(compacted.err,
            "Error: etcdserver: mvcc: required revision has been compacted; the oldest revision is "
            "3\n");
}

}  // namespace
}  // namespace raftkv::e2e
