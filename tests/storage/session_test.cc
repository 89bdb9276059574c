// Sessions in the state machine: a command that is sent several times takes effect once.

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/tables/sessions.h"
#include "tests/model/small_rules.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

const auto kExpired = absl::FailedPreconditionError("session expired");

class SessionTest : public StoreTest {
 protected:
  SessionTest() {
    ApplyText("set_cluster_version { version: 4 }");
    ApplyText("lease_grant { ID: 7 TTL: 60 }");
    ApplyText("lease_grant { ID: -7 TTL: 60 }");
  }

  static std::string In(int64_t lease, uint64_t seq, uint64_t acked = 0) {
    return absl::StrCat(" session { lease_id: ", lease, " seq: ", seq, " acked: ", acked, " }");
  }
  static std::string Create(const std::string& key) {
    return absl::StrCat("txn { compare { key: '", key, "' target: CREATE create_revision: 0 } ",
                        "success { request_put { key: '", key, "' value: 'v' } } }");
  }
  absl::Status Status(const std::string& command) { return ApplyText(command).status; }
  // An empty store whose rules allow few answers.
  void ReopenWithSmallRules() {
    state_ = *StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed),
        SmallOptions());
    ApplyText("set_cluster_version { version: 4 }");
  }
  size_t Stored() { return Table(SessionTable::kLetter).size(); }
};

TEST_F(SessionTest, NeedTheirClusterVersion) {
  auto state = *StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
  state->Apply({MakeEntry(1, 1, Parse<proto::Command>("set_cluster_version { version: 3 }"))});
  const auto put = Parse<proto::Command>("put { key: 'k' }" + In(7, 1));
  EXPECT_EQ(state->Apply({MakeEntry(1, 2, put)}).front().status,
            absl::FailedPreconditionError(
                "the cluster version is 3, and this needs 4: upgrade all members"));
}

TEST_F(SessionTest, ARepeatedCommandGetsTheFirstAnswer) {
  const ApplyResult first = ApplyText("put { key: 'k' value: 'a' }" + In(7, 1));
  EXPECT_EQ(first.revision, 2);
  EXPECT_TRUE(first.response.decided());
  ApplyText("put { key: 'k' value: 'b' }");
  const ApplyResult again = ApplyText("put { key: 'k' value: 'a' }" + In(7, 1));
  EXPECT_TRUE(again.status.ok());
  EXPECT_EQ(again.revision, 2) << "that of the first answer";
  EXPECT_EQ(again.response.ShortDebugString(), first.response.ShortDebugString());
  EXPECT_EQ(Range(AllKeys()), "k=b ");
  EXPECT_EQ(state_->revision(), 3);
  // Another session has numbers of its own, and so has a higher number.
  EXPECT_EQ(ApplyText("put { key: 'k' value: 'c' }" + In(-7, 1)).revision, 4);
  EXPECT_EQ(ApplyText("put { key: 'k' value: 'd' }" + In(7, 2)).revision, 5);
}

TEST_F(SessionTest, ARepeatedCommandInOneBatchToo) {
  const auto put = Parse<proto::Command>("put { key: 'k' value: 'a' }" + In(7, 1));
  ApplyAll({put, put, Parse<proto::Command>("put { key: 'k' value: 'b' }"), put});
  EXPECT_EQ(Range(AllKeys()), "k=b ");
  EXPECT_EQ(state_->revision(), 3);
}

TEST_F(SessionTest, AnErrorIsAnAnswerToo) {
  EXPECT_EQ(Status("put { key: 'k' lease: 9 }" + In(7, 1)),
            absl::NotFoundError("requested lease not found"));
  ApplyText("lease_grant { ID: 9 TTL: 60 }");
  const ApplyResult again = ApplyText("put { key: 'k' lease: 9 }" + In(7, 1));
  EXPECT_EQ(again.status, absl::NotFoundError("requested lease not found"))
      << "the client was told that it has failed";
  EXPECT_TRUE(again.response.decided());
  EXPECT_EQ(Range(AllKeys()), "");
}

