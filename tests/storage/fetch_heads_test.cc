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
                   failure { request_delete_range { key: "e" } } })",
                  R"(delete_range { key: "a" range_end: "z" prev_kv: true })",
                  R"(delete_range { key: "f" })"});
  CountedReads reads_;
};

TEST_F(FetchHeads, ReadsEachKeyOnce) {
  const auto state = OpenWithKeys();
  state->FetchHeads(changes_, &reads_);
  EXPECT_EQ(reads_.count, 7) << "a, new, b, c, d, e, f; the range is left out";
  state->FetchHeads(changes_, &reads_);
  EXPECT_EQ(reads_.count, 7) << "they are cached";
}

TEST_F(FetchHeads, ChangesNoAnswerAndNoEffect) {
  const auto with = OpenWithKeys(), without = OpenWithKeys();
  with->FetchHeads(changes_, &reads_);
  const auto a = with->Apply(changes_), b = without->Apply(changes_);
  ASSERT_EQ(a.size(), changes_.size());
  ASSERT_EQ(b.size(), changes_.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].response.DebugString(), b[i].response.DebugString());
  }
  EXPECT_EQ(a[3].response.delete_range().deleted(), 5);
  EXPECT_EQ(a[3].response.delete_range().prev_kvs(0).version(), 3);
  EXPECT_EQ(with->digest(), without->digest());
}

TEST_F(FetchHeads, LeavesAppliedEntriesOut) {
  const auto state = OpenWithKeys();
  state->FetchHeads(keys_, &reads_);
  EXPECT_EQ(reads_.count, 0);
}

// What follows is read one after the other, so that the time of one call is bounded.
TEST_F(FetchHeads, ReadsTheFirst256Entries) {
  const auto state = OpenWithKeys();
  std::vector<std::string> puts;
  for (int i = 0; i < 1000; ++i) puts.push_back("put { key: \"" + std::to_string(i) + "\" }");
  state->FetchHeads(Entries(7, puts), &reads_);
  EXPECT_EQ(reads_.count, 256);
}

TEST_F(FetchHeads, ReadsTheFirstMiBOfEntries) {
  const auto state = OpenWithKeys();
  std::vector<std::string> puts;
  for (int i = 0; i < 10; ++i) {
    puts.push_back("put { key: \"" + std::to_string(i) + "\" value: \"" +
                   std::string(300'000, 'v') + "\" }");
  }
  state->FetchHeads(Entries(7, puts), &reads_);
  EXPECT_EQ(reads_.count, 3);
}

}  // namespace
}  // namespace raftkv
