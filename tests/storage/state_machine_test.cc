// What the model test does not cover: limits, snapshots over time, flushing, store ids, and the
// encoding of keys.

#include "storage/state_machine.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/mvcc/layout.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

class StateMachineTest : public StoreTest {};

TEST_F(StateMachineTest, EmptyStoreIsAtRevisionOne) {
  EXPECT_EQ(state_->revision(), 1);
  EXPECT_EQ(state_->applied(), raft::EntryId());
  EXPECT_EQ(Range(AllKeys()), "");
}

TEST_F(StateMachineTest, SortWithoutOrderSortsOnlyTheFirstKeys) {
  for (int i = 1; i <= 5; ++i) {
    Apply(PutCommand(absl::StrCat("k", i), std::to_string(9 - i)));
  }
  RangeRequest request = AllKeys();
  request.set_sort_target(RangeRequest::VALUE);
  request.set_limit(2);
  EXPECT_EQ(Range(request), "k3=6 k2=7 ") << "as etcd: limit + 1 keys, then sorted, then cut";
  request.set_sort_order(RangeRequest::ASCEND);
  EXPECT_EQ(Range(request), "k5=4 k4=5 ");
}

TEST_F(StateMachineTest, BudgetCountsDeletedKeysToo) {
  for (int i = 0; i < 20; ++i) Apply(PutCommand(absl::StrCat("k", i), "0123456789"));
  EXPECT_EQ(Range(AllKeys(), {.steps_max = 19}), "read budget");
  EXPECT_NE(Range(AllKeys(), {.steps_max = 20}), "read budget");
  EXPECT_EQ(Range(AllKeys(), {.answer_bytes_max = 100}), "read budget");
  Apply(DeleteCommand("k", "l"));
  EXPECT_EQ(Range(AllKeys(), {.steps_max = 19}), "read budget");
  EXPECT_EQ(Range(AllKeys(), {.steps_max = 20}), "");
}

