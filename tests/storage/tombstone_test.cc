// Deleted keys that RocksDB has not removed yet: reads and entries with limits pass a bounded
// number of them, those without limits pass all.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/mvcc/layout.h"
#include "storage/rules/meter.h"
#include "tests/storage/rocks.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

constexpr int kOverwrites = static_cast<int>(Meter::kSkipsMax) + 500;
// The limit of the server's loop.
constexpr int64_t kInlineVisits = 128;
constexpr int64_t kApplyVisits = 2048;

// The key "hot" was written very often, then deleted and compacted. The live key "i" follows it.
// There are too few deletions for RocksDB to compact them by itself. The writer's cache is empty.
class Tombstones : public StoreTest {
 protected:
  Tombstones() {
    Open();
    std::vector<raft::Entry> entries;
    for (raft::Index i = 1; i <= kOverwrites; ++i) {
      entries.push_back(MakeEntry(1, i, PutCommand("hot", "v")));
    }
    Both(entries);
    state_->Flush();
    Both({MakeEntry(1, kOverwrites + 1, DeleteCommand("hot")),
          MakeEntry(1, kOverwrites + 2, PutCommand("i", "alive")),
          MakeEntry(1, kOverwrites + 3, CompactCommand(kOverwrites + 3))});
    while (state_->compacting()) state_->CompactStep();
    state_->Flush();
    Open();
  }

  ~Tombstones() override { state_.reset(); }  // before its directory is removed

  void Open() {
    state_.reset();
    auto state = StateMachine::Open(OpenRocks(dir_ / "db"));
    CHECK(state.ok()) << state.status();
    state_ = *std::move(state);
  }
  // Applies the entries to RocksDB and to a state machine in memory.
  void Both(const std::vector<raft::Entry>& entries) {
    state_->Apply(entries);
    other_->Apply(entries);
  }
  raft::Entry Next(const std::string& command) const {
    return MakeEntry(1, state_->applied().index + 1, Parse<proto::Command>(command));
  }
  // How many entries the loop could apply within its limits.
  size_t Inline(const std::string& command) {
    return state_->Apply({Next(command)}, {.steps_max = kApplyVisits}).size();
  }
  std::string RangeOf(const std::string& text, int64_t visits) const {
    return Range(Parse<RangeRequest>(text), {.steps_max = visits});
  }

  TempDir dir_;
  std::unique_ptr<StateMachine> other_ = *StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
};

TEST_F(Tombstones, EndOnlyReadsWithABudget) {
  for (const char* request :
       {"key: 'hot'", "key: 'h' range_end: 'i'", "key: 'h' range_end: 'z'",
        "key: 'h' range_end: 'z' limit: 1", "key: 'h' range_end: 'z' count_only: true"}) {
    EXPECT_EQ(RangeOf(request, kInlineVisits), "read budget") << request;
    EXPECT_NE(RangeOf(request, INT64_MAX), "read budget") << request;
  }
  EXPECT_EQ(RangeOf("key: 'hot'", INT64_MAX), "");
  EXPECT_EQ(RangeOf("key: 'h' range_end: 'z'", INT64_MAX), "i=alive ");
  EXPECT_EQ(RangeOf("key: 'i'", kInlineVisits), "i=alive ");

  const auto reads = Parse<etcdserverpb::TxnRequest>("compare { key: 'hot' version: 0 }");
  etcdserverpb::TxnResponse response;
  EXPECT_EQ(state_->Snapshot()->Txn(reads, {.steps_max = kInlineVisits}, &response),
            absl::ResourceExhaustedError("read budget"));
  ASSERT_TRUE(state_->Snapshot()->Txn(reads, Limits(), &response).ok());
  EXPECT_TRUE(response.succeeded());
  EXPECT_TRUE(state_->Snapshot()->HashKv(0).ok());
  EXPECT_EQ(*state_->Snapshot()->Hash(), *other_->Snapshot()->Hash());
}

TEST_F(Tombstones, MakeAnEntryLarge) {
  const std::vector<std::string> commands = {
      "put { key: 'hot' value: 'again' }",
      "delete_range { key: 'hot' }",
      "delete_range { key: 'h' range_end: 'i' }",
      "txn { compare { key: 'hot' version: 0 } }",
      "txn { compare { key: 'h' range_end: 'i' version: 0 } }",
      "txn { success { request_put { key: 'hot' value: 'again' } } }",
      "txn { success { request_put { key: 'j' } } success { request_range { key: 'hot' } } }",
      "txn { success { request_txn { success { request_delete_range { key: 'hot' } } } } }"};
  for (const std::string& command : commands) {
    const raft::EntryId before = state_->applied();
    EXPECT_EQ(Inline(command), 0u) << command;
    EXPECT_EQ(state_->applied(), before);
  }
  EXPECT_EQ(Inline("put { key: 'i' value: 'inline' }"), 1u) << "other entries are applied";
  other_->Apply({MakeEntry(1, state_->applied().index, PutCommand("i", "inline"))});

  for (const std::string& command : commands) {
    const raft::Entry entry = Next(command);
    const ApplyResult result = state_->Apply({entry}).front();
    const ApplyResult expected = other_->Apply({entry}).front();
    EXPECT_EQ(result.status, expected.status) << command;
    EXPECT_EQ(result.response.ShortDebugString(), expected.response.ShortDebugString());
    EXPECT_EQ(state_->digest(), other_->digest()) << command;
  }
}

// The newest version of a key sorts before its deleted ones.
TEST_F(Tombstones, BehindTheNewestVersionOfAKeyAreNotPassed) {
  Both({Next("put { key: 'hot' value: 'again' }")});
  EXPECT_EQ(RangeOf("key: 'hot'", kInlineVisits), "hot=again ");
  Open();
  EXPECT_EQ(RangeOf("key: 'hot'", kInlineVisits), "read budget") << "it was not flushed";
  Both({Next("put { key: 'hot' value: 'again' }")});
  state_->Flush();
  Open();
  EXPECT_EQ(RangeOf("key: 'hot'", kInlineVisits), "hot=again ");
  EXPECT_EQ(Inline("put { key: 'hot' value: 'and again' }"), 1u);
  EXPECT_EQ(RangeOf("key: 'hot'", kInlineVisits), "hot=and again ");
}

}  // namespace
}  // namespace raftkv
