// Leases in the state machine: what they do to keys, and what survives.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/mvcc/leases.h"
#include "tests/model/small_rules.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

class LeaseTest : public StoreTest {
 protected:
  LeaseTest() { ApplyText("set_cluster_version { version: 3 }"); }

  std::string Keys(int64_t lease) const {
    etcdserverpb::LeaseTimeToLiveRequest request;
    request.set_id(lease);
    request.set_keys(true);
    etcdserverpb::LeaseTimeToLiveResponse response;
    EXPECT_TRUE(state_->Snapshot()->LeaseTimeToLive(request, Limits(), &response).ok());
    if (response.ttl() == -1) return "gone";
    std::string keys;
    for (const std::string& key : response.keys()) keys += key + " ";
    return keys;
  }
  raft::Index applied() const { return state_->applied().index; }
  std::string Expire(int64_t id, raft::Index renewed) {
    return absl::StrCat("expire_leases { leases { id: ", id, " renewed: ", renewed, " } }");
  }
};

TEST_F(LeaseTest, AreGrantedOnce) {
  EXPECT_EQ(Answer("lease_grant { ID: 7 TTL: 60 }"),
            "lease_grant { header { revision: 1 } ID: 7 TTL: 60 }");
  EXPECT_EQ(Answer("lease_grant { ID: 7 TTL: 60 }"), "lease already exists");
  EXPECT_EQ(Answer("lease_grant { ID: 7 TTL: 9000000001 }"), "too large lease TTL");
  EXPECT_EQ(Answer("lease_grant { ID: 0 TTL: 60 }"), "requested lease not found");
  EXPECT_EQ(Answer("lease_grant { ID: -1 TTL: 9000000000 }"),
            "lease_grant { header { revision: 1 } ID: -1 TTL: 9000000000 }");
  EXPECT_EQ(Answer("lease_revoke { ID: 8 }"), "requested lease not found");
}

TEST_F(LeaseTest, NeedTheirClusterVersion) {
  auto state = *StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
  const auto grant = Parse<proto::Command>("lease_grant { ID: 7 TTL: 60 }");
  EXPECT_EQ(state->Apply({MakeEntry(1, 1, grant)}).front().status,
            absl::FailedPreconditionError(
                "the cluster version is 1, and this needs 3: upgrade all members"));
}

TEST_F(LeaseTest, AKeyIsAttachedToTheLeaseOfItsLatestPut) {
  ApplyText("lease_grant { ID: 1 TTL: 60 }");
  ApplyText("lease_grant { ID: -1 TTL: 60 }");
  EXPECT_EQ(Answer("put { key: 'a' lease: 2 }"), "requested lease not found");
  ApplyText("put { key: 'b' lease: 1 }");
  ApplyText("put { key: 'a' lease: 1 }");
  EXPECT_EQ(Keys(1), "a b ");
  ApplyText("put { key: 'a' value: 'x' ignore_lease: true }");
  EXPECT_EQ(Keys(1), "a b ");
  ApplyText("put { key: 'a' lease: -1 }");
  EXPECT_EQ(Keys(1), "b ");
  EXPECT_EQ(Keys(-1), "a ");
  ApplyText("put { key: 'a' }");
  EXPECT_EQ(Keys(-1), "");
  ApplyText("delete_range { key: 'b' }");
  EXPECT_EQ(Keys(1), "");
  ApplyText("txn { success { request_put { key: 'c' lease: 1 } } }");
  EXPECT_EQ(Keys(1), "c ");
  Reopen();  // nothing was flushed, so everything is lost
  EXPECT_EQ(Keys(1), "gone");
}

TEST_F(LeaseTest, RevokingDeletesTheKeysInOneRevision) {
  ApplyText("lease_grant { ID: 1 TTL: 60 }");
  EXPECT_EQ(state_->revision(), 1);
  ApplyText("put { key: 'b' lease: 1 }");
  ApplyText("put { key: 'a' lease: 1 }");
  ApplyText("put { key: 'c' }");
  EXPECT_EQ(Answer("lease_revoke { ID: 1 }"), "lease_revoke { header { revision: 5 } }");
  EXPECT_EQ(Range(AllKeys()), "c= ");
  EXPECT_EQ(Range(AllKeys(4)), "a= b= c= ");
  EXPECT_EQ(Keys(1), "gone");
  ApplyText("lease_grant { ID: 1 TTL: 60 }");
  EXPECT_EQ(Answer("lease_revoke { ID: 1 }"), "lease_revoke { header { revision: 5 } }")
      << "without keys, no revision";
  EXPECT_TRUE(Table(mvcc::kAttachedTable).empty());
  EXPECT_TRUE(Table(mvcc::kLeaseTable).empty());
}

