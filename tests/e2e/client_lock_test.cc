// The C++ library's locks and elections, and `raftkv lock` and `elect`, against real processes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <future>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/raftkv.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using client::Client;
using client::Election;
using client::Keys;
using client::LeaderObserver;
using client::Mutex;
using client::Op;
using client::Session;
using testing::HasSubstr;

class ClientLock : public testing::Test {
 protected:
  void Start(ClusterOptions options) {
    cluster_.emplace(std::move(options));
    cluster_->StartAll();
    ASSERT_GE(cluster_->WaitForLeader(), 0);
    auto client = Client::Connect({.endpoints = cluster_->client_addresses()});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    // Just after the start, the members may not have agreed on the newest cluster version.
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return client_->LeaseGrant(600).ok(); }));
  }

  std::unique_ptr<Session> Open(absl::Duration ttl = absl::Seconds(60)) {
    auto session = Session::Open(*client_, {.ttl = ttl});
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }
  bool EventuallyCandidates(const std::string& name, size_t number) {
    return Eventually(absl::Seconds(20), [&] {
      const auto keys = client_->Range(Keys::Prefix(name + "/"));
      return keys.ok() && keys->kvs.size() == number;
    });
  }

  // `raftkv lock` or `elect`, with its output in a file.
  Process Cli(std::vector<std::string> words, const std::string& file) {
    words.insert(words.begin(),
                 {BuiltProgram("raftkv"), "--endpoints=" + cluster_->client_address(0)});
    return Process({.argv = std::move(words)}, cluster_->dir() + "/" + file);
  }
  std::string Output(const std::string& file) { return ReadFile(cluster_->dir() + "/" + file); }
  bool EventuallyPrints(const std::string& file, const std::string& text) {
    return Eventually(absl::Seconds(20), [&] { return absl::StrContains(Output(file), text); });
  }

  std::optional<Cluster> cluster_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientLock, OneSessionOwnsALockAtATimeInTheOrderOfTheirKeys) {
  Start({.size = 1});
  const auto a = Open(), b = Open(), c = Open();
  Mutex first(a.get(), "jobs"), second(b.get(), "jobs"), third(c.get(), "jobs");
  ASSERT_TRUE(first.Lock().ok());
  EXPECT_EQ(first.key(), absl::StrCat("jobs/", absl::Hex(static_cast<uint64_t>(a->lease()))));
  EXPECT_TRUE(first.Lock().ok()) << "it is the owner already";
  EXPECT_TRUE(absl::IsDeadlineExceeded(second.Lock(absl::InfinitePast())));
  EXPECT_TRUE(EventuallyCandidates("jobs", 1)) << "who gives up leaves no key";

  const auto wait = [](Mutex* mutex) {
    return std::async(std::launch::async, [mutex] { return mutex->Lock(); });
  };
  auto second_waits = wait(&second);
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  auto third_waits = wait(&third);
  ASSERT_TRUE(EventuallyCandidates("jobs", 3));
  second.Cancel();
  EXPECT_TRUE(absl::IsCancelled(second_waits.get()));
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  EXPECT_EQ(third_waits.wait_for(std::chrono::seconds(0)), std::future_status::timeout);

  const int64_t token = first.fencing_token();
  const client::Transaction owned = {.when = {first.IsOwner()}, .then = {Op::Put("data", "1")}};
  EXPECT_TRUE(client_->Txn(owned)->succeeded);
  EXPECT_TRUE(first.Unlock().ok());
  EXPECT_FALSE(client_->Txn(owned)->succeeded);
  ASSERT_TRUE(third_waits.get().ok());
  EXPECT_GT(third.fencing_token(), token);
  EXPECT_GE(third.locked_revision(), third.fencing_token());

  // A session that ends gives its locks back; and someone may delete the key of one that waits.
  Mutex again(a.get(), "jobs");
  auto waits = wait(&again);
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  ASSERT_TRUE(c->Close().ok());
  ASSERT_TRUE(waits.get().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(third.Lock()));
  const auto d = Open();
  Mutex fourth(d.get(), "jobs");
  auto robbed = wait(&fourth);
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  ASSERT_TRUE(client_->Delete(fourth.key()).ok());
  ASSERT_TRUE(again.Unlock().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(robbed.get()));
}

