// Transactions by etcd's rules, in the log and read-only. The expected answers are those of
// etcd 3.4.23.

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/layout.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;

class TxnTest : public StoreTest {
 protected:
  // Runs a transaction with `compare` and returns whether it succeeded.
  bool Succeeds(const std::string& compare) {
    const ApplyResult result = ApplyText(absl::StrCat("txn { compare {", compare, "} }"));
    EXPECT_TRUE(result.status.ok()) << result.status;
    // A read-only transaction must say the same.
    TxnRequest request = Parse<TxnRequest>(absl::StrCat("compare {", compare, "}"));
    TxnResponse response;
    EXPECT_TRUE(state_->Snapshot()->Txn(request, Limits(), &response).ok());
    EXPECT_EQ(response.succeeded(), result.response.txn().succeeded()) << compare;
    return result.response.txn().succeeded();
  }
};

TEST_F(TxnTest, AnEmptyOneSucceedsAndChangesNothing) {
  EXPECT_EQ(Answer("txn {}"), "txn { header { revision: 1 } succeeded: true }");
  EXPECT_EQ(state_->revision(), 1);
}

TEST_F(TxnTest, ComparesEveryTarget) {
  Apply(PutCommand("k", "a"));
  Apply(PutCommand("k", "b"));  // create 2, mod 3, version 2
  for (const std::string target :
       {"VERSION version: ", "CREATE create_revision: ", "MOD mod_revision: ", "LEASE lease: "}) {
    const int is = target[0] == 'M' ? 3 : target[0] == 'L' ? 0 : 2;
    const auto compare = [&](const char* result, int with) {
      return Succeeds(absl::StrCat("key: 'k' result: ", result, " target: ", target, with));
    };
    EXPECT_TRUE(compare("EQUAL", is)) << target;
    EXPECT_FALSE(compare("EQUAL", is + 1)) << target;
    EXPECT_TRUE(compare("NOT_EQUAL", is + 1)) << target;
    EXPECT_FALSE(compare("NOT_EQUAL", is)) << target;
    EXPECT_TRUE(compare("GREATER", is - 1)) << target;
    EXPECT_FALSE(compare("GREATER", is)) << target;
    EXPECT_TRUE(compare("LESS", is + 1)) << target;
    EXPECT_FALSE(compare("LESS", is)) << target;
  }
  EXPECT_TRUE(Succeeds("key: 'k' target: VALUE value: 'b'"));
  EXPECT_TRUE(Succeeds("key: 'k' target: VALUE result: GREATER value: 'azzz'"));
  EXPECT_TRUE(Succeeds("key: 'k' target: VALUE result: LESS value: '\\377'")) << "bytes unsigned";
  EXPECT_FALSE(Succeeds("key: 'k' target: VALUE result: NOT_EQUAL value: 'b'"));
}

TEST_F(TxnTest, AUnionOfAnotherKindIsUnset) {
  Apply(PutCommand("k", ""));
  EXPECT_FALSE(Succeeds("key: 'k' target: MOD version: 2")) << "compares with 0";
  EXPECT_TRUE(Succeeds("key: 'k' target: MOD result: NOT_EQUAL version: 2"));
  EXPECT_TRUE(Succeeds("key: 'k' target: VALUE version: 2")) << "compares with the empty value";
}

TEST_F(TxnTest, AMissingKeyComparesAsZeroAndItsValueAsNothing) {
  Apply(PutCommand("gone", "x"));
  Apply(DeleteCommand("gone"));
  for (const char* key : {"never", "gone"}) {
    const std::string is = absl::StrCat("key: '", key, "' target: ");
    EXPECT_TRUE(Succeeds(is + "VERSION version: 0"));
    EXPECT_TRUE(Succeeds(is + "CREATE create_revision: 0"));
    EXPECT_TRUE(Succeeds(is + "MOD mod_revision: 0"));
    EXPECT_TRUE(Succeeds(is + "MOD result: LESS mod_revision: 1"));
    EXPECT_TRUE(Succeeds(is + "LEASE lease: 0"));
    for (const char* result : {"EQUAL", "NOT_EQUAL", "GREATER", "LESS"}) {
      EXPECT_FALSE(Succeeds(absl::StrCat(is, "VALUE value: '' result: ", result)));
    }
  }
}

TEST_F(TxnTest, ARangeComparesEveryKeyAndAnEmptyOneAsAMissingKey) {
  Apply(PutCommand("a1", "x"));
  Apply(PutCommand("a2", "y"));
  Apply(PutCommand("a2", "y"));
  const std::string range = "key: 'a' range_end: 'b' target: ";
  EXPECT_TRUE(Succeeds(range + "VERSION result: GREATER version: 0"));
  EXPECT_FALSE(Succeeds(range + "VERSION result: GREATER version: 1"));
  EXPECT_TRUE(Succeeds(range + "VALUE result: LESS value: 'z'"));
  const std::string empty = "key: 'b' range_end: 'c' target: ";
  EXPECT_TRUE(Succeeds(empty + "VERSION version: 0"));
  EXPECT_FALSE(Succeeds(empty + "VALUE result: NOT_EQUAL value: 'z'"));
}

