// A member within this process (raftkv/server.h), and its client without a connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <raftkv.h>
#include <raftkv/server.h>

#include <future>
#include <stop_token>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/e2e/process.h"

namespace raftkv::server {
namespace {

using client::Client;
using client::GetRequest;
using client::Keys;
using client::Op;
using client::OutcomeUnknown;
using client::PutRequest;
using testing::HasSubstr;

class Embedded : public testing::Test {
 protected:
  // The configuration of a cluster with this number of members on loopback.
  std::string Toml(int members) {
    if (ports_.empty()) ports_ = e2e::FreePorts(2 * members);
    std::string toml = "[cluster]\nname = \"embedded\"\n";
    for (int i = 0; i < members; ++i) {
      absl::StrAppend(&toml, "[[member]]\nname = \"n", i + 1, "\"\n",             //
                      "client_url = \"http://127.0.0.1:", ports_[2 * i], "\"\n",  //
                      "peer_url = \"http://127.0.0.1:", ports_[2 * i + 1], "\"\n", "data_dir = \"",
                      dir_.path(), "/n", i + 1, "\"\n");
    }
    return toml;
  }
  std::unique_ptr<Server> Start(Config config) {
    auto server = Server::Start(config);
    EXPECT_TRUE(server.ok()) << server.status();
    return server.ok() ? *std::move(server) : nullptr;
  }

  // Waits until the time that the lease has left rises. False: the lease is over before.
  static bool IsRenewed(Client& client, int64_t lease) {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    for (int64_t before = INT64_MAX; absl::Now() < end;) {
      const auto left = client.LeaseTimeToLive(lease);
      if (!left.ok() || left->ttl <= 0) return false;
      if (left->ttl > before) return true;
      before = left->ttl;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return false;
  }

  e2e::TempDir dir_;
  std::vector<int> ports_;
};

TEST_F(Embedded, ServesItsOwnClientAndOthers) {
  const auto server = Start({.toml = Toml(1)});
  const auto client = server->NewClient();
  const auto put = client->Put("colour", "blue");
  ASSERT_TRUE(put.ok()) << put.status();
  const auto txn = client->Txn({.when = {client::ModRevision("colour") == put->header.revision},
                                .then = {Op::Put("size", "7"), Op::Get("colour")}});
  ASSERT_TRUE(txn.ok()) << txn.status();
  EXPECT_TRUE(txn->succeeded);
  EXPECT_EQ(std::get<client::RangeResult>(txn->results[1]).kvs[0].value, "blue");
  const auto lease = client->LeaseGrant(60);
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(client->LeaseTimeToLive(lease->id)->granted_ttl, 60);
  EXPECT_EQ(client->MemberList()->members.size(), 1);
  EXPECT_EQ(client->Status()->leader, put->header.member_id);

  const auto remote = *Client::Connect({.endpoints = {server->client_url()}});
  EXPECT_EQ(remote->Get("size").value()->value, "7");
  ASSERT_TRUE(remote->Put("size", "8").ok());
  EXPECT_EQ(client->Get("size").value()->value, "8");
  EXPECT_EQ(client->Delete(Keys::All())->deleted, 2);

  // The errors are those of the wire.
  EXPECT_EQ(client->Put("", "x").status().message(), "etcdserver: key is not provided");
  EXPECT_EQ(client->Put("", "x").status(), remote->Put("", "x").status());
  EXPECT_TRUE(absl::IsNotFound(client->LeaseRevoke(999).status()));
}

TEST_F(Embedded, WatchesGetEveryEventInOrder) {
  const auto server = Start({.toml = Toml(1)});
  const auto client = server->NewClient();
  const auto before = client->Put("watched/0", "before");
  ASSERT_TRUE(before.ok()) << before.status();
  auto past = client->Watch(Keys::Prefix("watched/"), {.start_revision = before->header.revision});
  auto live = client->Watch(Keys::Prefix("watched/"));
  ASSERT_TRUE(past.ok()) << past.status();
  ASSERT_TRUE(live.ok()) << live.status();
  std::vector<std::string> expected = {"before"};
  for (int i = 0; i < 100; ++i) {
    expected.push_back(absl::StrCat(i));
    ASSERT_TRUE(client->Put(absl::StrCat("watched/", i % 7), expected.back()).ok());
  }
  const auto read = [](client::Watcher& watcher, size_t count) {
    std::vector<std::string> values;
    while (values.size() < count) {
      const auto batch = watcher.Next(absl::Now() + absl::Seconds(30));
      if (!batch.ok()) {
        ADD_FAILURE() << batch.status();
        break;
      }
      for (const client::Event& event : batch->events) values.push_back(event.kv.value);
    }
    return values;
  };
  EXPECT_EQ(read(**past, 101), expected);
  expected.erase(expected.begin());
  EXPECT_EQ(read(**live, 100), expected);
  (*live)->Cancel();
  EXPECT_TRUE(absl::IsCancelled((*live)->Next().status()));
}

TEST_F(Embedded, SessionsLocksAndSnapshots) {
  const auto server = Start({.toml = Toml(1)});
  const auto client = server->NewClient();
  const auto lease = client->LeaseGrant(60);
  ASSERT_TRUE(lease.ok()) << lease.status();
  const auto kept = client->LeaseKeepAlive(lease->id);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->ttl, 60);

