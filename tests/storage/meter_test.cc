// The bytes of keys cost as much as those of values: reads and compactions of few but very large
// keys are large.

#include "storage/rules/meter.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

constexpr size_t kKeyBytes = 1 << 20;

class LargeKeys : public StoreTest {
 protected:
  static std::string Key(int i) { return absl::StrCat(100 + i, std::string(kKeyBytes, 'k')); }
  void Put(int keys) {
    for (int i = 0; i < keys; ++i) Apply(PutCommand(Key(i), "v"));
  }
};

TEST_F(LargeKeys, ReadsOfThemAreLarge) {
  Put(20);
  etcdserverpb::RangeRequest request = AllKeys();
  request.set_count_only(true);
  EXPECT_EQ(Range(request, {.steps_max = 128}), "read budget");
  request.set_count_only(false);
  request.set_keys_only(true);
  EXPECT_EQ(Range(request, {.steps_max = 128}), "read budget");
  request.set_min_mod_revision(1'000'000);
  EXPECT_EQ(Range(request, {.steps_max = 128}), "read budget");
  EXPECT_NE(Range(request, {.steps_max = 20 * 257}), "read budget");
  request = AllKeys(5);
  request.set_count_only(true);
  EXPECT_EQ(Range(request, {.steps_max = 1000}), "read budget") << "events hold keys, too";
}

TEST_F(LargeKeys, ReadersAreAskedWhetherTheyGiveUp) {
  Put(20);
  int asked = 0;
  EXPECT_TRUE(state_->Snapshot()->HashKv(0, [&] { return ++asked < 0; }).ok());
  EXPECT_GE(asked, 4) << "about once in 4 MiB";
}

TEST_F(LargeKeys, EntriesThatWalkOverThemAreLarge) {
  Put(20);
  const auto applied = [&](const std::string& command) {
    const raft::Entry entry =
        MakeEntry(1, state_->applied().index + 1, Parse<proto::Command>(command));
    return state_->Apply({entry}, {.steps_max = 2048}).size();
  };
  EXPECT_EQ(applied("txn { success { request_put { key: 'a' } }"
                    "      success { request_range { key: '1' range_end: '2' limit: 1 } } }"),
            0u);
  EXPECT_EQ(applied("delete_range { key: '1' range_end: '2' }"), 0u);
}

// Blocks of counts (mvcc/counts.h), whose ends a count has to walk.
TEST_F(LargeKeys, AreCutIntoSmallBlocks) {
  Put(20);
  EXPECT_GE(Table(mvcc::kCountTable).size(), 4u);
  etcdserverpb::RangeRequest request = AllKeys();
  request.set_count_only(true);
  etcdserverpb::RangeResponse response;
  EXPECT_TRUE(state_->Snapshot()->Range(request, Limits(), &response).ok());
  EXPECT_EQ(response.count(), 20);
}

TEST_F(LargeKeys, AreCompactedInSmallSteps) {
  constexpr int kVersions = 40;
  for (int i = 0; i < kVersions; ++i) Apply(PutCommand(Key(0), "v"));
  state_->Flush();
  Reopen();  // nothing is owed for writes
  Apply(CompactCommand(state_->revision()));
  int steps = 0;
  for (; state_->compacting(); ++steps) state_->CompactStep();
  EXPECT_GE(steps, kVersions - 1) << "256 steps, of 4 KiB each, are used up by one event";
}

TEST(Meter, ALastLargeRecordIsStillRead) {
  Meter meter({.steps_max = 10});
  EXPECT_TRUE(meter.Step());
  EXPECT_TRUE(meter.Step(100 * 4096));
  EXPECT_EQ(meter.steps_left(), 0);
  EXPECT_FALSE(meter.interrupted());
  EXPECT_FALSE(meter.Step());
  EXPECT_TRUE(meter.interrupted());
  EXPECT_EQ(meter.status(), absl::ResourceExhaustedError("read budget"));
}

TEST(Meter, AnEntryIsJudgedByItsRules) {
  const Rules rules{.walked_steps = 10, .costs = {.key_bytes_per_step = 100}};
  Meter meter;
  meter.BeginEntry(rules, /*compacted=*/5);
  EXPECT_TRUE(meter.EveryMemberHas(5));
  EXPECT_FALSE(meter.EveryMemberHas(4));
  EXPECT_TRUE(meter.WalkKey(250));       // 3
  EXPECT_TRUE(meter.WalkValue(28'671));  // 6
  EXPECT_TRUE(meter.WalkKey(99));        // 1
  EXPECT_FALSE(meter.WalkKey(0));
  EXPECT_FALSE(meter.interrupted()) << "it is a verdict";
  EXPECT_TRUE(absl::IsResourceExhausted(meter.status()));
  meter.BeginEntry(rules, /*compacted=*/5);
  EXPECT_FALSE(meter.over());
}

}  // namespace
}  // namespace raftkv
