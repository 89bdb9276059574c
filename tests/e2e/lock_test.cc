// The services Lock and Election with real processes: who owns, in which order, etcd's errors, and
// what a call that ends early leaves behind.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/etcd/v3election.grpc.pb.h"
#include "proto/etcd/v3lock.grpc.pb.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::Lease;
using testing::ElementsAre;
using testing::IsEmpty;
using v3electionpb::Election;
using v3lockpb::Lock;

// A call that ends early would delete its key a little after its answer.
constexpr absl::Duration kDeletionWait = absl::Seconds(1);

class Recipes : public testing::Test {
 protected:
  using LockReply = Reply<v3lockpb::LockResponse>;
  using CampaignReply = Reply<v3electionpb::CampaignResponse>;

  void SetUp() override {
    cluster_.StartAll();
    ASSERT_GE(cluster_.WaitForLeader(), 0);
  }

  int64_t Grant(int64_t ttl = 600) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(ttl);
    Connection& connection = cluster_.connection(0);
    const auto reply = Call(connection, *connection.lease, &Lease::Stub::LeaseGrant, request);
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    return reply.response.id();
  }
  void Revoke(int64_t id) {
    etcdserverpb::LeaseRevokeRequest request;
    request.set_id(id);
    Connection& connection = cluster_.connection(0);
    EXPECT_TRUE(Call(connection, *connection.lease, &Lease::Stub::LeaseRevoke, request).ok());
  }

  // Each call has a thread and a connection of its own.
  std::future<LockReply> StartLock(int i, int64_t lease, grpc::ClientContext* context) {
    return std::async(std::launch::async, [this, i, lease, context] {
      v3lockpb::LockRequest request;
      request.set_name("jobs");
      request.set_lease(lease);
      Connection connection(cluster_.client_address(i));
      EXPECT_TRUE(connection.Ready());
      LockReply reply;
      reply.status = Lock::NewStub(connection.channel)->Lock(context, request, &reply.response);
      return reply;
    });
  }
  LockReply TakeLock(int i, int64_t lease) {
    const auto context = MakeContext();
    return StartLock(i, lease, context.get()).get();
  }
  // One lease has the lock, and a call of another one waits at member 1.
  struct Waiting {
    LockReply owner;
    int64_t lease = 0;
    std::unique_ptr<grpc::ClientContext> context = MakeContext(absl::Seconds(60));
    std::future<LockReply> call;
  };
  void StartWaiting(Waiting* waiting) {
    waiting->owner = TakeLock(0, Grant());
    ASSERT_TRUE(waiting->owner.ok()) << waiting->owner.status.error_message();
    waiting->lease = Grant();
    waiting->call = StartLock(1, waiting->lease, waiting->context.get());
    ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  }
  grpc::StatusCode LockWithoutAnAnswer(int i, int64_t lease) {
    const auto context = MakeContext(absl::Seconds(1));
    return StartLock(i, lease, context.get()).get().status.error_code();
  }
  // Calls the leader, whose followers hang until the client's deadline is over.
  grpc::Status LockWithoutAMajority(int64_t lease) {
    const int leader = cluster_.WaitForLeader();
    EXPECT_GE(leader, 0);
    v3lockpb::LockRequest request;
    request.set_name("jobs");
    request.set_lease(lease);
    Connection& connection = cluster_.connection(leader);
    const auto stub = Lock::NewStub(connection.channel);
    EXPECT_TRUE(connection.Ready());
    cluster_.Pause((leader + 1) % 3);
    cluster_.Pause((leader + 2) % 3);
    const auto reply = Call(connection, *stub, &Lock::Stub::Lock, request, absl::Milliseconds(300));
    absl::SleepFor(absl::Milliseconds(100));  // the member learns that the client has gone
    cluster_.Resume((leader + 1) % 3);
    cluster_.Resume((leader + 2) % 3);
    return reply.status;
  }
  void Unlock(int i, const std::string& key) {
    v3lockpb::UnlockRequest request;
    request.set_key(key);
    Connection& connection = cluster_.connection(i);
    const auto stub = Lock::NewStub(connection.channel);
    EXPECT_TRUE(Call(connection, *stub, &Lock::Stub::Unlock, request).ok());
  }
  std::future<CampaignReply> StartCampaign(int i, int64_t lease, const std::string& value,
                                           grpc::ClientContext* context) {
    return std::async(std::launch::async, [this, i, lease, value, context] {
      v3electionpb::CampaignRequest request;
      request.set_name("chief");
      request.set_lease(lease);
      request.set_value(value);
      Connection connection(cluster_.client_address(i));
      EXPECT_TRUE(connection.Ready());
      CampaignReply reply;
      reply.status =
          Election::NewStub(connection.channel)->Campaign(context, request, &reply.response);
      return reply;
    });
  }

  std::vector<std::string> Candidates(const std::string& name) {
    etcdserverpb::RangeRequest request;
    request.set_key(name + "/");
    request.set_range_end(name + "0");
    request.set_sort_target(etcdserverpb::RangeRequest::CREATE);
    Connection& connection = cluster_.connection(0);
    const auto reply = Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Range, request);
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    std::vector<std::string> keys;
    for (const auto& kv : reply.response.kvs()) keys.push_back(kv.key());
    return keys;
  }
  // Both are 0 if there is no such key.
  int64_t CreateRevision(const std::string& key) { return Read(key).create_revision(); }
  int64_t Version(const std::string& key) { return Read(key).version(); }
  mvccpb::KeyValue Read(const std::string& key) {
    const auto reply = cluster_.Get(0, key);
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    return reply.response.kvs_size() == 1 ? reply.response.kvs(0) : mvccpb::KeyValue();
  }
  bool EventuallyCandidates(const std::string& name, size_t number) {
    return Eventually(absl::Seconds(20), [&] { return Candidates(name).size() == number; });
  }
  static std::string Key(const std::string& name, int64_t lease) {
    return absl::StrCat(name, "/", absl::Hex(static_cast<uint64_t>(lease)));
  }

  Cluster cluster_{ClusterOptions()};
};