// The only key of a lease may be in memory or not: it may have had others before, or be long.
TEST_F(LeaseTest, EndsWithItsLastKey) {
  const std::string long_key(mvcc::kOnlyKeyBytes + 1, 'l');
  const std::string key(mvcc::kOnlyKeyBytes, 's');
  const auto apply_all = [&] {
    for (int id = 1; id <= 6; ++id) ApplyText(absl::StrCat("lease_grant { ID: ", id, " TTL: 60 }"));
    ApplyText("put { key: 'a1' lease: 1 }");
    ApplyText("put { key: 'b1' lease: 1 }");
    ApplyText("delete_range { key: 'a1' }");  // one is left
    ApplyText(absl::StrCat("put { key: '", long_key, "' lease: 2 }"));
    ApplyText(absl::StrCat("put { key: '", key, "' lease: 3 }"));
    ApplyText("put { key: 'a4' lease: 4 }");
    ApplyText("put { key: 'a4' lease: 5 }");  // 4 has none
    ApplyText("put { key: 'a6' lease: 6 }");
    ApplyText("delete_range { key: 'a6' }");
    ApplyText("put { key: 'b6' lease: 6 }");
  };
  const auto end_all = [&] {
    for (int id = 1; id <= 6; ++id) ApplyText(absl::StrCat("lease_revoke { ID: ", id, " }"));
    EXPECT_EQ(Range(AllKeys()), "");
    EXPECT_TRUE(Table(mvcc::kAttachedTable).empty());
    EXPECT_TRUE(Table(mvcc::kLeaseTable).empty());
  };
  apply_all();
  EXPECT_EQ(Keys(1) + Keys(2) + Keys(3) + Keys(4) + Keys(5) + Keys(6),
            absl::StrCat("b1 ", long_key, " ", key, " a4 b6 "));
  end_all();
  apply_all();
  state_->Flush();
  Reopen();
  end_all();
}

// Everything in one batch: later entries see what earlier ones did.
TEST_F(LeaseTest, OneBatch) {
  ApplyAll({Parse<proto::Command>("lease_grant { ID: 1 TTL: 60 }"),
            Parse<proto::Command>("put { key: 'a' lease: 1 }"),
            Parse<proto::Command>("delete_range { key: 'a' }"),
            Parse<proto::Command>("put { key: 'a' value: '2' lease: 1 }"),
            Parse<proto::Command>("put { key: 'b' value: '2' lease: 1 }"),
            Parse<proto::Command>("delete_range { key: 'b' range_end: 'c' }"),
            Parse<proto::Command>("lease_revoke { ID: 1 }"),
            Parse<proto::Command>("put { key: 'b' }")});
  EXPECT_EQ(Range(AllKeys()), "b= ");
  EXPECT_EQ(Keys(1), "gone");
  EXPECT_TRUE(Table(mvcc::kAttachedTable).empty());
}

// The rows of some of the leases were changed in the same batch.
TEST_F(LeaseTest, OneEntryEndsSeveral) {
  std::vector<raft::Index> granted(6);
  for (int id = 1; id <= 5; ++id) {
    ApplyText(absl::StrCat("lease_grant { ID: ", id, " TTL: 60 }"));
    granted[id] = applied();
    if (id == 4) continue;
    ApplyText(absl::StrCat("put { key: 'a", id, "' lease: ", id, " }"));
    ApplyText(absl::StrCat("put { key: 'b", id, "' lease: ", id, " }"));
  }
  proto::Command expire;
  for (const int64_t id : {3, 1, 4, 2, 1}) {
    proto::ExpireLeases::Lease& lease = *expire.mutable_expire_leases()->add_leases();
    lease.set_id(id);
    lease.set_renewed(granted[id]);
  }
  const Revision before = state_->revision();
  ApplyAll({Parse<proto::Command>("put { key: 'c2' lease: 2 }"),
            Parse<proto::Command>("put { key: 'a3' }"),
            Parse<proto::Command>("put { key: 'b3' lease: 5 }"), expire});
  EXPECT_EQ(state_->revision(), before + 4);
  EXPECT_EQ(Keys(1) + Keys(2) + Keys(3) + Keys(4), "gonegonegonegone");
  EXPECT_EQ(Keys(5), "a5 b3 b5 ");
  EXPECT_EQ(Range(AllKeys()), "a3= a5= b3= b5= ");
  EXPECT_EQ(Table(mvcc::kAttachedTable).size(), 3u);
}

// An expiry that was proposed before a renewal must not take effect after it.
TEST_F(LeaseTest, ARenewalSavesALeaseFromAnEarlierExpiry) {
  ApplyText("lease_grant { ID: 1 TTL: 60 }");
  const raft::Index granted = applied();
  ApplyText("put { key: 'a' lease: 1 }");
  EXPECT_EQ(Answer("renew_leases { ids: 2 ids: 1 }"), "renew_leases { ttls: 0 ttls: 60 }");
  const raft::Index renewed = applied();
  ApplyText(Expire(1, granted));
  EXPECT_EQ(Keys(1), "a ");
  ApplyText(Expire(1, renewed));
  EXPECT_EQ(Keys(1), "gone");
  EXPECT_EQ(Range(AllKeys()), "");
  EXPECT_EQ(Answer("renew_leases { ids: 1 }"), "renew_leases { ttls: 0 }");
}

