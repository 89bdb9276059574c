// Clusters whose members are killed, wiped or paused. A cluster serves while it has a majority,
// returns errors while it has none, and never elects a leader that lacks acknowledged writes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;

constexpr char kTimedOut[] = "etcdserver: request timed out";
const absl::Duration kElectionTimeout = absl::Milliseconds(500);

ClusterOptions Quick(int size) {
  ClusterOptions options;
  options.size = size;
  options.heartbeat_interval = absl::Milliseconds(50);
  options.election_timeout = kElectionTimeout;
  options.limits = "request_timeout = \"2s\"";
  return options;
}

bool KnowsNoLeader(Cluster& cluster, int i) {
  const auto status = cluster.Status(i);
  return status.ok() && status.response.leader() == 0;
}

std::string Value(const Reply<etcdserverpb::RangeResponse>& reply) {
  if (!reply.ok()) return reply.status.error_message();
  return reply.response.kvs_size() == 0 ? "(none)" : reply.response.kvs(0).value();
}

void ExpectTimedOut(const grpc::Status& status) {
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), kTimedOut);
}

TEST(FiveMembers, ServeWithoutTwoFailWithoutThreeAndRecover) {
  Cluster cluster(Quick(5));
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const auto member = [&](int i) { return (leader + i) % 5; };
  uint64_t leader_id = cluster.Status(leader).response.leader();
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
      return cluster.Status(i).response.leader() == leader_id;
    })) << cluster.log(i);
  }
  ASSERT_TRUE(cluster.Put(member(1), "k", "all five").ok());

  cluster.Kill(leader);
  cluster.Kill(member(1));
  ASSERT_GE(cluster.WaitForLeader(), 0);
  ASSERT_TRUE(cluster.Put(member(2), "k", "three left").ok());
  for (int i = 2; i < 5; ++i) EXPECT_EQ(Value(cluster.Get(member(i), "k")), "three left");

  cluster.Kill(member(2));
  for (int i = 3; i < 5; ++i) {
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return KnowsNoLeader(cluster, member(i)); }));
    // The deadline of the calls is much later than the server's timeout, so the server answers.
    ExpectTimedOut(cluster.Put(member(i), "k", "two left").status);
    ExpectTimedOut(cluster.Get(member(i), "k").status);
    EXPECT_EQ(Value(cluster.Get(member(i), "k", /*serializable=*/true)), "three left");
    if (ProductUnderTest() == Product::kEtcd) continue;
    EXPECT_THAT(
        cluster.log(member(i)),
        HasSubstr("no majority reachable: 2 of 5 members answer; requests fail until 3 do"));
  }

  for (int i = 0; i < 3; ++i) cluster.Start(member(i));
  ASSERT_GE(cluster.WaitForLeader(), 0);
  ASSERT_TRUE(cluster.Put(member(0), "k", "five again").ok());
  EXPECT_TRUE(cluster.MembersAreEqual());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Value(cluster.Get(i, "k")), "five again");
}