TEST_F(Recipes, LockIsOwnedByOneLeaseAtATimeInTheOrderOfTheirKeys) {
  const int64_t first = Grant(), second = Grant(), third = Grant();
  const LockReply owner = TakeLock(0, first);
  ASSERT_TRUE(owner.ok()) << owner.status.error_message();
  EXPECT_EQ(owner.response.key(), Key("jobs", first));
  EXPECT_EQ(TakeLock(1, first).response.key(), owner.response.key()) << "it is the owner already";

  const auto second_context = MakeContext(absl::Seconds(60));
  auto second_call = StartLock(1, second, second_context.get());
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  const auto third_context = MakeContext(absl::Seconds(60));
  auto third_call = StartLock(2, third, third_context.get());
  ASSERT_TRUE(EventuallyCandidates("jobs", 3));

  // The second candidate gives up. Neither the owner nor the third one may notice.
  second_context->TryCancel();
  EXPECT_EQ(second_call.get().status.error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(EventuallyCandidates("jobs", 2)) << "a cancelled call deletes its key";
  EXPECT_THAT(Candidates("jobs"), ElementsAre(Key("jobs", first), Key("jobs", third)));
  EXPECT_EQ(third_call.wait_for(std::chrono::seconds(0)), std::future_status::timeout);

  Unlock(2, owner.response.key());
  const LockReply next = third_call.get();
  ASSERT_TRUE(next.ok()) << next.status.error_message();
  EXPECT_EQ(next.response.key(), Key("jobs", third));
  EXPECT_THAT(Candidates("jobs"), ElementsAre(next.response.key()));
}

TEST_F(Recipes, LockFailsWithItsLease) {
  const LockReply unknown = TakeLock(0, 12345);
  const bool is_etcd = ProductUnderTest() == Product::kEtcd;
  EXPECT_EQ(unknown.status.error_code(),
            is_etcd ? grpc::StatusCode::UNKNOWN : grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(unknown.status.error_message(), "etcdserver: requested lease not found");

  const int64_t first = Grant(), second = Grant();
  const LockReply owner = TakeLock(0, first);
  const auto context = MakeContext(absl::Seconds(60));
  auto waiting = StartLock(1, second, context.get());
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  Revoke(second);
  Unlock(0, owner.response.key());
  const LockReply lost = waiting.get();
  EXPECT_EQ(lost.status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(lost.status.error_message(), "mutex: session is expired");
  EXPECT_THAT(Candidates("jobs"), IsEmpty());
}

TEST_F(Recipes, LockWithoutALeaseGetsOneAndACancelledCallRevokesIt) {
  (void)Grant();
  const LockReply owner = TakeLock(0, 0);
  ASSERT_TRUE(owner.ok()) << owner.status.error_message();
  const auto context = MakeContext(absl::Seconds(60));
  auto waiting = StartLock(1, 0, context.get());
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  context->TryCancel();
  (void)waiting.get();
  EXPECT_TRUE(EventuallyCandidates("jobs", 1));
  // Of the three leases, two are left.
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
    Connection& connection = cluster_.connection(0);
    const auto reply = Call(connection, *connection.lease, &Lease::Stub::LeaseLeases,
                            etcdserverpb::LeaseLeasesRequest());
    return reply.response.leases_size() == 2;
  }));
}