TEST_F(TxnTest, LaterOperationsSeeEarlierOnesAndShareTheirRevision) {
  Apply(PutCommand("a", "0"));
  EXPECT_EQ(Answer("txn { success { request_range { key: 'a' } }"
                   "      success { request_put { key: 'a' value: '1' prev_kv: true } }"
                   "      success { request_range { key: 'a' keys_only: true } }"
                   "      success { request_range { key: 'a' range_end: 'z' revision: 2 } }"
                   "      success { request_delete_range { key: 'b' range_end: 'z' } } }"),
            "txn { header { revision: 3 } succeeded: true "
            "responses { response_range { header { revision: 2 } kvs { key: \"a\" create_revision: "
            "2 mod_revision: 2 version: 1 value: \"0\" } count: 1 } } "
            "responses { response_put { header { revision: 3 } prev_kv { key: \"a\" "
            "create_revision: 2 mod_revision: 2 version: 1 value: \"0\" } } } "
            "responses { response_range { header { revision: 3 } kvs { key: \"a\" create_revision: "
            "2 mod_revision: 3 version: 2 } count: 1 } } "
            "responses { response_range { header { revision: 3 } kvs { key: \"a\" create_revision: "
            "2 mod_revision: 2 version: 1 value: \"0\" } count: 1 } } "
            "responses { response_delete_range { header { revision: 3 } } } }");
}

TEST_F(TxnTest, ComparesOfTheWholeTreeSeeTheStateBefore) {
  EXPECT_EQ(Answer("txn { success { request_put { key: 'a' value: '1' } }"
                   "      success { request_txn {"
                   "        compare { key: 'a' target: VERSION version: 0 }"
                   "        success { request_put { key: 'before' } }"
                   "        failure { request_put { key: 'after' } } } } }"),
            "txn { header { revision: 2 } succeeded: true "
            "responses { response_put { header { revision: 2 } } } "
            "responses { response_txn { header { } succeeded: true "
            "responses { response_put { header { revision: 2 } } } } } }");
  EXPECT_EQ(Range(AllKeys()), "a=1 before= ");
}

TEST_F(TxnTest, OnlyTheTakenPathIsChecked) {
  EXPECT_EQ(Answer("txn { compare { key: 'a' target: VERSION version: 1 }"
                   "      success { request_put { key: 'a' ignore_value: true } }"
                   "      success { request_range { key: 'a' revision: 99 } }"
                   "      failure { request_put { key: 'b' } } }"),
            "txn { header { revision: 2 } responses { response_put { header { revision: 2 } } } }");
}

TEST_F(TxnTest, AnErrorMeansThatNothingHappened) {
  Apply(PutCommand("a", "0"));
  const std::string put = "txn { success { request_put { key: 'x' } } success { ";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"request_put { key: 'b' ignore_value: true }", "key not found"},
      {"request_put { key: 'b' ignore_lease: true lease: 0 }", "key not found"},
      {"request_put { key: 'b' ignore_value: true lease: 7 }", "key not found"},
      {"request_put { key: 'a' lease: 7 }", "requested lease not found"},
      {"request_range { key: 'a' revision: 3 }", "mvcc: required revision is a future revision"},
      {"request_txn { success { request_put { key: 'b' ignore_value: true } } }", "key not found"},
      {"request_put { key: 'x' }", "duplicate key given in txn request"},
  };
  for (const auto& [op, error] : cases) {
    EXPECT_EQ(Answer(absl::StrCat(put, op, " } }")), error) << op;
    EXPECT_EQ(state_->revision(), 2);
    EXPECT_EQ(Range(AllKeys()), "a=0 ");
  }
  EXPECT_EQ(Answer("txn { success { request_range { key: 'a' revision: 9 } }"
                   "      success { request_put { key: 'b' lease: 7 } } }"),
            "requested lease not found")
      << "all puts are checked before all ranges";
}

TEST_F(TxnTest, CompactedRevisionsAreAnErrorEvenBeforePhysicalCompaction) {
  for (int i = 0; i < 5; ++i) Apply(PutCommand("a", std::to_string(i)));
  const auto range_at = [](int revision) {
    return absl::StrCat("txn { success { request_put { key: 'x' } }",
                        "      success { request_range { key: 'a' revision: ", revision, " } } }");
  };
  const std::string compacted = "mvcc: required revision has been compacted";
  EXPECT_NE(Answer(range_at(-1)), compacted) << "never compacted";
  EXPECT_EQ(Answer(range_at(-2)), compacted) << "as etcd, which begins with -1 compacted";
  Apply(CompactCommand(4));
  EXPECT_EQ(Answer(range_at(-1)), compacted);
  EXPECT_EQ(Answer(range_at(3)), compacted);
  EXPECT_NE(Answer(range_at(4)).find("mod_revision: 4"), std::string::npos);
  EXPECT_NE(Answer(range_at(0)).find("mod_revision: 6"), std::string::npos);
}