// n3 acknowledged a write that n2 never got, and then lost its disk. If n3 voted, n2 could become
// leader without that write.
TEST(WipedMember, DoesNotVoteForALeaderWithoutItsAcknowledgedWrites) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd leads, and loses the write";
  Cluster cluster(Quick(3));
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  ASSERT_TRUE(cluster.Put(0, "before", "1").ok());
  ASSERT_TRUE(cluster.MembersAreEqual());
  cluster.Kill(1);
  ASSERT_GE(cluster.WaitForLeader(), 0);
  ASSERT_TRUE(cluster.Put(0, "acknowledged", "by n1 and n3").ok());

  cluster.Kill(0);
  cluster.Kill(2);
  cluster.Wipe(2);
  cluster.Start(1);
  cluster.Start(2);
  ASSERT_TRUE(Eventually(absl::Seconds(20),
                         [&] { return KnowsNoLeader(cluster, 1) && KnowsNoLeader(cluster, 2); }));
  // For ten election timeouts there must be no leader.
  const absl::Time end = absl::Now() + 10 * kElectionTimeout;
  EXPECT_FALSE(Eventually(end - absl::Now(), [&] {
    return !KnowsNoLeader(cluster, 1) || !KnowsNoLeader(cluster, 2);
  })) << "a leader was elected with the vote of a wiped member";
  ExpectTimedOut(cluster.Put(1, "k", "v").status);

  cluster.Start(0);
  ASSERT_GE(cluster.WaitForLeader(), 0);
  // The wiped member logs why the others reject it.
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
    return testing::Value(cluster.log(2), HasSubstr("rejects this member: its data directory " +
                                                    cluster.data_dir(2)));
  })) << cluster.log(2);
  // A client tries another member, even for a write.
  const Finished put =
      RunToEnd({.argv = {BuiltProgram("raftkv"), "--endpoints",
                         cluster.client_address(2) + "," + cluster.client_address(0), "put", "k",
                         "moved on"}});
  EXPECT_EQ(put.exit_code, 0) << put.err;
  // The wiped member returns an error to clients and does not show an empty store.
  for (const bool serializable : {true, false}) {
    const auto get = cluster.Get(2, "before", serializable);
    EXPECT_EQ(get.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(get.status.error_message(), HasSubstr("lost its data directory"));
  }
  EXPECT_EQ(Call(cluster.connection(2), *cluster.connection(2).maintenance,
                 &etcdserverpb::Maintenance::Stub::HashKV, etcdserverpb::HashKVRequest())
                .status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(cluster.connection(2), *cluster.connection(2).health,
                 &grpc::health::v1::Health::Stub::Check, grpc::health::v1::HealthCheckRequest())
                .response.status(),
            grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_THAT(cluster.Status(2).response.errors(),
              testing::Contains(HasSubstr("lost its data directory")));
  EXPECT_THAT(cluster.log(0) + cluster.log(1),
              HasSubstr("rejected n3: its data directory is not the one that this cluster knows"));
  EXPECT_EQ(Value(cluster.Get(1, "acknowledged")), "by n1 and n3");
  EXPECT_EQ(Value(cluster.Get(0, "before")), "1");
  EXPECT_TRUE(cluster.Put(1, "after", "2").ok());
}

// Without a leader the write was not proposed. The client learns that it certainly failed, so that
// it is safe to repeat.
TEST(WithoutLeader, APutThatWasNeverProposedHasCertainlyFailed) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd does not tell clients";
  Cluster cluster(Quick(3));
  cluster.Start(0);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return KnowsNoLeader(cluster, 0); }));
  const Finished put = RunToEnd({.argv = {BuiltProgram("raftkv"), "--endpoints",
                                          cluster.client_address(0), "put", "k", "v"}});
  EXPECT_EQ(put.exit_code, 1);
  EXPECT_THAT(put.err, testing::StartsWith(
                           "Error: etcdserver: request timed out; the cluster has no leader: "));
  EXPECT_THAT(cluster.log(0), testing::Not(HasSubstr("ready to serve")));
  cluster.Start(1);
  cluster.Start(2);
  ASSERT_GE(cluster.WaitForLeader(), 0);
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
    return testing::Value(cluster.log(0), HasSubstr("ready to serve client requests on"));
  }));
}

// The kernel still accepts connections for a process that is paused, so connecting succeeds.
TEST(PausedMember, TheCommandLineUsesTheOthers) {
  Cluster cluster(Quick(3));
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int paused = (leader + 1) % 3;
  cluster.Pause(paused);
  const std::string endpoints =
      absl::StrCat(cluster.client_address(paused), ",", cluster.client_address((leader + 2) % 3),
                   ",", cluster.client_address(leader));
  const auto run = [&](std::vector<std::string> words) {
    // The timeouts are equal, so a command that waits for the paused member has no time for
    // another.
    words.insert(words.begin(), {BuiltProgram("raftkv"), "--endpoints", endpoints,
                                 "--dial-timeout=10s", "--command-timeout=10s"});
    return RunToEnd({.argv = words});
  };
  const Finished put = run({"put", "k", "v"});
  EXPECT_EQ(put.exit_code, 0) << put.err;
  const Finished get = run({"get", "k"});
  EXPECT_EQ(get.exit_code, 0) << get.err;
  EXPECT_EQ(get.out, "k\nv\n");
}