TEST_F(SessionTest, AcknowledgedNumbersAreRejected) {
  for (int seq = 1; seq <= 4; ++seq) ApplyText("put { key: 'k' }" + In(7, seq));
  EXPECT_EQ(Stored(), 4u);
  ApplyText("put { key: 'k' }" + In(7, 5, /*acked=*/3));
  EXPECT_EQ(Stored(), 2u) << "4 and 5";
  const Revision revision = state_->revision();
  for (int seq : {0, 1, 2, 3}) {
    const ApplyResult result = ApplyText("put { key: 'k' }" + In(7, seq));
    EXPECT_TRUE(absl::IsOutOfRange(result.status)) << result.status;
    EXPECT_FALSE(result.response.decided());
  }
  EXPECT_TRUE(absl::IsOutOfRange(Status("put { key: 'k' }" + In(7, 8, 8))));
  EXPECT_TRUE(Status("put { key: 'k' }" + In(7, 4, /*acked=*/2)).ok()) << "a known one";
  EXPECT_EQ(state_->revision(), revision);
  // A smaller acknowledgement takes nothing back.
  EXPECT_TRUE(Status("put { key: 'k' }" + In(7, 6, /*acked=*/1)).ok());
  EXPECT_TRUE(absl::IsOutOfRange(Status("put { key: 'k' }" + In(7, 3))));
  Reopen();
}

TEST_F(SessionTest, ANumberIsForOneKindOfCommand) {
  ApplyText("put { key: 'k' }" + In(7, 1));
  EXPECT_TRUE(absl::IsInvalidArgument(Status("delete_range { key: 'k' }" + In(7, 1))));
  EXPECT_EQ(Range(AllKeys()), "k= ");
}

TEST_F(SessionTest, EndsWithItsLease) {
  ApplyText("put { key: 'a' }" + In(7, 1));
  ApplyText("put { key: 'b' }" + In(-7, 1));
  EXPECT_EQ(Status("put { key: 'k' }" + In(8, 1)), kExpired);
  ApplyText("lease_revoke { ID: 7 }");
  EXPECT_EQ(Status("put { key: 'a' }" + In(7, 1)), kExpired) << "also a known number";
  EXPECT_EQ(Status("put { key: 'a' }" + In(7, 2)), kExpired);
  EXPECT_EQ(Stored(), 1u);
  EXPECT_EQ(Range(AllKeys()), "a= b= ");
}

TEST_F(SessionTest, CanRevokeItsOwnLease) {
  EXPECT_TRUE(Status("lease_revoke { ID: 7 }" + In(7, 1)).ok());
  EXPECT_EQ(Status("lease_revoke { ID: 7 }" + In(7, 1)), kExpired);
  EXPECT_EQ(Stored(), 0u);
}

TEST_F(SessionTest, SurvivesARestart) {
  ApplyText(Create("k") + In(7, 3, /*acked=*/2));
  state_->Flush();
  const uint64_t digest = state_->digest();
  const uint32_t hash = *state_->Snapshot()->Hash();
  Reopen();
  EXPECT_EQ(state_->digest(), digest);
  EXPECT_EQ(*state_->Snapshot()->Hash(), hash);
  EXPECT_EQ(Answer(Create("k") + In(7, 3, 2)),
            "txn { header { revision: 2 } succeeded: true responses { response_put { header { "
            "revision: 2 } } } } decided: true");
  EXPECT_TRUE(absl::IsOutOfRange(Status(Create("l") + In(7, 2))));
}

TEST_F(SessionTest, IsPartOfDigestAndHash) {
  const auto other = *StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
  other->Apply({MakeEntry(1, 1, Parse<proto::Command>("set_cluster_version { version: 4 }")),
                MakeEntry(1, 2, Parse<proto::Command>("lease_grant { ID: 7 TTL: 60 }")),
                MakeEntry(1, 3, Parse<proto::Command>("lease_grant { ID: -7 TTL: 60 }"))});
  EXPECT_EQ(state_->digest(), other->digest());
  EXPECT_EQ(*state_->Snapshot()->Hash(), *other->Snapshot()->Hash());
  ApplyText("put { key: 'k' }" + In(7, 1));
  other->Apply({MakeEntry(1, 4, Parse<proto::Command>("put { key: 'k' }" + In(7, 2)))});
  EXPECT_NE(state_->digest(), other->digest());
  EXPECT_NE(*state_->Snapshot()->Hash(), *other->Snapshot()->Hash());
}