TEST_F(Recipes, WaitingCallsDoNotDelayAStop) {
  const int64_t first = Grant(), second = Grant();
  ASSERT_TRUE(TakeLock(0, first).ok());
  const auto context = MakeContext(absl::Seconds(120));
  auto waiting = StartLock(1, second, context.get());
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  EXPECT_EQ(cluster_.Terminate(1), 0);
  EXPECT_EQ(waiting.get().status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(EventuallyCandidates("jobs", 1)) << "a call that ends deletes its key";
}

// All calls with one lease share its key.
TEST_F(Recipes, ACallThatEndsEarlyKeepsTheKeyThatAnotherCallCreated) {
  Waiting first_call;
  ASSERT_NO_FATAL_FAILURE(StartWaiting(&first_call));
  const int64_t lease = first_call.lease;
  EXPECT_EQ(LockWithoutAnAnswer(2, lease), grpc::StatusCode::DEADLINE_EXCEEDED);
  absl::SleepFor(kDeletionWait);
  Unlock(0, first_call.owner.response.key());
  const LockReply first = first_call.call.get();
  ASSERT_TRUE(first.ok()) << first.status.error_message();

  const int64_t created = CreateRevision(first.response.key());
  ASSERT_GT(created, 0);
  const grpc::Status late = LockWithoutAMajority(lease);
  EXPECT_EQ(late.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << late.error_message();
  ASSERT_GE(cluster_.WaitForLeader(), 0);
  ASSERT_TRUE(cluster_.Put(0, "k", "behind the call in the log").ok());
  absl::SleepFor(kDeletionWait);
  EXPECT_EQ(CreateRevision(first.response.key()), created) << "the owner lost the lock";
}

// The client may have sent the call again, to another member, because it lost its connection.
TEST_F(Recipes, ACallThatEndsEarlyKeepsItsKeyForTheOtherCallsOfTheLease) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd deletes the key";
  Waiting first_call;
  ASSERT_NO_FATAL_FAILURE(StartWaiting(&first_call));
  const int64_t lease = first_call.lease;
  const auto second_context = MakeContext(absl::Seconds(60));
  auto second_call = StartLock(2, lease, second_context.get());
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return Version(Key("jobs", lease)) == 2; }));
  first_call.context->TryCancel();
  EXPECT_EQ(first_call.call.get().status.error_code(), grpc::StatusCode::CANCELLED);
  absl::SleepFor(kDeletionWait);
  Unlock(0, first_call.owner.response.key());
  const LockReply second = second_call.get();
  EXPECT_TRUE(second.ok()) << second.status.error_message();
  EXPECT_THAT(Candidates("jobs"), ElementsAre(Key("jobs", lease)));
}