TEST_F(LeaseTest, SurviveARestart) {
  ApplyText("lease_grant { ID: 1 TTL: 60 }");
  ApplyText("put { key: 'a' lease: 1 }");
  ApplyText("renew_leases { ids: 1 }");
  const raft::Index renewed = applied();
  state_->Flush();
  const uint32_t hash = *state_->Snapshot()->Hash();
  Reopen();
  EXPECT_EQ(*state_->Snapshot()->Hash(), hash);
  EXPECT_EQ(Keys(1), "a ");
  const LeaseChanges changes = state_->TakeLeaseChanges();
  EXPECT_TRUE(changes.all);
  ASSERT_EQ(changes.changes.size(), 1u);
  EXPECT_EQ(changes.changes[0].id, 1);
  EXPECT_EQ(changes.changes[0].ttl, 60);
  EXPECT_EQ(changes.changes[0].renewed, renewed);
  EXPECT_EQ(Answer("lease_revoke { ID: 1 }"), "lease_revoke { header { revision: 3 } }");
  EXPECT_EQ(Range(AllKeys()), "");
}

TEST_F(LeaseTest, ArePartOfDigestAndHash) {
  const auto other = [&](const std::string& command) {
    auto state = *StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
    state->Apply({MakeEntry(1, 1, Parse<proto::Command>("set_cluster_version { version: 3 }")),
                  MakeEntry(1, 2, Parse<proto::Command>(command))});
    return std::pair(state->digest(), *state->Snapshot()->Hash());
  };
  const auto one = other("lease_grant { ID: 1 TTL: 60 }");
  const auto two = other("lease_grant { ID: 2 TTL: 60 }");
  const auto longer = other("lease_grant { ID: 1 TTL: 61 }");
  EXPECT_NE(one.first, two.first);
  EXPECT_NE(one.second, two.second);
  EXPECT_NE(one.first, longer.first);
  EXPECT_NE(one.second, longer.second);
}

// One entry may delete all keys of a lease, so their number is limited.
TEST_F(LeaseTest, TheKeysOfALeaseAreLimited) {
  auto state = *StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed),
      SmallOptions());
  const auto apply = [&](const std::string& command) {
    return state->Apply({MakeEntry(1, state->applied().index + 1, Parse<proto::Command>(command))})
        .front()
        .status;
  };
  EXPECT_TRUE(apply("set_cluster_version { version: 3 }").ok());
  EXPECT_TRUE(apply("lease_grant { ID: 1 TTL: 60 }").ok());
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(apply(absl::StrCat("put { key: 'k", i, "' lease: 1 }")).ok());
  }
  const absl::Status full = absl::ResourceExhaustedError(
      "a lease may hold at most 2 keys, of 40 bytes; attach further keys to another lease");
  EXPECT_EQ(apply("put { key: 'k2' lease: 1 }"), full);
  EXPECT_TRUE(apply("put { key: 'k1' lease: 1 }").ok()) << "it is attached already";
  EXPECT_TRUE(apply("delete_range { key: 'k0' }").ok());
  EXPECT_EQ(apply("txn { success { request_put { key: 'a' lease: 1 } }"
                  "      success { request_put { key: 'b' lease: 1 } } }"),
            full);
  EXPECT_TRUE(apply("txn { success { request_put { key: 'a' lease: 1 } } }").ok());
  for (int id = 2; id < 7; ++id) {
    EXPECT_TRUE(apply(absl::StrCat("lease_grant { ID: ", id, " TTL: 60 }")).ok());
  }
  EXPECT_EQ(apply("lease_grant { ID: 7 TTL: 60 }").message(),
            "there are 6 leases, and no more are possible; share leases, or revoke some");
}

// The member applies it on another thread, because its check exceeds the limit of steps.
TEST_F(LeaseTest, RevokingALeaseWithVeryManyKeysIsALargeEntry) {
  constexpr int kKeys = 100'000;
  ApplyText("lease_grant { ID: 1 TTL: 60 }");
  std::vector<proto::Command> puts;
  for (int i = 0; i < kKeys; ++i) {
    puts.push_back(PutCommand(absl::StrCat("k", i), "v"));
    puts.back().mutable_put()->set_lease(1);
  }
  ApplyAll(puts);
  const raft::Entry revoke =
      MakeEntry(1, applied() + 1, Parse<proto::Command>("lease_revoke { ID: 1 }"));
  EXPECT_TRUE(state_->Apply({revoke}, {.steps_max = 2048}).empty());
  EXPECT_TRUE(state_->Apply({revoke}).front().status.ok());
  EXPECT_EQ(Range(AllKeys()), "");
  EXPECT_EQ(state_->revision(), 2 + kKeys);
}

}  // namespace
}  // namespace raftkv