TEST_F(ClientLock, ObserversSeeEachLeaderAndWhatItProclaims) {
  Start({.size = 1});
  const auto a = Open(), b = Open();
  LeaderObserver observer(client_.get(), "chief");
  const auto next = [&observer] {
    const auto leader = observer.Next(absl::Now() + absl::Seconds(20));
    return leader.ok() ? leader->leader.value : std::string(leader.status().message());
  };
  EXPECT_TRUE(absl::IsDeadlineExceeded(observer.Next(absl::Now()).status()));
  Election first(a.get(), "chief"), second(b.get(), "chief");
  EXPECT_TRUE(absl::IsFailedPrecondition(first.Proclaim("early")));
  ASSERT_TRUE(first.Campaign("a1").ok());
  EXPECT_EQ(next(), "a1");
  ASSERT_TRUE(first.Proclaim("a2").ok());
  EXPECT_EQ(next(), "a2");
  auto waits = std::async(std::launch::async, [&] { return second.Campaign("b1"); });
  ASSERT_TRUE(EventuallyCandidates("chief", 2));
  const int64_t token = first.fencing_token();
  ASSERT_TRUE(first.Resign().ok());
  ASSERT_TRUE(waits.get().ok());
  EXPECT_EQ(next(), "b1");
  EXPECT_GT(second.fencing_token(), token);
  EXPECT_TRUE(client_->Txn({.when = {second.IsLeader()}, .then = {Op::Get("x")}})->succeeded);
  observer.Cancel();
  EXPECT_TRUE(absl::IsCancelled(observer.Next().status()));
}