TEST(PausedMember, ALeaderThatWasPausedGivesNoStaleReads) {
  Cluster cluster(Quick(3));
  cluster.StartAll();
  const int old_leader = cluster.WaitForLeader();
  ASSERT_GE(old_leader, 0);
  const int other = (old_leader + 1) % 3;
  ASSERT_TRUE(cluster.Put(old_leader, "k", "old").ok());
  ASSERT_EQ(Value(cluster.Get(old_leader, "k")), "old");

  cluster.Pause(old_leader);
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
    return cluster.Put(other, "k", "new", absl::Milliseconds(500)).ok();
  }));
  // These requests wait in its socket. They are the first that it reads when it continues.
  std::vector<std::future<std::string>> reads;
  for (int i = 0; i < 8; ++i) {
    reads.push_back(
        std::async(std::launch::async, [&] { return Value(cluster.Get(old_leader, "k")); }));
  }
  absl::SleepFor(absl::Milliseconds(100));  // so that they arrive before it continues
  cluster.Resume(old_leader);
  for (auto& read : reads) EXPECT_THAT(read.get(), testing::AnyOf("new", HasSubstr(kTimedOut)));
  EXPECT_TRUE(cluster.MembersAreEqual());
}

// A paused member does not close its connections, so the others notice it only by its silence. The
// log line shows that the keepalive of the peer connections noticed it, and not TCP's own keepalive
// after minutes. server/peer/peers.h checks that the keepalive takes three seconds.
TEST(PausedMember, IsNoticedByTheOthersAndCatchesUp) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv's log";
  Cluster cluster(Quick(3));
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int paused = (leader + 1) % 3;
  ASSERT_TRUE(cluster.Put(paused, "k", "0").ok());
  ASSERT_TRUE(Eventually(absl::Seconds(10), [&] {
    return testing::Value(cluster.log(leader), HasSubstr("] connected to " + cluster.name(paused)));
  }));

  cluster.Pause(paused);
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] {
    return testing::Value(
        cluster.log(leader),
        HasSubstr("lost connection to " + cluster.name(paused) + " at " +
                  cluster.peer_address(paused) + ": it does not answer any more"));
  })) << cluster.log(leader);
  for (int i = 1; i <= 50; ++i) ASSERT_TRUE(cluster.Put(leader, "k", absl::StrCat(i)).ok());
  cluster.Resume(paused);
  EXPECT_TRUE(cluster.MembersAreEqual());
  EXPECT_EQ(Value(cluster.Get(paused, "k")), "50");
}

TEST(Restart, OfASingleMemberKeepsEverything) {
  Cluster cluster(Quick(1));
  cluster.Start(0);
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(cluster.Put(0, absl::StrCat("k", i), "v").ok());
  const auto before = Range(cluster.connection(0), EverythingRequest(0, false));
  for (bool terminate : {false, true, false}) {
    if (terminate) {
      EXPECT_EQ(cluster.Terminate(0), 0);
    } else {
      cluster.Kill(0);
    }
    cluster.Start(0);
    ASSERT_EQ(cluster.WaitForLeader(), 0);
    const auto after = Range(cluster.connection(0), EverythingRequest(0, false));
    ASSERT_TRUE(after.ok());
    EXPECT_EQ(after.response.header().revision(), before.response.header().revision());
    ASSERT_EQ(after.response.kvs_size(), 20);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(after.response.kvs(i).SerializeAsString(),
                before.response.kvs(i).SerializeAsString());
    }
  }
}

TEST(Restart, OfAllMembersOneByOneUnderWrites) {
  Cluster cluster(Quick(3));
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(cluster.Put((i + 1) % 3, absl::StrCat("before", i), "v").ok());
    EXPECT_EQ(cluster.Terminate(i), 0);
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
      return cluster.Put((i + 1) % 3, absl::StrCat("while", i), "v", absl::Seconds(1)).ok();
    }));
    cluster.Start(i);
    ASSERT_TRUE(cluster.MembersAreEqual());
  }
}

// After kill -9 a member applies again what it had not flushed. Meanwhile its clients wait.
TEST(Failures, AMemberThatAppliesItsLogAgainRejectsNoRequest) {
  Cluster cluster({.size = 3});
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int follower = (leader + 1) % 3;
  const Finished load = RunToEnd(
      {.argv = {BuiltProgram("raftkv"), "--endpoints=" + cluster.client_address(leader), "bench",
                "put", "--clients=256", "--conns=4", "--val-size=8", "--total=60000"}},
      absl::Seconds(120));
  ASSERT_EQ(load.exit_code, 0) << load.out << load.err;
  cluster.Kill(follower);
  cluster.Start(follower);
  int attempts = 0;
  EXPECT_TRUE(Eventually(absl::Seconds(30), [&] {
    ++attempts;
    const auto put = cluster.Put(follower, "after", "v");
    EXPECT_NE(put.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED)
        << put.status.error_message();
    return put.ok();
  })) << attempts;
}

}  // namespace
}  // namespace raftkv::e2e