  const auto first = client::Session::Open(*client, {.ttl = absl::Seconds(10)});
  const auto second = client::Session::Open(*client);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(second.ok()) << second.status();
  client::Mutex held(first->get(), "lock");
  client::Mutex waiting(second->get(), "lock");
  ASSERT_TRUE(held.Lock().ok());
  ASSERT_TRUE(IsRenewed(*client, (*first)->lease()));
  EXPECT_TRUE((*first)->status().ok()) << (*first)->status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(waiting.Lock(absl::InfinitePast())));
  ASSERT_TRUE(held.Unlock().ok());
  EXPECT_TRUE(waiting.Lock().ok());

  size_t bytes = 0;
  const absl::Status snapshot = client->Snapshot([&](std::string_view piece, auto) {
    bytes += piece.size();
    return absl::OkStatus();
  });
  EXPECT_TRUE(snapshot.ok()) << snapshot;
  EXPECT_GT(bytes, 0);
}

TEST_F(Embedded, RunsAsynchronousCallsAndPages) {
  const auto server = Start({.toml = Toml(1)});
  std::atomic<int> reports{0};
  const auto client = server->NewClient({.on_call_end = [&](const client::CallReport& report) {
    EXPECT_TRUE(report.status.ok()) << report.status;
    ++reports;
  }});
  std::vector<std::future<absl::StatusOr<client::PutResult>>> puts;
  for (int i = 0; i < 300; ++i) {
    std::promise<absl::StatusOr<client::PutResult>> promise;
    puts.push_back(promise.get_future());
    client->Start(PutRequest(absl::StrCat("k", i), std::string(1000, 'v')),
                  [p = std::move(promise)](auto put) mutable { p.set_value(put); });
  }
  for (auto& put : puts) EXPECT_TRUE(put.get().ok());
  EXPECT_EQ(reports, 300);
  int keys = 0;
  auto pages = client->Pages(Keys::Prefix("k"), {.page_bytes = 10'000});
  for (const client::KeyValue& kv : pages) keys += kv.value.size() == 1000 ? 1 : 0;
  EXPECT_TRUE(pages.status().ok()) << pages.status();
  EXPECT_EQ(keys, 300);

  // A callback may start a call, and may block.
  absl::Notification done;
  client->Start(GetRequest("k1"), [&](auto) {
    EXPECT_TRUE(client->Put("k1", "w").ok());
    client->Start(GetRequest("k1"), [&](auto) { done.Notify(); });
  });
  done.WaitForNotification();
}

// One of three members: there is no leader, so calls wait.
TEST_F(Embedded, CallsThatWaitEndAtTheirDeadlineOrWhenCancelled) {
  const auto server = Start({.toml = Toml(3), .member = "n1"});
  const auto client = server->NewClient({.request_timeout = absl::Hours(1)});
  const auto soon = [] { return absl::Now() + absl::Milliseconds(200); };
  const auto late = client->Call(PutRequest("k", "v"), {.deadline = soon()}).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_TRUE(OutcomeUnknown(late));
  std::promise<absl::Status> promise;
  client->Start(GetRequest("k"), [&](auto got) { promise.set_value(got.status()); },
                {.deadline = soon()});
  EXPECT_TRUE(absl::IsDeadlineExceeded(promise.get_future().get()));
  const auto unsent = client->Call(PutRequest("k", "v"), {.deadline = absl::InfinitePast()});
  EXPECT_TRUE(absl::IsDeadlineExceeded(unsent.status()));
  EXPECT_FALSE(OutcomeUnknown(unsent.status()));

  std::stop_source stop;
  std::promise<absl::Status> cancelled;
  client->Start(PutRequest("k", "v"), [&](auto put) { cancelled.set_value(put.status()); },
                {.cancel = stop.get_token()});
  auto blocked = std::async(std::launch::async, [&] {
    return client->Call(GetRequest("k"), {.cancel = stop.get_token()}).status();
  });
  absl::SleepFor(absl::Milliseconds(20));
  stop.request_stop();
  const absl::Status write = cancelled.get_future().get();
  EXPECT_TRUE(absl::IsCancelled(write) && OutcomeUnknown(write)) << write;
  EXPECT_TRUE(absl::IsCancelled(blocked.get()));
}

TEST_F(Embedded, TheEndOfTheClientCancelsItsCalls) {
  const auto server = Start({.toml = Toml(3), .member = "n1"});
  std::atomic<int> ended{0};
  {
    const auto client = server->NewClient({.request_timeout = absl::Hours(1)});
    for (int i = 0; i < 20; ++i) {
      client->Start(PutRequest("k", "v"), [&](auto put) {
        EXPECT_TRUE(absl::IsCancelled(put.status())) << put.status();
        ++ended;
      });
    }
  }
  EXPECT_EQ(ended, 20);
}

TEST_F(Embedded, CallsWhoseCallbacksWaitCountAsInFlight) {
  const auto server = Start({.toml = Toml(3), .member = "n1"});
  absl::Notification unblocked;
  absl::Status last;
  {
    const auto client = server->NewClient({.request_timeout = absl::Hours(1)});
    std::stop_source stop;
    stop.request_stop();
    client->Start(GetRequest("k"), [&](auto) { unblocked.WaitForNotification(); },
                  {.cancel = stop.get_token()});
    for (int i = 0; i < 10'000; ++i) {
      client->Start(GetRequest("k"), [](auto) {}, {.cancel = stop.get_token()});
    }
    client->Start(GetRequest("k"), [&](auto got) { last = got.status(); });
    unblocked.Notify();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(last)) << last;
}

TEST_F(Embedded, StopsWithCallsInFlightAndStartsAgain) {
  std::unique_ptr<Client> client;
  {
    const auto server = Start({.toml = Toml(1)});
    client = server->NewClient();
    ASSERT_TRUE(client->Put("k", "v").ok());
    std::vector<std::thread> writers;
    std::atomic<bool> stopped{false};
    for (int i = 0; i < 4; ++i) {
      writers.emplace_back([&] {
        absl::Status last;
        while (last.ok()) last = client->Put("k", "v").status();
        EXPECT_TRUE(absl::IsUnavailable(last)) << last;
      });
    }
    absl::SleepFor(absl::Milliseconds(50));
    server->Stop();
    for (std::thread& writer : writers) writer.join();
  }
  const absl::Status gone = client->Put("k", "v").status();
  EXPECT_TRUE(absl::IsUnavailable(gone)) << gone;
  EXPECT_FALSE(OutcomeUnknown(gone));
  const auto again = Start({.toml = Toml(1)});
  EXPECT_EQ(again->NewClient()->Get("k").value()->value, "v");
}

TEST_F(Embedded, SeveralMembersMayRunInOneProcess) {
  const std::string toml = Toml(3);
  absl::Notification removed;
  std::vector<std::unique_ptr<Server>> servers;
  for (const char* name : {"n1", "n2", "n3"}) {
    servers.push_back(Start({.toml = toml, .member = name, .on_removed = [&removed, name] {
                               EXPECT_EQ(name, std::string("n3"));
                               removed.Notify();
                             }}));
  }
  ASSERT_TRUE(servers[0]->NewClient()->Put("k", "v").ok());
  for (const auto& server : servers) EXPECT_EQ(server->NewClient()->Get("k").value()->value, "v");

  const auto client = servers[0]->NewClient();
  const auto members = client->MemberList();
  ASSERT_TRUE(members.ok()) << members.status();
  for (const client::Member& member : members->members) {
    if (member.name != "n3") continue;
    absl::Status status = absl::UnavailableError("");
    while (absl::IsUnavailable(status)) status = client->MemberRemove(member.id).status();
    ASSERT_TRUE(status.ok()) << status;
  }
  removed.WaitForNotification();
  servers[2]->Stop();
  EXPECT_TRUE(client->Put("k", "w").ok());
}

TEST_F(Embedded, ErrorsOfTheConfigurationSayWhatToChange) {
  const auto error = [](const Config& config) {
    return std::string(Server::Start(config).status().message());
  };
  EXPECT_EQ(error({}), "set either `file` or `toml` of the configuration");
  EXPECT_THAT(error({.toml = "[cluster]\nnama = \"x\"\n"}), HasSubstr("configuration:2: "));
  EXPECT_THAT(error({.file = "/nowhere.toml"}), HasSubstr("/nowhere.toml: cannot be read"));
  EXPECT_THAT(error({.toml = Toml(3), .member = "n4"}), HasSubstr("no member \"n4\""));
  const auto first = Start({.toml = Toml(1)});
  EXPECT_FALSE(Server::Start({.toml = Toml(1)}).ok());
}

TEST_F(Embedded, TheExampleWorks) {
  const std::string port = absl::StrCat(e2e::FreePorts(2)[0]);
  for (int start = 1; start <= 2; ++start) {
    const e2e::Finished finished = e2e::RunToEnd(
        {.argv = {RAFTKV_BIN_DIR "/raftkv_embedded_example", dir_.path() + "/example", port}});
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.out, absl::StrCat("start number ", start, "\nothers see ", start, "\n"));
  }
}

}  // namespace
}  // namespace raftkv::server