TEST_F(Recipes, ACampaignThatEndsEarlyKeepsTheLeadershipOfItsLease) {
  const int64_t lease = Grant();
  const auto won_context = MakeContext();
  const CampaignReply won = StartCampaign(0, lease, "a", won_context.get()).get();
  ASSERT_TRUE(won.ok()) << won.status.error_message();
  v3electionpb::CampaignRequest request;
  request.set_name("chief");
  request.set_lease(lease);
  for (int i = 0; i < 60; ++i) {  // with deadlines in all steps of a call
    request.set_value(absl::StrCat("b", i));
    Connection& connection = cluster_.connection(i % 3);
    const auto stub = Election::NewStub(connection.channel);
    (void)Call(connection, *stub, &Election::Stub::Campaign, request,
               absl::Microseconds(1000 + 200 * i));
  }
  absl::SleepFor(kDeletionWait);
  EXPECT_EQ(CreateRevision(won.response.leader().key()), won.response.leader().rev());
}

// The key's write is in the log when the client gives up, and is committed later.
TEST_F(Recipes, ACallWhoseDeadlineEndsBeforeItsKeyIsCommittedDeletesTheKey) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd keeps the key";
  const int64_t lease = Grant();
  const grpc::Status late = LockWithoutAMajority(lease);
  EXPECT_EQ(late.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << late.error_message();
  ASSERT_GE(cluster_.WaitForLeader(), 0);
  ASSERT_TRUE(cluster_.Put(0, "k", "behind the key in the log").ok());
  EXPECT_TRUE(EventuallyCandidates("jobs", 0));
  const LockReply other = TakeLock(0, Grant());
  EXPECT_TRUE(other.ok()) << other.status.error_message();
}

// A client that repeats a denied call must not fill the log of a disk that is nearly full.
TEST_F(Recipes, NoSpaceDeniesWhatAddsDataWithoutAnEntryInTheLog) {
  const int64_t owner_lease = Grant(), other_lease = Grant();
  const LockReply owner = TakeLock(0, owner_lease);
  ASSERT_TRUE(owner.ok()) << owner.status.error_message();
  const auto won_context = MakeContext();
  const CampaignReply won = StartCampaign(0, owner_lease, "a", won_context.get()).get();
  ASSERT_TRUE(won.ok()) << won.status.error_message();

  const auto change_alarm = [&](etcdserverpb::AlarmRequest::AlarmAction action) {
    etcdserverpb::AlarmRequest request;
    request.set_action(action);
    request.set_alarm(etcdserverpb::NOSPACE);
    Connection& connection = cluster_.connection(1);
    EXPECT_TRUE(
        Call(connection, *connection.maintenance, &etcdserverpb::Maintenance::Stub::Alarm, request)
            .ok());
  };
  change_alarm(etcdserverpb::AlarmRequest::ACTIVATE);

  constexpr char kNoSpace[] = "etcdserver: mvcc: database space exceeded";
  Connection& connection = cluster_.connection(1);
  const auto election = Election::NewStub(connection.channel);
  const auto lock = [&](int64_t lease) { return TakeLock(1, lease).status.error_message(); };
  const auto campaign = [&](int64_t lease) {
    const auto context = MakeContext();
    return StartCampaign(1, lease, "b", context.get()).get().status.error_message();
  };
  v3electionpb::ProclaimRequest proclaim;
  *proclaim.mutable_leader() = won.response.leader();
  const auto deny_all = [&] {
    EXPECT_EQ(lock(0), kNoSpace) << "the grant of a lease";
    EXPECT_EQ(lock(other_lease), kNoSpace);
    EXPECT_EQ(campaign(0), kNoSpace);
    EXPECT_EQ(campaign(other_lease), kNoSpace);
    EXPECT_EQ(
        Call(connection, *election, &Election::Stub::Proclaim, proclaim).status.error_message(),
        kNoSpace);
  };
  deny_all();
  if (ProductUnderTest() == Product::kRaftkv) {
    // After the start, the members may still add entries by themselves.
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
      const uint64_t before = cluster_.Status(1).response.raftindex();
      deny_all();
      return cluster_.Status(1).response.raftindex() == before;
    }));
  }
  EXPECT_THAT(Candidates("jobs"), ElementsAre(owner.response.key()));

  // What frees space is permitted.
  v3electionpb::ResignRequest resign;
  *resign.mutable_leader() = won.response.leader();
  EXPECT_TRUE(Call(connection, *election, &Election::Stub::Resign, resign).ok());
  Unlock(1, owner.response.key());
  EXPECT_THAT(Candidates("jobs"), IsEmpty());
  change_alarm(etcdserverpb::AlarmRequest::DEACTIVATE);
  EXPECT_TRUE(TakeLock(1, other_lease).ok());
}