TEST_F(SessionTest, AtMostAThousandAnswersWait) {
  std::vector<proto::Command> all;
  for (int seq = 1; seq <= 1000; ++seq) {
    all.push_back(Parse<proto::Command>("put { key: 'k' }" + In(7, seq)));
  }
  ApplyAll(all);
  const ApplyResult refused = ApplyText("put { key: 'k' }" + In(7, 1001));
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status)) << refused.status;
  EXPECT_FALSE(refused.response.decided());
  EXPECT_TRUE(Status("put { key: 'k' }" + In(7, 1000)).ok()) << "a known one";
  EXPECT_EQ(state_->revision(), 1001);
  EXPECT_TRUE(Status("put { key: 'k' }" + In(-7, 1)).ok()) << "another session";
  EXPECT_TRUE(Status("put { key: 'k' }" + In(7, 1001, /*acked=*/1)).ok());
  EXPECT_EQ(Stored(), 1001u);
}

TEST_F(SessionTest, ALargeAnswerIsStoredInPart) {
  const std::string value(5000, 'x');
  ApplyText("put { key: 'a' value: '" + value + "' }");
  ApplyText("put { key: 'b' value: '" + std::string(4000, 'y') + "' }");
  const std::string read = "txn { success { request_range { key: 'a' } } }" + In(7, 1);
  EXPECT_EQ(ApplyText(read).response.txn().responses_size(), 1);
  EXPECT_EQ(Answer(read),
            "txn { header { revision: 3 } succeeded: true } decided: true reduced: true");
  const std::string put = "put { key: 'a' value: 'new' prev_kv: true }" + In(7, 2);
  EXPECT_EQ(ApplyText(put).response.put().prev_kv().value(), value);
  EXPECT_EQ(Answer(put), "put { header { revision: 4 } } decided: true reduced: true");
  const std::string remove = "delete_range { key: 'b' prev_kv: true }" + In(7, 3);
  ApplyText(remove);
  const ApplyResult again = ApplyText(remove);
  EXPECT_EQ(again.response.delete_range().prev_kvs_size(), 1) << "up to 4 KiB are stored";
  EXPECT_FALSE(again.response.reduced());
}

TEST_F(SessionTest, AllSessionsShareTheBounds) {
  ReopenWithSmallRules();
  for (int lease = 1; lease <= 4; ++lease) {
    ApplyText(absl::StrCat("lease_grant { ID: ", lease, " TTL: 60 }"));
  }
  for (int seq = 1; seq <= 4; ++seq) {
    for (int lease = 1; lease <= 3; ++lease) {
      EXPECT_TRUE(Status("put { key: 'k' }" + In(lease, seq)).ok());
    }
  }
  EXPECT_TRUE(absl::IsResourceExhausted(Status("put { key: 'k' }" + In(4, 1))));
  EXPECT_TRUE(Status("lease_revoke { ID: 1 }").ok());
  EXPECT_TRUE(Status("put { key: 'k' }" + In(4, 1)).ok());
}

TEST_F(SessionTest, ExpiryIsBoundedByTheStoredAnswersToo) {
  ReopenWithSmallRules();
  ApplyText("lease_grant { ID: 1 TTL: 60 }");
  ApplyText("lease_grant { ID: 2 TTL: 60 }");
  for (int seq = 1; seq <= 2; ++seq) {
    ApplyText("put { key: 'k' }" + In(1, seq));
    ApplyText("put { key: 'k' }" + In(2, seq));
  }
  EXPECT_TRUE(
      Status("expire_leases { leases { id: 1 renewed: 2 } leases { id: 2 renewed: 3 } }").ok());
  EXPECT_EQ(Status("put { key: 'k' }" + In(1, 1)), kExpired);
  EXPECT_TRUE(Status("put { key: 'k' }" + In(2, 1)).ok()) << "2 + 2 answers are more than 3";
}

TEST_F(SessionTest, AStoreWithADamagedAnswerIsNotOpened) {
  ApplyText("put { key: 'k' }" + In(7, 1));
  state_->Flush();
  state_.reset();
  {
    MemoryEngine engine(disk_, Durability::kFlushed);
    WriteBatch batch;
    batch.Put(std::string(1, SessionTable::kLetter) + "short", "");
    engine.Write(batch, /*sync=*/false);
    engine.Flush();
  }
  EXPECT_TRUE(absl::IsDataLoss(
      StateMachine::Open(std::make_unique<MemoryEngine>(disk_, Durability::kFlushed)).status()));
}

}  // namespace
}  // namespace raftkv
