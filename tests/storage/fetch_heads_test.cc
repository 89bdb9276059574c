// StateMachine::FetchHeads.

#include <string>
#include <vector>

#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

class CountedReads final : public ParallelReads {
 public:
  bool useful() const override { return true; }
  void RunAll(size_t count, const std::function<void(size_t)>& read) override {
    this->count += count;
    for (size_t i = 0; i < count; ++i) read(i);
  }
  size_t count = 0;
};

class FetchHeads : public testing::Test {
 protected:
  // The entries of these commands, after those before.
  static std::vector<raft::Entry> Entries(raft::Index first,
                                          const std::vector<std::string>& texts) {
    std::vector<raft::Entry> entries;
    for (const std::string& text : texts) {
      entries.push_back(
          {.id = {.term = 1, .index = first + entries.size()},
           .type = raft::EntryType::kCommand,
           .payload = raft::Payload(Parse<proto::Command>(text).SerializeAsString())});
    }
    return entries;
  }
  // A state machine that has keys, and none of them in its cache.
  std::unique_ptr<StateMachine> OpenWithKeys() {
    const auto disk = std::make_shared<MemoryDisk>();
    auto state = Open(disk);
    state->Apply(keys_);
    state->Flush();
    state = nullptr;
    return Open(disk);
  }
  static std::unique_ptr<StateMachine> Open(const std::shared_ptr<MemoryDisk>& disk) {
    return StateMachine::Open(std::make_unique<MemoryEngine>(disk, Durability::kFlushed)).value();
  }

  const std::vector<raft::Entry> keys_ =
      Entries(1, {R"(put { key: "a" value: "1" })", R"(put { key: "b" value: "1" })",
                  R"(put { key: "c" value: "1" })", R"(put { key: "d" value: "1" })",
                  R"(delete_range { key: "d" })", R"(put { key: "a" value: "2" })"});
  const std::vector<raft::Entry> changes_ =
      Entries(7, {R"(put { key: "a" value: "3" })", R"(put { key: "new" })",
                  R"(txn { compare { key: "b" target: VERSION version: 1 result: EQUAL }
                   success { request_put { key: "c" value: "3" } }
                   success { request_txn { success { request_put { key: "d" } } } }
                   failure { request_delete_range { key: "e" } }
                   failure { request_range { key: "b" } }
                   failure { request_range { key: "g" } }
                   failure { request_range { key: "old" revision: 1 } } })",
                  R"(delete_range { key: "a" range_end: "z" prev_kv: true })",
                  R"(delete_range { key: "f" })"});
  CountedReads reads_;
};

TEST_F(FetchHeads, ReadsEachKeyOnce) {
  const auto state = OpenWithKeys();
  EXPECT_EQ(state->FetchHeads(changes_, Limits(), &reads_), changes_.size());
  EXPECT_EQ(reads_.count, 8) << "a, new, b, c, d, e, g, f; the range of keys is left out";
  EXPECT_EQ(state->FetchHeads(changes_, Limits(), &reads_), changes_.size());
  EXPECT_EQ(reads_.count, 8) << "they are cached";
}

TEST_F(FetchHeads, ChangesNoAnswerAndNoEffect) {
  const auto with = OpenWithKeys(), without = OpenWithKeys();
  with->FetchHeads(changes_, Limits(), &reads_);
  const auto a = with->Apply(changes_), b = without->Apply(changes_);
  ASSERT_EQ(a.size(), changes_.size());
  ASSERT_EQ(b.size(), changes_.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].status, b[i].status);
    EXPECT_EQ(a[i].revision, b[i].revision);
    EXPECT_EQ(a[i].response.DebugString(), b[i].response.DebugString());
  }
  EXPECT_EQ(a[3].response.delete_range().deleted(), 5);
  EXPECT_EQ(a[3].response.delete_range().prev_kvs(0).version(), 3);
  EXPECT_EQ(with->digest(), without->digest());
}

TEST_F(FetchHeads, LeavesAppliedEntriesOut) {
  const auto state = OpenWithKeys();
  EXPECT_EQ(state->FetchHeads(keys_, Limits(), &reads_), keys_.size());
  EXPECT_EQ(reads_.count, 0);
}

// The time and memory of one call are bounded.
class FetchHeadsInParts : public FetchHeads {
 protected:
  static std::vector<raft::Entry> Puts(int n, size_t value_bytes) {
    std::vector<std::string> puts;
    for (int i = 0; i < n; ++i) {
      puts.push_back("put { key: \"" + std::to_string(i) + "\" value: \"" +
                     std::string(value_bytes, 'v') + "\" }");
    }
    return Entries(7, puts);
  }
  static std::vector<raft::Entry> TxnOfPuts(int n) {
    std::string txn = "txn {";
    for (int i = 0; i < n; ++i) {
      txn += " success { request_put { key: \"" + std::to_string(i) + "\" } }";
    }
    return Entries(7, {txn + " }"});
  }
  const std::unique_ptr<StateMachine> state_ = OpenWithKeys();
};

TEST_F(FetchHeadsInParts, TakesAtMost256Entries) {
  EXPECT_EQ(state_->FetchHeads(Puts(1000, 1), Limits(), &reads_), 256);
  EXPECT_EQ(reads_.count, 256);
}

TEST_F(FetchHeadsInParts, TakesAtMostOneMiBOfEntries) {
  EXPECT_EQ(state_->FetchHeads(Puts(10, 300'000), Limits(), &reads_), 3);
  EXPECT_EQ(reads_.count, 3);
}

TEST_F(FetchHeadsInParts, TakesOneEntryThatIsLarger) {
  EXPECT_EQ(state_->FetchHeads(Puts(10, 1'100'000), Limits(), &reads_), 1);
}

TEST_F(FetchHeadsInParts, ReadsAtMost1024Keys) {
  EXPECT_EQ(state_->FetchHeads(TxnOfPuts(3000), Limits(), &reads_), 1);
  EXPECT_EQ(reads_.count, 1024);
}

TEST_F(FetchHeadsInParts, EndsWhenTheTimeIsOver) {
  int asked = 0;
  const Limits limits{.give_up = [&] { return ++asked == 3; }};
  EXPECT_EQ(state_->FetchHeads(Puts(200, 1), limits, &reads_), 200);
  EXPECT_EQ(reads_.count, 64) << "two parts of 32";
}

// A step is 4 KiB. The old values are read, too.
TEST_F(FetchHeadsInParts, EndsWhenTheOldValuesAreLarge) {
  const auto disk = std::make_shared<MemoryDisk>();
  auto state = Open(disk);
  std::vector<raft::Entry> puts = Puts(200, 100'000);
  for (raft::Entry& entry : puts) entry.id.index -= 6;
  state->Apply(puts);
  state->Flush();
  state = nullptr;
  state = Open(disk);
  std::vector<raft::Entry> again = Puts(200, 1);
  for (raft::Entry& entry : again) entry.id.index = 200 + (&entry - again.data()) + 1;
  EXPECT_EQ(state->FetchHeads(again, {.steps_max = 1000}, &reads_), 200);
  EXPECT_EQ(reads_.count, 64) << "two parts of 32";
}

}  // namespace
}  // namespace raftkv