// The one way to change a key twice: etcd's check of duplicate keys lets it pass.
TEST_F(TxnTest, APutInOneNestedTxnMayBeDeletedByALaterOne) {
  Apply(PutCommand("other", "x"));
  const std::string twice =
      "txn { success { request_txn { success { request_put { key: 'z' value: 'v' } } } }"
      "      success { request_txn { success { request_delete_range { key: 'z'";
  EXPECT_EQ(Answer(twice + " prev_kv: true } } } } success { request_range { key: 'z' } } }"),
            "txn { header { revision: 3 } succeeded: true "
            "responses { response_txn { header { } succeeded: true responses { response_put { "
            "header { revision: 3 } } } } } "
            "responses { response_txn { header { } succeeded: true responses { "
            "response_delete_range { header { revision: 3 } deleted: 1 prev_kvs { key: \"z\" "
            "create_revision: 3 mod_revision: 3 version: 1 value: \"v\" } } } } } "
            "responses { response_range { header { revision: 3 } } } }");
  // Deletes it by a range, in the same batch as the next entry, which must not see the key any
  // more.
  const raft::Index next = state_->applied().index + 1;
  const auto results = state_->Apply(
      {MakeEntry(1, next, Parse<proto::Command>(twice + " range_end: 'zz' } } } } }")),
       MakeEntry(1, next + 1, PutCommand("z", "new"))});
  EXPECT_EQ(results[1].revision, 5);
  EXPECT_EQ(Range(AllKeys()), "other=x z=new ");
  EXPECT_EQ(Range(AllKeys(4)), "other=x ");

  int both = 0;
  for (const auto& [key, record] : Table('e')) {
    const mvcc::Event event = mvcc::DecodeEvent(record);
    const mvcc::EventId id = mvcc::DecodeEventKey(key);
    if (id.revision != 3 && id.revision != 4) continue;
    ++both;
    EXPECT_EQ(event.key, "z");
    EXPECT_EQ(event.deleted, id.sub == 1);
    EXPECT_EQ(event.created, id.sub == 0);
    if (id.sub == 0) continue;
    EXPECT_EQ(event.previous, id.revision);
    std::string version;
    mvcc::AppendVersionPrefix("z", &version);
    mvcc::AppendRevisionDescending(id.revision, &version);
    mvcc::Head head;
    std::string_view value;
    mvcc::DecodeVersion(version, event.replaced, &head, &value);
    EXPECT_EQ(value, "v") << "a watch must show both events";
    EXPECT_EQ(head.create_revision, id.revision);
  }
  EXPECT_EQ(both, 4);
}

TEST_F(TxnTest, RangesInTheLogSeeTheBatchTheyAreIn) {
  std::vector<raft::Entry> entries;
  for (raft::Index i = 1; i <= 9; ++i) {
    entries.push_back(MakeEntry(1, i, PutCommand(absl::StrCat("k", i % 3), std::to_string(i))));
  }
  entries.push_back(MakeEntry(1, 10, DeleteCommand("k0", "k1")));
  entries.push_back(
      MakeEntry(1, 11,
                Parse<proto::Command>(
                    "txn { success { request_put { key: 'k0' value: 'new' } }"
                    "      success { request_range { key: 'k' range_end: 'l' sort_order: DESCEND } "
                    "} }")));
  const auto results = state_->Apply(entries);
  const auto& range = results[10].response.txn().responses(1).response_range();
  ASSERT_EQ(range.kvs_size(), 3);
  EXPECT_EQ(range.kvs(0).value(), "8");
  EXPECT_EQ(range.kvs(2).value(), "new");
  EXPECT_EQ(range.kvs(2).version(), 1) << "deleted in this batch, so a new incarnation";
}

// After a restart, so that the cache has no heads of these keys.
TEST_F(TxnTest, WhatARangeDeletedIsGoneForTheRestOfTheBatch) {
  Apply(PutCommand("k", "old"));
  state_->Flush();
  Reopen();
  const auto results = state_->Apply(
      {MakeEntry(1, 2, DeleteCommand("k", "l")),
       MakeEntry(1, 3, Parse<proto::Command>("put { key: 'k' value: 'new' prev_kv: true }"))});
  EXPECT_EQ(results[1].response.ShortDebugString(), "put { header { revision: 4 } }");
  EXPECT_EQ(ApplyText("txn { compare { key: 'k' target: VERSION version: 1 } }")
                .response.txn()
                .succeeded(),
            true);
}