TEST_F(Recipes, ElectionHasOneLeaderAndObserversSeeEachValue) {
  const int64_t first = Grant(), second = Grant();
  Connection& connection = cluster_.connection(0);
  const auto stub = Election::NewStub(connection.channel);
  v3electionpb::LeaderRequest name;
  name.set_name("chief");
  const auto nobody = Call(connection, *stub, &Election::Stub::Leader, name);
  EXPECT_EQ(nobody.status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(nobody.status.error_message(), "election: no leader");

  const auto observe_context = MakeContext(absl::Seconds(60));
  Connection observed(cluster_.client_address(2));
  ASSERT_TRUE(observed.Ready());
  const auto observer = Election::NewStub(observed.channel)->Observe(observe_context.get(), name);
  const auto next_value = [&] {
    v3electionpb::LeaderResponse response;
    return observer->Read(&response) ? response.kv().value() : "the stream ended";
  };

  const auto first_context = MakeContext(absl::Seconds(60));
  const CampaignReply won = StartCampaign(0, first, "a", first_context.get()).get();
  ASSERT_TRUE(won.ok()) << won.status.error_message();
  EXPECT_EQ(won.response.leader().key(), Key("chief", first));
  EXPECT_EQ(won.response.leader().name(), "chief");
  EXPECT_EQ(won.response.leader().lease(), first);
  EXPECT_EQ(next_value(), "a");

  const auto second_context = MakeContext(absl::Seconds(60));
  auto second_call = StartCampaign(1, second, "b", second_context.get());
  ASSERT_TRUE(EventuallyCandidates("chief", 2));

  v3electionpb::ProclaimRequest proclaim;
  const auto without = Call(connection, *stub, &Election::Stub::Proclaim, proclaim);
  EXPECT_EQ(without.status.error_message(), "\"leader\" field must be provided");
  *proclaim.mutable_leader() = won.response.leader();
  proclaim.set_value("a2");
  EXPECT_TRUE(Call(connection, *stub, &Election::Stub::Proclaim, proclaim).ok());
  EXPECT_EQ(next_value(), "a2");
  const auto leader = Call(connection, *stub, &Election::Stub::Leader, name);
  EXPECT_EQ(leader.response.kv().value(), "a2");
  EXPECT_EQ(leader.response.kv().create_revision(), won.response.leader().rev());

  // The same lease campaigns again with another value: it still leads, and proclaims.
  const auto again_context = MakeContext(absl::Seconds(60));
  EXPECT_TRUE(StartCampaign(2, first, "a3", again_context.get()).get().ok());
  EXPECT_EQ(next_value(), "a3");

  v3electionpb::ResignRequest resign;
  *resign.mutable_leader() = won.response.leader();
  EXPECT_TRUE(Call(connection, *stub, &Election::Stub::Resign, resign).ok());
  const CampaignReply next = second_call.get();
  ASSERT_TRUE(next.ok()) << next.status.error_message();
  EXPECT_EQ(next_value(), "b");
  const auto late = Call(connection, *stub, &Election::Stub::Proclaim, proclaim);
  EXPECT_EQ(late.status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(late.status.error_message(), "election: not leader");
  EXPECT_TRUE(Call(connection, *stub, &Election::Stub::Resign, resign).ok()) << "as in etcd";
  EXPECT_EQ(Call(connection, *stub, &Election::Stub::Leader, name).response.kv().value(), "b");
}

}  // namespace
}  // namespace raftkv::e2e
