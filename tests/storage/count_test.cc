// Counts of keys. They must be equal to what a walk over all keys counts: for every range, now and
// in the past, in a transaction, and after crashes. Reads with a limit do not walk to the end.

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/base/checksum.h"
#include "storage/mvcc/counts.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/range.h"
#include "storage/rules/meter.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

constexpr int kKeys = 6'000;

std::string KeyName(int i) {
  char name[16];
  std::snprintf(name, sizeof(name), "k%05d", i);
  return name;
}

class CountTest : public StoreTest {
 protected:
  // The records have the revisions of blocks only from this version on.
  CountTest() { Apply(RaiseCommand(kBlockRevisionsVersion)); }

  static proto::Command RaiseCommand(ClusterVersion version) {
    proto::Command command;
    command.mutable_set_cluster_version()->set_version(version);
    return command;
  }
  void PutKeys(int from, int to, int batch = 100) {
    for (int i = from; i < to; i += batch) {
      std::vector<proto::Command> commands;
      for (int k = i; k < std::min(to, i + batch); ++k) {
        commands.push_back(PutCommand(KeyName(k), ""));
      }
      ApplyAll(commands);
    }
  }
  static RangeRequest Between(int from, int to, Revision revision = 0) {
    RangeRequest request;
    request.set_key(KeyName(from));
    request.set_range_end(KeyName(to));
    request.set_revision(revision);
    return request;
  }
  RangeResponse Read(const RangeRequest& request) const {
    RangeResponse response;
    const absl::Status status = state_->Snapshot()->Range(request, Limits(), &response);
    EXPECT_TRUE(status.ok()) << status;
    return response;
  }
  // All versions of each key, and whether the key exists at that version.
  using Versions = std::map<std::string, std::map<Revision, bool>>;
  Versions AllVersions() {
    Versions versions;
    for (const auto& [key, record] : Table(mvcc::kVersionTable)) {
      versions[mvcc::UserKey(mvcc::VersionPrefix(key))][mvcc::VersionRevision(key)] =
          !record.empty();
    }
    return versions;
  }
  static std::vector<std::string> LiveKeys(const Versions& versions, const RangeRequest& request) {
    std::vector<std::string> live;
    const bool to_the_end = request.range_end() == std::string(1, '\0');
    for (auto key = versions.lower_bound(request.key());
         key != versions.end() && (to_the_end || key->first < request.range_end()); ++key) {
      auto after =
          request.revision() == 0 ? key->second.end() : key->second.upper_bound(request.revision());
      if (after != key->second.begin() && std::prev(after)->second) live.push_back(key->first);
    }
    return live;
  }
  static std::vector<std::string> Keys(const RangeResponse& response) {
    std::vector<std::string> keys;
    for (const auto& kv : response.kvs()) keys.push_back(kv.key());
    return keys;
  }
  // Compares all keys, a page of them, and their counts, with the versions.
  void CheckCount(RangeRequest request, const Versions& versions) const {
    if (request.range_end().empty()) request.set_range_end(request.key() + '\0');
    request.set_keys_only(true);
    std::vector<std::string> live = LiveKeys(versions, request);
    const auto count = static_cast<int64_t>(live.size());
    const RangeResponse walk = Read(request);
    ASSERT_EQ(Keys(walk), live) << request.ShortDebugString();
    ASSERT_EQ(walk.count(), count);
    RangeRequest counting = request;
    counting.set_count_only(true);
    ASSERT_EQ(Read(counting).count(), count) << request.ShortDebugString();
    RangeRequest page = request;
    page.set_limit(7);
    const RangeResponse paged = Read(page);
    ASSERT_EQ(paged.count(), count) << request.ShortDebugString();
    ASSERT_EQ(paged.more(), count > 7);
    live.resize(std::min<size_t>(live.size(), 7));
    ASSERT_EQ(Keys(paged), live);
  }
  void CheckCount(const RangeRequest& request) { CheckCount(request, AllVersions()); }
  struct Block {
    uint64_t keys = 0, dead = 0;  // the revisions are not compared
    friend bool operator==(const Block&, const Block&) = default;
    friend void PrintTo(const Block& b, std::ostream* out) { *out << b.keys << "+" << b.dead; }
  };
  // The blocks, by where they begin.
  std::map<std::string, Block> AllBlocks() {
    std::map<std::string, Block> blocks;
    for (const auto& [begin, record] : Table(mvcc::kCountTable)) {
      std::string_view rest = record;
      Block& block = blocks[begin.substr(1)];
      uint64_t first = 0, last = 0;
      EXPECT_TRUE(TakeVarint64(&rest, &block.keys) && TakeVarint64(&rest, &block.dead));
      EXPECT_TRUE(TakeVarint64(&rest, &first) && TakeVarint64(&rest, &last) && rest.empty());
    }
    return blocks;
  }
  // The sum over all blocks, and how many there are.
  std::pair<int64_t, size_t> Blocks() {
    int64_t keys = 0;
    const auto blocks = AllBlocks();
    for (const auto& [begin, block] : blocks) keys += static_cast<int64_t>(block.keys);
    return {keys, blocks.size()};
  }
  // Compares the blocks with the versions: they must be exact, and none too large.
  void CheckBlocks() {
    const auto blocks = AllBlocks();
    auto expected = blocks;
    for (auto& [begin, block] : expected) block = Block();
    std::string prefix;
    for (const auto& [key, record] : Table(mvcc::kVersionTable)) {
      if (mvcc::VersionPrefix(key) == prefix) continue;  // not the newest
      prefix = mvcc::VersionPrefix(key);
      Block& block = std::prev(expected.upper_bound(prefix))->second;
      ++(record.empty() ? block.dead : block.keys);
    }
    ASSERT_EQ(blocks, expected);
    for (const auto& [begin, block] : blocks) ASSERT_LE(block.keys + block.dead, mvcc::kBlockKeys);
  }
  // Compacts everything that can be compacted.
  void CompactAll() {
    Apply(PutCommand("a", ""));  // the tombstones of the compacted revision itself stay
    Apply(CompactCommand(state_->revision()));
    while (state_->compacting()) state_->CompactStep();
  }
  // How many steps a count at the newest revision costs. It may pass any number of removed keys.
  int64_t CountVisits(const RangeRequest& request) {
    state_->Flush();
    state_.reset();
    Meter meter({.steps_max = kKeys * 10}, /*skips_max=*/INT64_MAX);
    {
      MemoryEngine engine(disk_, Durability::kFlushed);
      const auto range = mvcc::VersionRange(request.key(), request.range_end());
      const auto view = engine.NewView();
      const mvcc::ReadState state{*view, /*revision=*/1, /*compacted=*/-1, /*settled=*/true};
      EXPECT_TRUE(mvcc::CountLive(state, range, /*revision=*/1, &meter).has_value());
    }
    Reopen();
    return kKeys * 10 - meter.steps_left();
  }
  int64_t Visits(const RangeRequest& request) const {
    int64_t low = 0, high = 1 << 20;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      RangeResponse response;
      const bool enough = state_->Snapshot()->Range(request, {.steps_max = middle}, &response).ok();
      (enough ? high : low) = enough ? middle : middle + 1;
    }
    return low;
  }
};