TEST_F(ClientLock, IsKeptWhenMembersDie) {
  Start({.size = 3, .election_timeout = absl::Milliseconds(500)});
  const auto a = Open(absl::Seconds(3)), b = Open(absl::Seconds(3));
  Mutex owner(a.get(), "jobs"), other(b.get(), "jobs");
  ASSERT_TRUE(owner.Lock().ok());
  const int64_t token = owner.fencing_token();
  auto waits = std::async(std::launch::async, [&] { return other.Lock(); });
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  for (int round = 0; round < 2; ++round) {
    const int leader = cluster_->WaitForLeader();
    ASSERT_GE(leader, 0);
    cluster_->Kill(leader);
    cluster_->Start(leader);
  }
  ASSERT_GE(cluster_->WaitForLeader(), 0);
  EXPECT_TRUE(a->status().ok()) << a->status();
  EXPECT_EQ(waits.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_EQ(client_->Get(owner.key()).value()->create_revision, token);
  ASSERT_TRUE(owner.Unlock().ok());
  EXPECT_TRUE(waits.get().ok());
}

TEST_F(ClientLock, ASessionKnowsThatItsLeaseIsGone) {
  Start({.size = 1});
  std::promise<absl::Status> lost;
  auto session = Session::Open(
      *client_,
      {.ttl = absl::Seconds(3), .on_lost = [&](const absl::Status& why) { lost.set_value(why); }});
  ASSERT_TRUE(session.ok()) << session.status();
  Mutex mutex(session->get(), "jobs");
  ASSERT_TRUE(mutex.Lock().ok());
  ASSERT_TRUE(client_->LeaseRevoke((*session)->lease()).ok());
  EXPECT_THAT(std::string(lost.get_future().get().message()), HasSubstr("expired or was revoked"));
  EXPECT_TRUE(absl::IsFailedPrecondition((*session)->status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(mutex.Lock()));
}

TEST_F(ClientLock, CommandLineHoldsALockWhileACommandRuns) {
  Start({.size = 1});
  Process holder = Cli({"lock", "jobs", "--ttl=5"}, "holder");
  ASSERT_TRUE(EventuallyPrints("holder", "\n\n"));
  const auto owner = client_->Range(Keys::Prefix("jobs/"));
  ASSERT_TRUE(owner.ok() && owner->kvs.size() == 1);
  EXPECT_EQ(Output("holder"), owner->kvs[0].key + "\n\n");

  Process runner =
      Cli({"lock", "jobs", "--", "sh", "-c", "echo $ETCD_LOCK_KEY $RAFTKV_LOCK_TOKEN; exit 7"},
          "runner");
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  Process waiter = Cli({"lock", "jobs"}, "waiter");
  ASSERT_TRUE(EventuallyCandidates("jobs", 3));
  waiter.Signal(SIGTERM);
  EXPECT_EQ(waiter.Wait(absl::Seconds(20)), 1);
  EXPECT_EQ(Output("waiter"), "Error: interrupted while waiting\n");
  EXPECT_EQ(Output("runner"), "") << "the lock is taken";
  const auto two =
      client_->Range(Keys::Prefix("jobs/"), {.sort_by = client::SortBy::kCreateRevision});
  ASSERT_TRUE(two.ok() && two->kvs.size() == 2);
  holder.Signal(SIGINT);
  EXPECT_EQ(holder.Wait(absl::Seconds(20)), 0);
  EXPECT_EQ(runner.Wait(absl::Seconds(20)), 7) << "the command's exit code";
  EXPECT_EQ(Output("runner"),
            absl::StrCat(two->kvs[1].key, " ", two->kvs[1].create_revision, "\n"));
  EXPECT_TRUE(EventuallyCandidates("jobs", 0));
  EXPECT_EQ(Cli({"lock", "jobs", "no-such-command"}, "none").Wait(absl::Seconds(20)), 127);
  EXPECT_THAT(Output("none"), HasSubstr("cannot run \"no-such-command\": No such file"));

  // SIGTERM is passed on to the command.
  Process stopped = Cli({"lock", "jobs", "--", "sh", "-c", "echo runs; exec sleep 100"}, "stopped");
  ASSERT_TRUE(EventuallyPrints("stopped", "runs"));
  stopped.Signal(SIGTERM);
  EXPECT_EQ(stopped.Wait(absl::Seconds(20)), 128 + SIGTERM);
}

TEST_F(ClientLock, CommandLineStopsTheCommandWhenTheLockIsLost) {
  Start({.size = 1});
  Process holder =
      Cli({"lock", "jobs", "--ttl=2", "--", "sh", "-c",
           "sh -c 'trap \"echo told to end; exit 0\" TERM; echo runs; while :; do sleep 0.1; done'"
           "; echo never"},
          "holder");
  ASSERT_TRUE(EventuallyPrints("holder", "runs"));
  Process leader = Cli({"elect", "chief", "me", "--ttl=2"}, "leader");
  ASSERT_TRUE(EventuallyPrints("leader", "\nme\n"));
  cluster_->Kill(0);
  EXPECT_EQ(holder.Wait(absl::Seconds(30)), 1);
  EXPECT_THAT(Output("holder"),
              HasSubstr("Error: the lock is lost: the lease could not be renewed for 2s"));
  EXPECT_THAT(Output("holder"), HasSubstr("; stopping the command\n"));
  EXPECT_TRUE(EventuallyPrints("holder", "told to end")) << "a process that the command started";
  EXPECT_EQ(leader.Wait(absl::Seconds(30)), 1);
  EXPECT_THAT(Output("leader"),
              HasSubstr("Error: the leadership is lost: the lease could not be renewed for 2s"));
}

// The lease lives for long, so that no renewal notices it.
TEST_F(ClientLock, CommandLineNoticesThatItsKeyIsGone) {
  Start({.size = 1});
  const auto only = [this](const char* name) {
    const auto keys = client_->Range(Keys::Prefix(std::string(name) + "/"));
    EXPECT_TRUE(keys.ok() && keys->kvs.size() == 1);
    return keys.ok() && !keys->kvs.empty() ? keys->kvs[0] : client::KeyValue();
  };
  for (const bool revoke : {true, false}) {
    SCOPED_TRACE(revoke);
    const std::string file = revoke ? "revoked" : "deleted";
    Process holder =
        Cli({"lock", "jobs", "--ttl=600", "--", "sh", "-c", "echo runs; exec sleep 100"}, file);
    ASSERT_TRUE(EventuallyPrints(file, "runs"));
    const client::KeyValue own = only("jobs");
    ASSERT_TRUE(revoke ? client_->LeaseRevoke(own.lease).ok() : client_->Delete(own.key).ok());
    EXPECT_EQ(holder.Wait(absl::Seconds(30)), 1);
    EXPECT_THAT(Output(file), HasSubstr("Error: the lock is lost: its key " + own.key +
                                        " is gone: somebody deleted it, or its lease has expired "
                                        "or was revoked; stopping the command\n"));
  }
  Process leader = Cli({"elect", "chief", "me", "--ttl=600"}, "leader");
  ASSERT_TRUE(EventuallyPrints("leader", "\nme\n"));
  ASSERT_TRUE(client_->Delete(only("chief").key).ok());
  EXPECT_EQ(leader.Wait(absl::Seconds(30)), 1);
  EXPECT_THAT(Output("leader"), HasSubstr("Error: the leadership is lost: its key chief/"));
}

TEST_F(ClientLock, CommandLineElectsAndObserves) {
  Start({.size = 1});
  Process observer = Cli({"elect", "-l", "chief"}, "observer");
  Process first = Cli({"elect", "chief", "10.0.0.1"}, "first");
  ASSERT_TRUE(EventuallyPrints("observer", "\n10.0.0.1\n"));
  Process second = Cli({"elect", "chief", "10.0.0.2"}, "second");
  ASSERT_TRUE(EventuallyCandidates("chief", 2));
  first.Signal(SIGINT);
  EXPECT_EQ(first.Wait(absl::Seconds(20)), 0);
  ASSERT_TRUE(EventuallyPrints("observer", "\n10.0.0.2\n"));
  ASSERT_TRUE(EventuallyPrints("second", "\n10.0.0.2\n"));
  EXPECT_EQ(Output("observer"), Output("first") + Output("second"));
  observer.Signal(SIGINT);
  EXPECT_EQ(observer.Wait(absl::Seconds(20)), 0);
  EXPECT_EQ(Cli({"elect", "chief"}, "bad").Wait(absl::Seconds(20)), 128);
  EXPECT_EQ(Cli({"elect", "chief", "x", "-l"}, "bad").Wait(absl::Seconds(20)), 128);
}

}  // namespace
}  // namespace raftkv::e2e