TEST_F(TxnTest, ReadOnlyAnswersAsTheLogDoes) {
  for (int i = 0; i < 5; ++i) Apply(PutCommand(absl::StrCat("k", i), std::to_string(i)));
  const std::string reads =
      "compare { key: 'k1' target: VALUE value: '1' }"
      "success { request_range { key: 'k' range_end: 'l' limit: 2 } }"
      "success { request_txn { compare { key: 'nope' target: VERSION version: 1 }"
      "  failure { request_range { key: 'k3' revision: 5 } }"
      "  failure { request_range { key: 'k3' revision: 4 min_mod_revision: 9 } }"
      "  failure { request_range { key: 'k3' count_only: true } } } }";
  TxnResponse response;
  ASSERT_TRUE(state_->Snapshot()->Txn(Parse<TxnRequest>(reads), Limits(), &response).ok());
  EXPECT_EQ("txn { " + response.ShortDebugString() + " }", Answer("txn { " + reads + " }"));
  EXPECT_EQ(state_->Snapshot()->Txn(Parse<TxnRequest>(reads), {.steps_max = 3}, &response),
            absl::ResourceExhaustedError("read budget"))
      << "one budget for all of it";
  EXPECT_EQ(state_->Snapshot()->Txn(Parse<TxnRequest>("success { request_range { key: 'a' "
                                                      "revision: 77 } }"),
                                    Limits(), &response),
            absl::OutOfRangeError("mvcc: required revision is a future revision"));
  EXPECT_EQ(state_->Snapshot()->Txn(Parse<TxnRequest>("success { request_range { } }"), Limits(),
                                    &response),
            absl::InvalidArgumentError("key is not provided"));
}

TEST_F(TxnTest, TheDeepestThatIsAllowedCanBeRead) {
  proto::Command command;
  TxnRequest* txn = command.mutable_txn();
  for (int depth = 1; depth < mvcc::kTxnDepthMax; ++depth) {
    txn = txn->add_success()->mutable_request_txn();
  }
  txn->add_success()->mutable_request_put()->set_key("deep");
  ASSERT_TRUE(mvcc::Check(command.txn(), INT64_MAX).ok());
  EXPECT_TRUE(Apply(command).status.ok());
  EXPECT_EQ(Range(AllKeys()), "deep= ");
}

TEST_F(TxnTest, AnswersOfOneEntryAreBounded) {
  const std::string mebibyte(1 << 20, 'v');
  const int most = static_cast<int>(RulesOf(1).answer_bytes >> 20);
  for (int i = 0; i < most; ++i) Apply(PutCommand(absl::StrCat("k", i), mebibyte));
  const std::string error = "one transaction or deletion may answer at most 67108864 bytes";
  EXPECT_EQ(Answer("txn { success { request_put { key: 'a' } }"
                   "      success { request_range { key: 'k' range_end: 'l' } } }")
                .substr(0, error.size()),
            error);
  EXPECT_EQ(
      Answer("delete_range { key: 'k' range_end: 'l' prev_kv: true }").substr(0, error.size()),
      error);
  EXPECT_EQ(state_->revision(), 1 + most);
  EXPECT_EQ(ApplyText("txn { success { request_range { key: 'k' range_end: 'l' limit: 9 } } }")
                .response.txn()
                .responses(0)
                .response_range()
                .kvs_size(),
            9);
  // The limit is the same for reads, puts and deletions of single keys. A few of them are always
  // accepted.
  const auto each = [most](const std::string& op) {
    std::string text = "txn {";
    for (int i = 0; i < most; ++i) absl::StrAppend(&text, " success {", op, "}");
    return absl::StrReplaceAll(text + "}", {{"KEY", "key: 'k0'"}});
  };
  EXPECT_EQ(Answer(each("request_range { KEY }")).substr(0, error.size()), error);
  proto::Command command =
      Parse<proto::Command>(each("request_delete_range { KEY prev_kv: true }"));
  EXPECT_EQ(std::string(Apply(command).status.message()).substr(0, error.size()), error);
  command = Parse<proto::Command>(each("request_range { key: 'new' }"));
  command.mutable_txn()->add_success()->mutable_request_put()->set_key("new");
  command.mutable_txn()->mutable_success(most)->mutable_request_put()->set_value(mebibyte);
  EXPECT_EQ(std::string(Apply(command).status.message()).substr(0, error.size()), error);
  EXPECT_EQ(state_->revision(), 1 + most);
  EXPECT_EQ(ApplyText("delete_range { key: 'k' range_end: 'l' }").response.delete_range().deleted(),
            most);
}

}  // namespace
}  // namespace raftkv