TEST_F(CountTest, BlocksAreCutAsTheyGrowAndRemovedWhenTheyAreEmpty) {
  PutKeys(0, kKeys);
  auto [keys, blocks] = Blocks();
  EXPECT_EQ(keys, kKeys);
  EXPECT_GE(blocks, kKeys / mvcc::kBlockKeys);
  EXPECT_LE(blocks, 2 * kKeys / mvcc::kBlockKeys + 1);
  PutKeys(0, kKeys);  // overwritten: the same keys
  EXPECT_EQ(Blocks().first, kKeys);
  Apply(DeleteCommand(KeyName(1'000), KeyName(5'000)));
  EXPECT_EQ(Blocks(), (std::pair<int64_t, size_t>(2'000, blocks))) << "until it is compacted";
  CheckBlocks();
  CompactAll();
  std::tie(keys, blocks) = Blocks();
  EXPECT_EQ(keys, 2'001);
  EXPECT_LE(blocks, 2 * 2'001 / mvcc::kBlockKeys + 3);
  Apply(DeleteCommand("k", "l"));
  CompactAll();
  EXPECT_EQ(Blocks(), (std::pair<int64_t, size_t>(1, 1)));
  CheckBlocks();
}

// So the split of a block, and a count at the two ends of its range, read few large values.
TEST_F(CountTest, BlocksOfLargeValuesAreSmall) {
  constexpr size_t kValue = 64 << 10;
  for (int i = 0; i < mvcc::kBlockKeys + 100; ++i) {
    Apply(PutCommand(KeyName(i), std::string(kValue, 'v')));
  }
  CheckBlocks();
  const auto blocks = AllBlocks();
  ASSERT_GE(blocks.size(), 2u);
  EXPECT_LE(blocks.begin()->second.keys, (4u << 20) / kValue + 1);
  CheckCount(Between(3, 900));
}

// Otherwise a count might have to pass very many of them at the ends of its range.
TEST_F(CountTest, DeletedKeysAreInBlocksUntilTheyAreCompacted) {
  PutKeys(0, kKeys);
  const size_t blocks = Blocks().second;
  Apply(DeleteCommand("k", "l"));
  EXPECT_LT(Visits(AllKeys()), 1'200) << "the blocks say that no key is alive";
  RangeRequest past = AllKeys();
  past.set_revision(state_->revision() - 1);
  EXPECT_EQ(Visits(past), kKeys);
  const RangeRequest some = Between(100, kKeys - 100);
  const auto check = [&] {
    CheckBlocks();
    CheckCount(some);
    for (const RangeRequest& request : {AllKeys(), some}) {
      EXPECT_LT(CountVisits(request), 2 * mvcc::kBlockKeys + kKeys / 100);
    }
  };
  check();

  // Puts new keys among them, and some of them again.
  std::vector<proto::Command> puts;
  for (int i = 0; i < 1'500; ++i) puts.push_back(PutCommand(KeyName(3'000) + KeyName(i), ""));
  ApplyAll(puts);
  PutKeys(500, 1'000);
  EXPECT_EQ(Blocks().first, 2'000);
  EXPECT_GT(Blocks().second, blocks);
  check();

  Apply(DeleteCommand("k", "l"));
  Apply(PutCommand("a", ""));
  Apply(CompactCommand(state_->revision()));
  for (int steps = 0; state_->compacting() && !HasFatalFailure(); ++steps) {
    state_->CompactStep(200);
    if (steps % 10 == 0) check();
  }
  EXPECT_EQ(Blocks(), (std::pair<int64_t, size_t>(1, 1)));
  check();
}

TEST_F(CountTest, AReadOfThePastPassesBlocksThatAreDeadNow) {
  PutKeys(0, kKeys);
  Apply(DeleteCommand(KeyName(0), KeyName(1'000)));
  const Revision revision = state_->revision();
  Apply(DeleteCommand("k", "l"));
  Apply(PutCommand(KeyName(kKeys), ""));
  EXPECT_EQ(Read(AllKeys()).kvs_size(), 1);
  RangeRequest past = AllKeys();
  past.set_revision(revision);
  EXPECT_EQ(Read(past).kvs_size(), kKeys - 1'000);
  CheckCount(past);
}

// Keys are created and deleted one after the other, beside some that live on. At any revision, most
// blocks are from before it or from after it.
TEST_F(CountTest, AReadOfThePastPassesFewBlocks) {
  std::vector<std::pair<Revision, std::vector<std::string>>> past;
  std::vector<std::string> live;
  for (int i = 0; i < kKeys; ++i) {
    Apply(PutCommand(KeyName(i), ""));
    if (i % 2'000 == 7) {
      live.push_back(KeyName(i));
    } else {
      if (i % 97 == 0) past.emplace_back(state_->revision(), live).second.push_back(KeyName(i));
      Apply(DeleteCommand(KeyName(i)));
    }
    if (i % 89 == 0) past.emplace_back(state_->revision(), live);
  }
  for (const auto& [revision, expected] : past) {
    RangeRequest request = AllKeys();
    request.set_revision(revision);
    const RangeResponse response = Read(request);
    ASSERT_EQ(Keys(response), expected) << "at revision " << revision;
    ASSERT_EQ(response.count(), expected.size());
    ASSERT_LT(Visits(request), kKeys / 2);
    request.set_count_only(true);
    ASSERT_EQ(Read(request).count(), expected.size());
    ASSERT_LT(Visits(request), 3 * mvcc::kBlockKeys);
  }
}

TEST_F(CountTest, KnowsWhichKeysAreDead) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 150; ++round) {
    std::vector<proto::Command> commands;
    const int hot = below(kKeys);
    for (int i = 0; i < 200; ++i) {
      const std::string key = KeyName(below(3) == 0 ? below(kKeys) : hot + below(50));
      const int draw = below(10);
      if (draw < 6) {
        commands.push_back(PutCommand(key, ""));
      } else if (draw < 9) {
        commands.push_back(DeleteCommand(key));
      } else {  // put and deleted in one revision
        commands.push_back(Parse<proto::Command>(
            absl::StrCat("txn { success { request_txn { success { request_put { key: '", key,
                         "' } } } }", " success { request_delete_range { key: '", key, "' } } }")));
      }
    }
    if (below(4) == 0) commands.push_back(DeleteCommand(KeyName(hot), KeyName(hot + 2'000)));
    ApplyAll(commands);
    if (!state_->compacting() && below(3) == 0) {
      Apply(CompactCommand(state_->revision() - below(150)));
    }
    for (int i = below(12); i > 0; --i) state_->CompactStep(1 + below(200));
    if (below(8) == 0) state_->Flush();
    if (below(8) == 0) Reopen(static_cast<uint64_t>(below(1 + disk_->batches_at_risk())));
    if (round % 10 == 0) CheckBlocks();  // also reopens the store: empty cache
    if (round % 3 != 0) continue;
    const Versions versions = AllVersions();
    for (int i = 0; i < 10; ++i) {
      const Revision revision =
          std::max(state_->compacted_revision(), state_->revision() - below(1 << below(14)));
      CheckCount(Between(below(kKeys), below(kKeys), revision), versions);
      CheckCount(Between(hot, hot + below(100), revision), versions);
    }
    CheckCount(Between(below(kKeys), below(kKeys)), versions);
  }
  CheckBlocks();
  Apply(DeleteCommand("k", "l"));
  CompactAll();
  CheckBlocks();
  EXPECT_EQ(Blocks(), (std::pair<int64_t, size_t>(1, 1)));
}

// Blocks of an earlier program may have more dead keys than were counted. When such a block is
// removed, the block before it gets its keys.
TEST_F(CountTest, ReadsCountsThatWereWrittenWithoutDeadKeys) {
  PutKeys(0, 3'000);
  Apply(DeleteCommand(KeyName(10), KeyName(2'990)));
  const auto rows = Table(mvcc::kCountTable);
  state_.reset();
  {
    MemoryEngine engine(disk_, Durability::kFlushed);
    WriteBatch batch;
    for (const auto& [key, record] : rows) {
      std::string_view rest = record;
      uint64_t keys = 0;
      CHECK(TakeVarint64(&rest, &keys));
      batch.Put(key, std::string_view(record).substr(0, record.size() - rest.size()));
    }
    engine.Write(batch, /*sync=*/false);
    engine.Flush();
  }
  Reopen();
  CheckCount(AllKeys());
  PutKeys(0, 1'000);
  CheckCount(AllKeys());
  PutKeys(1'200, 1'210);
  const Revision compacted = state_->revision();
  Apply(DeleteCommand(KeyName(1'200), KeyName(1'210)));
  Apply(PutCommand("a", ""));
  Apply(CompactCommand(compacted));
  while (state_->compacting()) state_->CompactStep();
  const Versions versions = AllVersions();
  for (Revision revision = compacted; revision <= state_->revision(); ++revision) {
    RangeRequest past = AllKeys();
    past.set_revision(revision);
    CheckCount(past, versions);
    CheckCount(Between(900, 1'500, revision), versions);
  }
  CompactAll();
  CheckBlocks();
  EXPECT_EQ(Blocks().first, 1'011);
}

TEST_F(CountTest, RevisionsOfBlocksAreSavedOnceAllMembersKnowThem) {
  const auto with_revisions = [this] {
    int count = 0;
    for (const auto& [begin, record] : Table(mvcc::kCountTable)) {
      std::string_view rest = record;
      uint64_t number = 0;
      CHECK(TakeVarint64(&rest, &number) && TakeVarint64(&rest, &number));
      if (!rest.empty()) ++count;
    }
    return count;
  };
  disk_ = std::make_shared<MemoryDisk>();
  Reopen();
  Apply(RaiseCommand(kBlockRevisionsVersion - 1));
  PutKeys(0, 2'000);
  Apply(DeleteCommand(KeyName(700), KeyName(900)));
  EXPECT_EQ(with_revisions(), 0);
  const auto check_all = [this] {
    const Versions versions = AllVersions();
    for (Revision revision = 2; revision <= state_->revision(); revision += 61) {
      CheckCount(Between(300, 1'700, revision), versions);
    }
  };
  check_all();
  Apply(RaiseCommand(kBlockRevisionsVersion));
  EXPECT_EQ(with_revisions(), 0);
  Apply(DeleteCommand(KeyName(100)));
  EXPECT_EQ(with_revisions(), 1);
  PutKeys(650, 2'500);
  EXPECT_GT(with_revisions(), 1);
  check_all();
  Apply(DeleteCommand(KeyName(0), KeyName(2'000)));
  check_all();
}

TEST_F(CountTest, OneBatchThatOverfillsABlockIsCutAFewPiecesAtATime) {
  PutKeys(0, kKeys, kKeys);
  size_t blocks = Blocks().second;
  EXPECT_GE(blocks, 3u);
  EXPECT_LE(blocks, 6u) << "the loop does not wait for all of it";
  Apply(PutCommand("other", ""));
  EXPECT_EQ(Blocks().first, kKeys + 1);
  EXPECT_GT(Blocks().second, blocks) << "remembered over a restart (which Blocks is)";
  for (int i = 0; i < 3; ++i) Apply(PutCommand("other", ""));
  EXPECT_GE(Blocks().second, 10u);
}

TEST_F(CountTest, EqualsAWalkForAnyRangeNowAndInThePast) {
  std::mt19937 random(3);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  std::vector<Revision> past;
  for (int round = 0; round < 40; ++round) {
    std::vector<proto::Command> commands;
    for (int i = 0; i < 300; ++i) commands.push_back(PutCommand(KeyName(below(kKeys)), ""));
    const int from = below(kKeys);
    commands.push_back(DeleteCommand(KeyName(from), KeyName(from + below(1'000))));
    ApplyAll(commands);
    past.push_back(state_->revision());
    CheckCount(AllKeys());
    CheckCount(Between(below(kKeys), below(kKeys)));
    CheckCount(Between(below(kKeys), below(kKeys), past[below(static_cast<int>(past.size()))]));
    if (round == 20) {
      Apply(CompactCommand(past[10]));
      past.erase(past.begin(), past.begin() + 10);
    }
    if (round > 20) state_->CompactStep();
  }
  // Since the revision past[0] there are more events than keys, so the count walks over the keys.
  for (int i = 0; i < 110; ++i) PutKeys(0, 100);
  CheckCount(Between(0, 3'000, past[0]));
  const int64_t live = Read(AllKeys()).count();
  EXPECT_EQ(Blocks().first, live);
}

TEST_F(CountTest, CountsOneKeyInThePast) {
  Apply(PutCommand("other", ""));
  Apply(PutCommand("k", ""));  // 3
  Apply(DeleteCommand("k"));   // 4
  Apply(PutCommand("other", ""));
  for (const Revision revision : {2, 3, 4, 5}) {
    RangeRequest request;
    request.set_key("k");
    request.set_revision(revision);
    CheckCount(request);
  }
}

TEST_F(CountTest, EqualsAWalkAfterACrashAtAnyBatch) {
  std::vector<raft::Entry> log;
  std::mt19937 random(5);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (raft::Index i = 1; i <= 3'000; ++i) {
    log.push_back(below(50) == 0
                      ? MakeEntry(1, i, DeleteCommand(KeyName(below(3'000)), KeyName(below(3'000))))
                      : MakeEntry(1, i, PutCommand(KeyName(below(3'000)), "")));
  }
  for (int crash = 0; crash < 60; ++crash) {
    for (int i = 0; i < 20 && state_->applied().index < log.size(); ++i) {
      const size_t count = std::min<size_t>(1 + below(30), log.size() - state_->applied().index);
      state_->Apply(absl::MakeSpan(log).subspan(state_->applied().index, count));
    }
    if (crash % 3 == 0) state_->Flush();
    state_.reset();
    Reopen(static_cast<uint64_t>(below(static_cast<int>(disk_->batches_at_risk()) + 1)));
    ASSERT_EQ(Blocks().first, Read(AllKeys()).kvs_size());
    CheckCount(Between(below(3'000), below(3'000)));
  }
  EXPECT_EQ(state_->applied().index, log.size());
}

// The changes are in a block in the middle, which a count does not walk.
TEST_F(CountTest, ATransactionCountsWhatItJustDid) {
  PutKeys(0, 2'000);
  const auto result = ApplyText(absl::StrCat(
      "txn { success { request_put { key: '", KeyName(5'000), "' } }",
      " success { request_delete_range { key: '", KeyName(700), "' range_end: '", KeyName(710),
      "' } }", " success { request_range { key: 'k' range_end: 'l' count_only: true } }",
      " success { request_range { key: 'k' range_end: 'l' limit: 1 } }",
      " success { request_range { key: 'k' range_end: 'l' limit: 1 revision: 2001 } } }"));
  ASSERT_TRUE(result.status.ok()) << result.status;
  for (const int i : {2, 3}) {
    EXPECT_EQ(result.response.txn().responses(i).response_range().count(), 1'991);
  }
  EXPECT_EQ(result.response.txn().responses(4).response_range().count(), 2'000);
  EXPECT_EQ(Blocks().first, 1'991);
}

TEST_F(CountTest, CountingAndPagingDoNotWalkToTheEnd) {
  PutKeys(0, kKeys);
  RangeRequest request = AllKeys();
  EXPECT_EQ(Visits(request), kKeys);
  request.set_count_only(true);
  EXPECT_LT(Visits(request), 100) << "the counts of the blocks";
  RangeRequest most = Between(100, kKeys - 100);
  most.set_count_only(true);
  EXPECT_LT(Visits(most), 3 * mvcc::kBlockKeys) << "a block at either end, and the others' counts";
  request.set_count_only(false);
  request.set_limit(100);
  EXPECT_LT(Visits(request), 400);
  request.set_sort_order(RangeRequest::ASCEND);
  EXPECT_LT(Visits(request), 400);
  request.set_max_mod_revision(1'000'000);
  EXPECT_LT(Visits(request), 400);
  request.set_sort_order(RangeRequest::DESCEND);
  EXPECT_EQ(Visits(request), kKeys);
}

TEST_F(CountTest, ASortWithALimitHoldsNoMoreThanTheLimit) {
  const std::string value(1'000, 'v');
  for (int i = 0; i < 200; ++i) Apply(PutCommand(KeyName(i), absl::StrCat(i % 10, value)));
  RangeRequest request = AllKeys();
  request.set_limit(10);
  const Limits budget{.answer_bytes_max = 14'000};
  for (const auto order : {RangeRequest::ASCEND, RangeRequest::DESCEND}) {
    for (const auto target : {RangeRequest::KEY, RangeRequest::VERSION, RangeRequest::CREATE,
                              RangeRequest::MOD, RangeRequest::VALUE}) {
      request.set_sort_order(order);
      request.set_sort_target(target);
      request.clear_limit();
      RangeResponse all = Read(request), some;
      EXPECT_EQ(state_->Snapshot()->Range(request, budget, &some),
                absl::ResourceExhaustedError("read budget"));
      request.set_limit(10);
      ASSERT_TRUE(state_->Snapshot()->Range(request, budget, &some).ok());
      all.mutable_kvs()->DeleteSubrange(10, 190);
      all.set_more(true);
      EXPECT_EQ(some.ShortDebugString(), all.ShortDebugString());
    }
  }
}

TEST_F(CountTest, TiesOfASortStayInKeyOrder) {
  for (int i = 0; i < 40; ++i) Apply(PutCommand(KeyName(i), std::to_string(i % 2)));
  RangeRequest request = AllKeys();
  request.set_sort_target(RangeRequest::VALUE);
  request.set_limit(3);
  request.set_sort_order(RangeRequest::ASCEND);
  EXPECT_EQ(Range(request), "k00000=0 k00002=0 k00004=0 ");
  request.set_sort_order(RangeRequest::DESCEND);
  EXPECT_EQ(Range(request), "k00001=1 k00003=1 k00005=1 ");
}

}  // namespace
}  // namespace raftkv