// The engine reads the values that it walks over, even if they are not in the answer.
TEST_F(StateMachineTest, BudgetCountsValuesThatAreNotAnswered) {
  for (int i = 0; i < 20; ++i) Apply(PutCommand(absl::StrCat("k", i), std::string(100'000, 'v')));
  RangeRequest keys_only = AllKeys();
  keys_only.set_keys_only(true);
  EXPECT_EQ(Range(keys_only, {.steps_max = 400}), "read budget");
  EXPECT_NE(Range(keys_only, {.steps_max = 600}), "read budget");
  RangeRequest count;  // of one half of the keys
  count.set_key("k10");
  count.set_range_end("k2");
  count.set_count_only(true);
  EXPECT_EQ(Range(count, {.steps_max = 200}), "read budget");
  RangeRequest nothing = AllKeys();
  nothing.set_min_mod_revision(1'000);
  EXPECT_EQ(Range(nothing, {.steps_max = 400}), "read budget");
  for (int i = 0; i < 20; ++i) Apply(PutCommand(absl::StrCat("k", i), ""));
  EXPECT_EQ(Range(keys_only, {.steps_max = 400}), "read budget") << "the versions before";
  EXPECT_NE(Range(keys_only, {.steps_max = 600}), "read budget");
}

// A request of a few bytes asks for forty values that take long to copy.
TEST_F(StateMachineTest, ATransactionOverLargeValuesIsLarge) {
  for (int i = 0; i < 40; ++i) Apply(PutCommand(absl::StrCat("k", i), std::string(256 << 10, 'v')));
  proto::Command command;
  command.mutable_txn()->add_success()->mutable_request_put()->set_key("x");
  RangeRequest* range = command.mutable_txn()->add_success()->mutable_request_range();
  range->set_key("k");
  range->set_range_end("l");
  const raft::Entry entry = MakeEntry(1, state_->applied().index + 1, command);
  EXPECT_EQ(state_->Apply({entry}, {.steps_max = 2048}).size(), 0u);
  EXPECT_EQ(state_->Apply({entry}).front().response.txn().responses(1).response_range().count(),
            40);
}

// Operations on single keys, one case for each operation that reads a value.
TEST_F(StateMachineTest, ATransactionOfManyLargeValuesIsLarge) {
  for (int i = 0; i < 30; ++i) Apply(PutCommand(absl::StrCat("k", i), std::string(1 << 20, 'v')));
  const auto applied = [&](int times, const std::string& op) {
    std::string text = "txn {";
    for (int i = 0; i < times; ++i) absl::StrAppend(&text, op, " key: 'k", i, "' } }");
    const raft::Entry entry =
        MakeEntry(1, state_->applied().index + 1, Parse<proto::Command>(text + "}"));
    const size_t results = state_->Apply({entry}, {.steps_max = 2048}).size();
    if (results == 0) {
      EXPECT_TRUE(state_->Apply({entry}).front().status.ok());
    }
    return results;
  };
  EXPECT_EQ(applied(30, "failure { request_range {"), 1u) << "it is not taken";
  for (const std::string op :
       {"success { request_range {", "success { request_put { ignore_value: true",
        "success { request_put { prev_kv: true value: 'w'"}) {
    EXPECT_EQ(applied(4, op), 1u) << op;  // a few are not measured
    for (int i = 0; i < 30; ++i) Apply(PutCommand(absl::StrCat("k", i), std::string(1 << 20, 'v')));
    EXPECT_EQ(applied(30, op), 0u) << op;
    for (int i = 0; i < 30; ++i) Apply(PutCommand(absl::StrCat("k", i), std::string(1 << 20, 'v')));
  }
  EXPECT_EQ(applied(30, "success { request_put { value: 'w'"), 1u);
  EXPECT_EQ(applied(30, "success { request_delete_range { prev_kv: true"), 1u) << "they are small";
}

TEST_F(StateMachineTest, AnswersOfOneApplyAreBounded) {
  constexpr size_t kPuts = 64;
  Apply(PutCommand("k", std::string(1 << 20, 'v')));
  proto::Command command = PutCommand("k", std::string(1 << 20, 'v'));
  command.mutable_put()->set_prev_kv(true);
  std::vector<raft::Entry> entries;
  const raft::Index before = state_->applied().index;
  for (size_t i = 0; i < kPuts; ++i) entries.push_back(MakeEntry(1, before + 1 + i, command));
  size_t applied = 0, most = 0;
  while (applied < kPuts) {
    const size_t results = state_->Apply(absl::MakeSpan(entries).subspan(applied)).size();
    ASSERT_GT(results, 0u);
    most = std::max(most, results);
    applied += results;
    EXPECT_EQ(state_->applied().index, before + applied);
  }
  EXPECT_LT(most, kPuts / 2);
}

TEST_F(StateMachineTest, SnapshotStaysWhileTheStoreMovesOn) {
  Apply(PutCommand("a", "1"));
  const std::shared_ptr<const StateSnapshot> before = state_->Snapshot();
  Apply(PutCommand("a", "2"));
  Apply(DeleteCommand("a"));
  RangeResponse response;
  ASSERT_TRUE(before->Range(AllKeys(), Limits(), &response).ok());
  EXPECT_EQ(response.kvs(0).value(), "1");
  EXPECT_EQ(response.header().revision(), 2);
  EXPECT_EQ(before->applied().index, 1u);
  EXPECT_EQ(state_->Snapshot()->revision(), 4);
}

TEST_F(StateMachineTest, UnflushedEntriesAreReplayedToTheSameDigest) {
  std::vector<raft::Entry> log;
  for (raft::Index i = 1; i <= 30; ++i) {
    log.push_back(i % 7 == 0 ? MakeEntry(1, i, DeleteCommand("k", "k5"))
                             : MakeEntry(1, i, PutCommand(absl::StrCat("k", i % 9), "v")));
  }
  state_->Apply(absl::MakeSpan(log).subspan(0, 10));
  state_->Flush();
  EXPECT_EQ(state_->persisted_applied().index, 10u);
  state_->Apply(absl::MakeSpan(log).subspan(10));
  EXPECT_EQ(state_->persisted_applied().index, 10u);
  const uint64_t digest = state_->digest();
  const std::string contents = Range(AllKeys());
  Reopen();
  EXPECT_EQ(state_->applied().index, 10u);
  state_->Apply(log);  // from the start: applied entries are skipped
  EXPECT_EQ(state_->digest(), digest);
  EXPECT_EQ(Range(AllKeys()), contents);
}

TEST_F(StateMachineTest, DigestDependsOnEffectsAndOrder) {
  const auto digest_of = [](const std::vector<proto::Command>& commands) {
    auto state = StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
    raft::Index index = 0;
    for (const proto::Command& c : commands) (*state)->Apply({MakeEntry(1, ++index, c)});
    return (*state)->digest();
  };
  const proto::Command a = PutCommand("a", "1"), b = PutCommand("b", "1");
  EXPECT_EQ(digest_of({a, b}), digest_of({a, b}));
  EXPECT_NE(digest_of({a, b}), digest_of({b, a}));
  EXPECT_NE(digest_of({a, b}), digest_of({a, PutCommand("b", "2")}));
  EXPECT_NE(digest_of({a, b}), digest_of({a, DeleteCommand("a")}));
  EXPECT_NE(digest_of({a}), digest_of({a, DeleteCommand("missing")})) << "other applied index";
}

TEST_F(StateMachineTest, FlushIsDueAfterManyEntries) {
  constexpr raft::Index kEntries = 100'000;
  std::vector<raft::Entry> log;
  for (raft::Index i = 1; i <= kEntries; ++i) log.push_back(MakeEntry(1, i, PutCommand("k", "v")));
  state_->Apply(absl::MakeSpan(log).subspan(0, kEntries - 1));
  state_->MaybeFlush();
  EXPECT_EQ(state_->persisted_applied().index, 0u);
  state_->Apply(absl::MakeSpan(log).subspan(kEntries - 1));
  state_->MaybeFlush();
  EXPECT_EQ(state_->persisted_applied().index, kEntries);
}

TEST_F(StateMachineTest, FlushIsDueAfterLargeChangesAndLargeEntries) {
  const std::string large(1 << 20, 'v');
  raft::Index index = 0;
  const auto apply = [&](const proto::Command& command) {
    state_->Apply({MakeEntry(1, ++index, command)});
    state_->MaybeFlush();
  };
  // Each change has 1 MiB.
  for (int i = 0; i < 14; ++i) apply(PutCommand("k", large));
  EXPECT_EQ(state_->persisted_applied().index, 0u);
  apply(PutCommand("k", large));
  EXPECT_EQ(state_->persisted_applied().index, 15u);

  // Entries that change nothing, but which the log has to keep until a flush.
  proto::Command nothing = DeleteCommand(large);
  for (int i = 0; i < 31; ++i) apply(nothing);
  EXPECT_EQ(state_->persisted_applied().index, 15u);
  apply(nothing);
  EXPECT_EQ(state_->persisted_applied().index, 47u);
}

TEST_F(StateMachineTest, StoreIdsAreKeptAndTheFirstOneCounts) {
  proto::Command command;
  command.mutable_record_store_id()->set_member_id(7);
  command.mutable_record_store_id()->set_store_id(std::string(16, 'a'));
  EXPECT_TRUE(Apply(command).status.ok());
  EXPECT_TRUE(Apply(command).status.ok());
  command.mutable_record_store_id()->set_store_id(std::string(16, 'b'));
  EXPECT_TRUE(absl::IsFailedPrecondition(Apply(command).status));
  EXPECT_EQ(state_->revision(), 1);
  state_->Flush();
  Reopen();
  EXPECT_EQ(state_->store_ids(),
            (std::map<raft::MemberId, std::string>{{7, std::string(16, 'a')}}));
}

TEST_F(StateMachineTest, DataWithoutItsStateRecordIsDamage) {
  Apply(PutCommand("a", "1"));
  state_.reset();
  {
    MemoryEngine engine(disk_, Durability::kFlushed);
    WriteBatch batch;
    batch.Delete("m");
    engine.Write(batch, false);
  }
  const auto state =
      StateMachine::Open(std::make_unique<MemoryEngine>(disk_, Durability::kFlushed));
  EXPECT_TRUE(absl::IsDataLoss(state.status())) << state.status();
}

TEST(MvccLayout, EscapedKeysSortAsTheKeysDo) {
  std::vector<std::string> keys;
  const std::string alphabet("\0\1\2a\xfe\xff", 6);
  for (char a : alphabet) {
    keys.push_back({a});
    for (char b : alphabet) {
      keys.push_back({a, b});
      for (char c : alphabet) keys.push_back({a, b, c});
    }
  }
  std::sort(keys.begin(), keys.end());
  std::string before;
  for (const std::string& key : keys) {
    for (Revision revision : {INT64_MAX, Revision{900}, Revision{2}, Revision{1}}) {
      std::string encoded;
      mvcc::AppendVersionPrefix(key, &encoded);
      EXPECT_EQ(mvcc::UserKey(encoded), key);
      const std::string after = mvcc::AfterVersions(encoded);
      EXPECT_EQ(mvcc::VersionPrefix(after), encoded);
      EXPECT_FALSE(mvcc::IsVersionKey(encoded));
      EXPECT_LT(mvcc::BeforeVersions(encoded), after);
      mvcc::AppendRevisionDescending(revision, &encoded);
      EXPECT_EQ(mvcc::VersionRevision(encoded), revision);
      EXPECT_TRUE(mvcc::IsVersionKey(encoded));
      EXPECT_LT(before, encoded);
      EXPECT_LT(encoded, after);
      before = encoded;
    }
  }
}

TEST(MvccLayout, EventsRoundTrip) {
  std::string record;
  mvcc::EncodeEvent({.deleted = true, .previous = 77, .key = "k"}, &record);
  mvcc::Event event = mvcc::DecodeEvent(record);
  EXPECT_TRUE(event.deleted);
  EXPECT_FALSE(event.created);
  EXPECT_EQ(event.previous, 77);
  EXPECT_EQ(event.key, "k");
  EXPECT_EQ(event.replaced, "");
  mvcc::EncodeEvent({.created = true, .previous = 1, .key = "key", .replaced = "v"}, &record);
  event = mvcc::DecodeEvent(record);
  EXPECT_FALSE(event.deleted);
  EXPECT_TRUE(event.created);
  EXPECT_EQ(event.key, "key");
  EXPECT_EQ(event.replaced, "v");

  std::string key;
  mvcc::AppendEventKey({.revision = 1'000'000'007, .sub = 70'000}, &key);
  EXPECT_EQ(mvcc::DecodeEventKey(key).revision, 1'000'000'007);
  EXPECT_EQ(mvcc::DecodeEventKey(key).sub, 70'000u);
}

}  // namespace
}  // namespace raftkv
