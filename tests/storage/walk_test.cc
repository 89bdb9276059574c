// How far one entry may walk (storage/rules/version.h). The tests check exactly which keys are
// charged, and that the verdict is the same in the model, in a store that has done its physical
// compaction, in one that never does, and in a replay.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/model/model.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

using etcdserverpb::Compare;
using etcdserverpb::RangeRequest;

// Reads a range to its end, and answers nothing.
RangeRequest Filtered(const std::string& key, const std::string& range_end) {
  RangeRequest request;
  request.set_key(key);
  request.set_range_end(range_end);
  request.set_limit(1);
  request.set_min_mod_revision(1'000'000);
  return request;
}

class WalkTest : public StoreTest {};

TEST_F(WalkTest, RangesOfATransactionThatWritesAreBounded) {
  std::vector<proto::Command> puts;
  for (int i = 0; i < 10'000; ++i) puts.push_back(PutCommand(absl::StrCat("k", i), "v"));
  ApplyAll(puts);
  proto::Command command;
  command.mutable_txn()->add_success()->mutable_request_put()->set_key("a");
  for (int i = 0; i < 104; ++i) {
    *command.mutable_txn()->add_success()->mutable_request_range() = Filtered("k", "l");
  }
  EXPECT_TRUE(Apply(command).status.ok());
  EXPECT_EQ(state_->revision(), 10'002);

  *command.mutable_txn()->add_success()->mutable_request_range() = Filtered("k", "l");
  EXPECT_EQ(Apply(command).status,
            absl::ResourceExhaustedError(
                "one transaction or deletion may take at most 1048576 steps to read its ranges "
                "(one for each key, and more for a large key or value); ask for smaller ranges, or "
                "compact what was deleted"));
  EXPECT_EQ(state_->revision(), 10'002) << "nothing was changed";

  // A transaction that only reads has the reader's limits. A range with a limit walks only a page.
  command.mutable_txn()->mutable_success()->DeleteSubrange(0, 1);
  etcdserverpb::TxnResponse response;
  EXPECT_TRUE(state_->Snapshot()->Txn(command.txn(), Limits(), &response).ok());
  for (auto& op : *command.mutable_txn()->mutable_success()) {
    op.mutable_request_range()->clear_min_mod_revision();
  }
  command.mutable_txn()->add_success()->mutable_request_put()->set_key("a");
  EXPECT_TRUE(Apply(command).status.ok());
}

// Transactions whose compares use up most of the limit, with a few keys that have large values:
// "x", "y", and up to 63 keys from "z00" on.
class WalkToTheKeyTest : public WalkTest {
 protected:
  static constexpr int64_t kOfX = 4096, kOfY = 64;

  WalkToTheKeyTest() {
    Do(PutCommand("x", std::string(4096 * (kOfX - 1), 'v')));
    Do(PutCommand("y", std::string(4096 * (kOfY - 1), 'v')));
    for (int i = 0; i < kOfY; ++i) Do(PutCommand(Small(i), "v"));
    slow_ = *StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
    slow_->Apply(log_);
  }
  static std::string Small(int64_t i) { return absl::StrCat("z", i / 10, i % 10); }

  // Applied by the store, by one that never compacts physically, and by the model.
  void Do(const proto::Command& command) {
    log_.push_back(MakeEntry(1, log_.size() + 1, command));
    const ApplyResult result = state_->Apply({log_.back()}).front();
    const Model::Answer expected = model_.Apply(command, log_.size());
    EXPECT_EQ(result.status, expected.status);
    EXPECT_EQ(result.revision, expected.revision);
    EXPECT_EQ(result.response.SerializeAsString(), expected.response.SerializeAsString());
    if (slow_ != nullptr) {
      EXPECT_EQ(slow_->Apply({log_.back()}).front().status, expected.status);
      EXPECT_EQ(slow_->digest(), state_->digest());
    }
    statuses_.push_back(result.status);
  }
  void PutKeys(int count) {
    for (int i = 0; i < count; ++i) Do(PutCommand(absl::StrCat("k", i / 10, i % 10), "v"));
  }

  void Compact(Revision revision) {
    Do(CompactCommand(revision));
    while (state_->compacting()) state_->CompactStep();
    ASSERT_TRUE(slow_->compacting());
  }

  // A transaction whose compares use up all but `left` steps, and which then does `txn`.
  absl::Status WithLeft(int64_t left, const std::string& txn) {
    proto::Command command;
    const auto compare = [&](const std::string& key, const std::string& range_end) {
      Compare& c = *command.mutable_txn()->add_compare();
      c.set_key(key);
      c.set_range_end(range_end);
      c.set_target(Compare::VERSION);
      c.set_version(1);
    };
    const int64_t used = RulesOf(1).walked_steps - left;
    for (int64_t i = 0; i < used / kOfX; ++i) compare("x", "y");
    for (int64_t i = 0; i < used % kOfX / kOfY; ++i) compare("y", "z");
    if (used % kOfY > 0) compare("z", Small(used % kOfY));
    command.MergeFrom(Parse<proto::Command>(absl::StrCat("txn {", txn, "}")));
    command.mutable_txn()->add_success()->mutable_request_put()->set_key("done");
    Do(command);
    return statuses_.back();
  }
  // Expects that `txn` is charged exactly this many steps. Executes it.
  void ExpectWalk(int64_t keys, const std::string& txn) {
    if (keys > 0) {
      const absl::Status status = WithLeft(keys - 1, txn);
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << keys - 1 << ": " << status << " " << txn;
    }
    const absl::Status status = WithLeft(keys, txn);
    EXPECT_TRUE(status.ok()) << keys << ": " << status << " " << txn;
  }

  static std::string Range(const std::string& more) {
    return absl::StrCat("success { request_range { key: 'k' range_end: 'l' ", more, " } }");
  }

  std::vector<raft::Entry> log_;
  std::vector<absl::Status> statuses_;
  Model model_;
  std::unique_ptr<StateMachine> slow_;
};

TEST_F(WalkToTheKeyTest, RangesGoToWhereTheirAnswerIsComplete) {
  PutKeys(40);
  const Revision before = state_->revision();
  ExpectWalk(40, Range(""));
  ExpectWalk(80, Range("") + Range(""));
  ExpectWalk(40, Range("limit: 1 min_mod_revision: 1000000"));
  ExpectWalk(40, Range("limit: 1 sort_target: MOD sort_order: DESCEND"));
  ExpectWalk(40, Range("limit: 5"));  // counted keys are charged one by one while they are few
  ExpectWalk(40, Range("count_only: true"));
  // One key is free, also from a range.
  ExpectWalk(1, "success { request_range { key: 'k00' range_end: 'k01' } }");
  ExpectWalk(0,
             "compare { key: 'k00' version: 1 } success { request_range { key: 'k00' } }"
             "success { request_delete_range { key: 'k39' } }");
  // Large values cost more, in the past too. Deleted keys are charged, and keys created later.
  Do(PutCommand("k00", std::string(2 * 4096, 'v')));
  const Revision large = state_->revision();
  ExpectWalk(42, Range(""));
  Do(PutCommand("k00", "small"));
  ExpectWalk(40, Range(""));
  ExpectWalk(42, Range(absl::StrCat("revision: ", large)));
  ExpectWalk(42, Range(absl::StrCat("count_only: true revision: ", large)));
  ExpectWalk(40, Range(absl::StrCat("revision: ", before)));
  ExpectWalk(40, Range("revision: 2"));
}

TEST_F(WalkToTheKeyTest, WhatIsCountedByBlocksIsAShareOfTheKeys) {
  for (int i = 0; i < 3000; ++i) Do(PutCommand(absl::StrCat("k", 10'000 + i), "v"));
  ExpectWalk(1024 + 2, Range("count_only: true"));
  ExpectWalk(6 + 1024 + 2, Range("limit: 5"));
  const std::string past = absl::StrCat("limit: 5 revision: ", state_->revision());
  Do(DeleteCommand("k10000", "k10003"));
  ExpectWalk(3000, Range(past));
  ExpectWalk(3 + 6 + 1024 + 2, Range("limit: 5"));
}

TEST_F(WalkToTheKeyTest, ComparesGoToTheFirstThatFails) {
  PutKeys(10);
  const std::string compare = "compare { key: 'k' range_end: 'l' version: 1 }";
  ExpectWalk(20, compare + compare);
  const std::string nested = absl::StrCat("success { request_txn {", compare, "} }");
  ExpectWalk(20, compare + nested);
  ExpectWalk(0, absl::StrCat("failure { request_txn {", compare, "} }"));
  Do(PutCommand("k03", "again"));
  const std::string failing =
      absl::StrCat("success { request_txn {", compare, compare,
                   "success { request_range { key: 'k' range_end: 'l' } }",
                   "failure { request_range { key: 'k' range_end: 'k05' } }", "} }");
  ExpectWalk(4 + 5, failing);
  // The steps of compares are checked before the errors of operations, those of ranges after them.
  EXPECT_EQ(
      WithLeft(3, failing + "success { request_range { key: 'k' revision: 1000000 } }").code(),
      absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(
      WithLeft(8, failing + "success { request_range { key: 'k' revision: 1000000 } }").code(),
      absl::StatusCode::kOutOfRange);
}

TEST_F(WalkToTheKeyTest, WhatIsDeletedCountsAgainForLaterRanges) {
  const std::string empty = "success { request_range { key: 'm' range_end: 'n' } }";
  const std::string del = "success { request_delete_range { key: 'k' range_end: 'k1' } }";
  PutKeys(20);
  ExpectWalk(10, empty + empty + del);
  ExpectWalk(10, del + empty + empty);  // they are tombstones by now
  PutKeys(20);
  ExpectWalk(10 + 2 * 10, del + empty + empty);
  PutKeys(20);
  ExpectWalk(2 * 10 + 10 + 2 * 10, del + empty + del + empty);
}

// One store still holds tombstones that the other one has removed. Both must give the same
// verdicts.
TEST_F(WalkToTheKeyTest, LeftoversOfCompactionAreFree) {
  PutKeys(40);
  const Revision full = state_->revision();
  Do(DeleteCommand("k", "k2"));
  const Revision deleted = state_->revision();
  ExpectWalk(40, Range(""));
  Compact(full);
  ExpectWalk(40, Range(""));
  ExpectWalk(40, Range(absl::StrCat("revision: ", full)));
  Compact(deleted);  // it can still be read, so the tombstones stay
  ExpectWalk(40, Range(""));
  Do(PutCommand("k05", "again"));
  const Revision again = state_->revision();
  ExpectWalk(40, Range(""));
  Compact(again);
  ExpectWalk(21, Range(""));
  Do(PutCommand("k06", "again"));
  ExpectWalk(22, Range(""));
  ExpectWalk(22, Range(absl::StrCat("revision: ", again)));
  ExpectWalk(22, Range(absl::StrCat("count_only: true revision: ", again)));
  ExpectWalk(2, "compare { key: 'k' range_end: 'k2' result: GREATER target: MOD }");
  ExpectWalk(2, "success { request_delete_range { key: 'k' range_end: 'k2' } }");
  ExpectWalk(22, Range(""));

  // And in a replay after a crash, or with everything in one batch.
  const uint64_t digest = state_->digest();
  for (const bool crashed : {true, false}) {
    if (crashed) {
      Reopen(/*kept=*/log_.size() / 3);
      ASSERT_GT(state_->applied().index, 0u);
    } else {
      disk_ = std::make_shared<MemoryDisk>();
      Reopen();
    }
    const raft::Index from = state_->applied().index;
    const std::vector<ApplyResult> results = state_->Apply(absl::MakeSpan(log_).subspan(from));
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(results[i].status, statuses_[from + i]) << from + i;
    }
    EXPECT_EQ(state_->applied().index, log_.size());
    EXPECT_EQ(state_->digest(), digest);
  }
}

}  // namespace
}  // namespace raftkv
