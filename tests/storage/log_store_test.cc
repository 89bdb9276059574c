#include "storage/log/log_store.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "storage/base/checksum.h"
#include "storage/engine/memory_engine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

using raft::Entry;
using raft::EntryId;
using raft::HardState;

class LogStoreTest : public testing::Test {
 protected:
  LogStoreTest() { Reopen(); }

  void Reopen() {
    log_.reset();
    absl::StatusOr<std::unique_ptr<LogStore>> log = TryOpen();
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  absl::StatusOr<std::unique_ptr<LogStore>> TryOpen() {
    return LogStore::Open(std::make_unique<MemoryEngine>(disk_, Durability::kSynced), nullptr);
  }
  void CrashAndReopen() {
    log_.reset();
    disk_->Crash();
    Reopen();
  }
  void Append(raft::Term term, raft::Index first, raft::Index last, const std::string& payload) {
    std::vector<Entry> entries;
    for (raft::Index i = first; i <= last; ++i) {
      entries.push_back(MakeEntry(term, i, payload + std::to_string(i)));
    }
    log_->Save(std::nullopt, entries);
  }
  std::string Contents() const {
    std::string out;
    for (const Entry& e : log_->Entries(log_->first_index(), log_->last_index(), SIZE_MAX)) {
      out += std::to_string(e.id.term) + ":" + std::string(e.payload.view()) + " ";
    }
    return out;
  }
  // Changes the stored log without the LogStore, as a broken disk would.
  void Tamper(const std::function<void(Engine&, WriteBatch*)>& change) {
    log_.reset();
    MemoryEngine engine(disk_, Durability::kSynced);
    WriteBatch batch;
    change(engine, &batch);
    engine.Write(batch, /*sync=*/true);
  }
  static std::string EntryKey(char index) { return std::string(7, '\0') + index + '\0'; }

  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<LogStore> log_;
};

TEST_F(LogStoreTest, EmptyLog) {
  EXPECT_EQ(log_->first_index(), 1u);
  EXPECT_EQ(log_->last_index(), 0u);
  EXPECT_EQ(log_->TermAt(0), 0u);
  EXPECT_EQ(log_->hard_state(), HardState());
  EXPECT_TRUE(log_->Entries(1, 0, 100).empty());
  EXPECT_FALSE(log_->may_vote());
}

TEST_F(LogStoreTest, SavedStateAndEntriesSurviveACrashInOneBatch) {
  const HardState hard_state{.current_term = 3, .voted_for = 7, .commit_index = 1};
  log_->Save(hard_state, {MakeEntry(1, 1, "a"), MakeEntry(3, 2, "b")});
  EXPECT_EQ(log_->synced_batches(), 1u);
  const uint64_t chain = log_->ChainHash(2);
  CrashAndReopen();
  EXPECT_EQ(log_->hard_state(), hard_state);
  EXPECT_EQ(Contents(), "1:a 3:b ");
  EXPECT_EQ(log_->TermAt(0), 0u);
  EXPECT_EQ(log_->TermAt(1), 1u);
  EXPECT_EQ(log_->TermAt(2), 3u);
  EXPECT_EQ(log_->ChainHash(2), chain);
  EXPECT_EQ(log_->synced_batches(), 0u);
}

TEST_F(LogStoreTest, PermissionToVoteIsRememberedOnceGiven) {
  Append(1, 1, 2, "a");
  EXPECT_FALSE(log_->may_vote());
  log_->AllowVoting();
  log_->AllowVoting();
  EXPECT_EQ(log_->synced_batches(), 2u);
  CrashAndReopen();
  EXPECT_TRUE(log_->may_vote());
  Append(1, 3, 3, "a");
  CrashAndReopen();
  EXPECT_TRUE(log_->may_vote());
  EXPECT_EQ(Contents(), "1:a1 1:a2 1:a3 ");
}

TEST_F(LogStoreTest, ConflictReplacesTheTailInOneBatch) {
  Append(1, 1, 3, "a");
  Append(2, 4, 9, "b");
  const uint64_t chain = log_->ChainHash(3);
  Append(3, 4, 5, "c");
  EXPECT_EQ(log_->synced_batches(), 3u);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(log_->last_index(), 5u);
    EXPECT_EQ(Contents(), "1:a1 1:a2 1:a3 3:c4 3:c5 ");
    EXPECT_EQ(log_->TermAt(4), 3u);
    EXPECT_EQ(log_->ChainHash(3), chain);
    CrashAndReopen();
  }
  Append(4, 1, 1, "d");
  CrashAndReopen();
  EXPECT_EQ(Contents(), "4:d1 ");
}

TEST_F(LogStoreTest, EntriesStopAtTheByteBoundButTheFirstAlwaysPasses) {
  Append(1, 1, 5, std::string(100, 'x'));
  EXPECT_EQ(log_->Entries(2, 5, 0).size(), 1u);
  EXPECT_EQ(log_->Entries(2, 5, 300).size(), 2u);
  EXPECT_EQ(log_->Entries(2, 5, SIZE_MAX).size(), 4u);
  EXPECT_EQ(log_->Entries(2, 5, 300).front().id, (EntryId{.term = 1, .index = 2}));
}

TEST_F(LogStoreTest, CutForgetsTheFrontAndKeepsItsLastId) {
  Append(1, 1, 3, "a");
  Append(2, 4, 6, "b");
  const uint64_t chain = log_->ChainHash(4);
  log_->Cut(5);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(log_->first_index(), 5u);
    EXPECT_EQ(log_->TermAt(4), 2u);
    EXPECT_EQ(log_->ChainHash(4), chain);
    EXPECT_EQ(Contents(), "2:b5 2:b6 ");
    CrashAndReopen();
  }
  Append(3, 5, 5, "c");  // a conflict right after the cut
  CrashAndReopen();
  EXPECT_EQ(Contents(), "3:c5 ");
  log_->Cut(6);  // of everything
  CrashAndReopen();
  EXPECT_EQ(log_->first_index(), 6u);
  EXPECT_EQ(log_->last_index(), 5u);
  EXPECT_EQ(log_->TermAt(5), 3u);
  Append(4, 6, 6, "d");
  CrashAndReopen();
  EXPECT_EQ(Contents(), "4:d6 ");
}

// Entries that were cut may stay on disk, or come back after a crash. They are never read.
TEST_F(LogStoreTest, WhatIsLeftOfACutFrontIsIgnored) {
  Append(1, 1, 6, "a");
  log_.reset();
  std::vector<std::pair<std::string, std::string>> front;
  Tamper([&](Engine& engine, WriteBatch*) {
    CHECK(engine
              .Scan({}, EntryKey(4),
                    [&](std::string_view key, std::string_view value) {
                      front.emplace_back(key, value);
                      return absl::OkStatus();
                    })
              .ok());
  });
  Reopen();
  log_->Cut(5);
  Tamper([&](Engine&, WriteBatch* batch) {
    for (const auto& [key, value] : front) batch->Put(key, value.substr(1));
  });
  Reopen();
  EXPECT_EQ(Contents(), "1:a5 1:a6 ");
}

TEST_F(LogStoreTest, ResetReplacesTheWholeLog) {
  const HardState hard_state{.current_term = 3, .voted_for = 7, .commit_index = 1};
  for (raft::Index index : {4, 8, 9, 20}) {
    disk_ = std::make_shared<MemoryDisk>();
    Reopen();
    log_->Save(hard_state, {MakeEntry(1, 1, "x")});
    log_->AllowVoting();
    Append(3, 2, 8, "a");
    const LogStore::Tip base{{.term = 3, .index = index}, 12345};
    EXPECT_FALSE(log_->Contains(base));
    const uint64_t batches = log_->synced_batches();
    log_->Reset(base);
    EXPECT_EQ(log_->synced_batches(), batches + 1);
    for (int round = 0; round < 2; ++round) {
      EXPECT_TRUE(log_->Contains(base));
      EXPECT_EQ(log_->first_index(), index + 1);
      EXPECT_EQ(log_->last_index(), index);
      EXPECT_EQ(log_->TermAt(index), 3u);
      EXPECT_EQ(log_->ChainHash(index), 12345u);
      EXPECT_EQ(log_->hard_state().voted_for, 7u);
      EXPECT_EQ(log_->hard_state().commit_index, index);
      EXPECT_TRUE(log_->may_vote());
      CrashAndReopen();
    }
    Append(3, index + 1, index + 2, "b");
    CrashAndReopen();
    EXPECT_EQ(log_->last_index(), index + 2);
    EXPECT_EQ(log_->Entries(index + 1, index + 2, SIZE_MAX).size(), 2u);
  }
}

TEST_F(LogStoreTest, ResetToALaterTermEntersItWithoutAVote) {
  log_->Save(HardState{.current_term = 2, .voted_for = 7, .commit_index = 1},
             {MakeEntry(1, 1, "x")});
  log_->Reset({{.term = 5, .index = 9}, 1});
  CrashAndReopen();
  EXPECT_EQ(log_->hard_state(), (HardState{.current_term = 5, .voted_for = 0, .commit_index = 9}));
}

TEST_F(LogStoreTest, KnowsWhereItsBytesAre) {
  EXPECT_EQ(log_->BytesFrom(1), 0u);
  const std::string kilobyte(1000, 'x');
  Append(1, 1, 100, kilobyte);
  for (int round = 0; round < 2; ++round) {
    EXPECT_NEAR(log_->BytesFrom(1), 104'000, 1000);
    EXPECT_NEAR(log_->BytesFrom(51), 52'000, LogStore::kSizeStep + 1000);
    EXPECT_NEAR(log_->FirstWithin(52'000), 51, 5);
    EXPECT_EQ(log_->FirstWithin(1 << 30), 1u);
    EXPECT_EQ(log_->FirstWithin(0), 100u);
    CrashAndReopen();
  }
  log_->Cut(41);
  for (int round = 0; round < 2; ++round) {
    EXPECT_NEAR(log_->BytesFrom(41), 62'000, LogStore::kSizeStep + 1000);
    EXPECT_EQ(log_->FirstWithin(1 << 30), 41u);
    CrashAndReopen();
  }
  Append(2, 51, 51, kilobyte);  // removes half of it
  EXPECT_NEAR(log_->BytesFrom(41), 11'000, LogStore::kSizeStep + 1000);
}

TEST_F(LogStoreTest, SameEntriesGiveTheSameChainHowEverTheyWereBatched) {
  Append(1, 1, 4, "a");
  const uint64_t chain = log_->ChainHash(4);
  Append(1, 3, 3, "other");
  EXPECT_NE(log_->ChainHash(3), chain);
  Append(1, 3, 3, "a");
  Append(1, 4, 4, "a");
  EXPECT_EQ(log_->ChainHash(4), chain);
}

// The log must notice each of these damages without a watermark.
TEST_F(LogStoreTest, DamageOfAnyRecordIsSeenAtOpen) {
  for (char victim = 1; victim <= 5; ++victim) {
    disk_ = std::make_shared<MemoryDisk>();
    Reopen();
    Append(1, 1, 5, "payload");
    Tamper([&](Engine& engine, WriteBatch* batch) {
      std::string record = *engine.Get(EntryKey(victim));
      record[record.size() / 2] ^= 1;
      batch->Put(EntryKey(victim), record);
    });
    const absl::Status status = TryOpen().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_NE(status.message().find(std::to_string(victim)), std::string::npos) << status;
  }
}

TEST_F(LogStoreTest, MissingEntriesAreSeenAtOpen) {
  for (char victim = 1; victim <= 5; ++victim) {
    disk_ = std::make_shared<MemoryDisk>();
    Reopen();
    Append(1, 1, 5, "payload");
    Tamper([&](Engine&, WriteBatch* batch) { batch->Delete(EntryKey(victim)); });
    EXPECT_EQ(TryOpen().status().code(), absl::StatusCode::kDataLoss) << int{victim};
  }
}

TEST_F(LogStoreTest, AnotherLogsRecordIsSeenAtOpen) {
  Append(1, 1, 5, "mine");
  const auto other_disk = std::make_shared<MemoryDisk>();
  auto other =
      LogStore::Open(std::make_unique<MemoryEngine>(other_disk, Durability::kSynced), nullptr);
  ASSERT_TRUE(other.ok());
  (*other)->Save(std::nullopt, {MakeEntry(1, 1, "x"), MakeEntry(1, 2, "x"), MakeEntry(1, 3, "x")});
  other->reset();
  MemoryEngine foreign(other_disk, Durability::kSynced);
  Tamper([&](Engine&, WriteBatch* batch) { batch->Put(EntryKey(3), *foreign.Get(EntryKey(3))); });
  EXPECT_EQ(TryOpen().status().code(), absl::StatusCode::kDataLoss);
}

// Not damage: another program can read it.
TEST_F(LogStoreTest, AnotherFormatIsNoDamage) {
  Append(1, 1, 1, "a");
  Tamper([&](Engine& engine, WriteBatch* batch) {
    const std::string key = std::string(7, '\0') + "\x01\x01";
    std::string record = *engine.Get(key);
    record[8] = 2;
    std::string crc;
    PutFixed32(&crc, Crc32c(record.substr(4)));
    batch->Put(key, record.replace(0, 4, crc));
  });
  const absl::Status status = TryOpen().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("its format is 2"), std::string::npos) << status;
}

TEST_F(LogStoreTest, AnEntryUnderAnotherKindOfKeyIsDamage) {
  Append(1, 1, 2, "a");
  Tamper([&](Engine& engine, WriteBatch* batch) {
    std::string key = EntryKey(2);
    const std::string record = *engine.Get(key);
    batch->Delete(key);
    key.back() = 4;
    batch->Put(key, record);
    // Last, as it must be.
    const std::string state = *engine.Get(std::string(7, '\0') + "\x02\x01");
    batch->Put(std::string(7, '\0') + "\x03\x01", state);
  });
  const absl::Status status = TryOpen().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(status.message().find("unexpected key of kind 4"), std::string::npos) << status;
}

TEST_F(LogStoreTest, EntriesWithoutTheirStateRecordAreDamage) {
  Append(1, 1, 1, "a");
  Tamper([&](Engine&, WriteBatch* batch) { batch->Delete(std::string(7, '\0') + "\x01\x01"); });
  EXPECT_EQ(TryOpen().status().code(), absl::StatusCode::kDataLoss);
}

// --- a log that has lost its end (docs/decisions/0022)

class MarkOf final : public Watermark {
 public:
  explicit MarkOf(Mark* stored) : stored_(stored) {}
  const Mark& mark() const override { return *stored_; }
  void Record(const Mark& mark, bool /*sync*/) override { *stored_ = mark; }

 private:
  Mark* const stored_;
};

class LostEndTest : public LogStoreTest {
 protected:
  LostEndTest() {
    log_.reset();
    disk_->KeepTorn(100);
    Start();
    log_->AllowVoting();
    log_->Save(HardState{.current_term = 2, .voted_for = 1}, {});
    for (raft::Index i = 1; i <= 6; ++i) Append(2, i, i, "v");
  }

  void Start() {
    log_.reset();
    absl::StatusOr<std::unique_ptr<LogStore>> log =
        LogStore::Open(std::make_unique<MemoryEngine>(disk_, Durability::kSynced),
                       std::make_unique<MarkOf>(&mark_));
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  void Tear(uint64_t batches) {
    log_.reset();
    disk_->Crash();
    disk_ = disk_->Torn(batches);
    Start();
  }

  Watermark::Mark mark_;
};

TEST_F(LostEndTest, MayNotVoteUntilItHasComeAsFarAgain) {
  Tear(2);
  for (int start = 0; start < 2; ++start) {
    ASSERT_TRUE(log_->lost());
    EXPECT_EQ(log_->lost()->first, 5u);
    EXPECT_EQ(log_->lost()->last, (EntryId{2, 6}));
    EXPECT_FALSE(log_->may_vote());
    Start();
  }
  Append(2, 5, 5, "v");
  EXPECT_FALSE(log_->may_vote());
  Tear(1);
  EXPECT_EQ(log_->lost()->first, 5u) << "the mark stays until the log has come as far";
  Append(2, 5, 6, "v");
  EXPECT_FALSE(log_->lost());
  EXPECT_TRUE(log_->may_vote());
  Start();
  EXPECT_TRUE(log_->may_vote());
  EXPECT_EQ(log_->last_index(), 6u);
}

TEST_F(LostEndTest, EntriesOfALaterTermReplaceWhatWasLost) {
  Tear(2);
  log_->Save(HardState{.current_term = 3, .voted_for = raft::kNobody}, {});
  EXPECT_FALSE(log_->may_vote());
  Append(3, 4, 4, "other");
  EXPECT_TRUE(log_->may_vote()) << "a leader of term 3 has everything that was committed before";
  Start();
  EXPECT_TRUE(log_->may_vote());
  EXPECT_EQ(log_->last_index(), 4u);
}

// The batch is on disk, and a crash left the mark behind.
TEST_F(LostEndTest, ACrashAfterTheLastRepairLeavesAMarkThatTheLogHasPassed) {
  Tear(2);
  const Watermark::Mark before = mark_;
  Append(3, 4, 4, "other");
  mark_ = before;
  Start();
  EXPECT_TRUE(log_->may_vote());
}

// A crash left the mark behind, and after the start the member acknowledges what its log has.
TEST_F(LostEndTest, AnEntryThatOnlyTheLogHadBeforeAStartIsMissedWhenItIsLost) {
  const Watermark::Mark before = mark_;
  Append(2, 7, 7, "v");
  mark_ = before;
  Start();
  Tear(2);
  ASSERT_TRUE(log_->lost());
  EXPECT_EQ(log_->lost()->last, (EntryId{2, 7}));
}

TEST_F(LostEndTest, TermVoteAndReachedAreThoseThatWereSaved) {
  log_->Save(HardState{.current_term = 7, .voted_for = 3}, {});
  const raft::Reached reached = log_->reached();
  Tear(3);
  EXPECT_EQ(log_->hard_state().current_term, 7u);
  EXPECT_EQ(log_->hard_state().voted_for, 3u);
  EXPECT_EQ(log_->reached(), reached);
}

TEST_F(LostEndTest, ALostVoteAloneIsNoLoss) {
  log_->Save(HardState{.current_term = 7, .voted_for = 3}, {});
  Tear(1);
  EXPECT_TRUE(log_->may_vote());
  EXPECT_EQ(log_->hard_state().current_term, 7u);
  EXPECT_EQ(log_->hard_state().voted_for, 3u);
}

TEST_F(LostEndTest, ASnapshotReplacesWhatWasLost) {
  Tear(3);
  log_->Reset({{2, 5}, 55});
  EXPECT_FALSE(log_->may_vote());
  log_->Reset({{2, 9}, 99});
  EXPECT_TRUE(log_->may_vote());
  Start();
  EXPECT_TRUE(log_->may_vote());
}

TEST_F(LostEndTest, ContinuesAfterWhatIsApplied) {
  const uint64_t chain = log_->ChainHash(6);
  Tear(2);
  EXPECT_TRUE(log_->ContinueAfter({2, 4})) << "the log has it";
  EXPECT_TRUE(log_->lost());
  EXPECT_FALSE(log_->ContinueAfter({2, 5})) << "its chain hash is not known";
  Start();
  EXPECT_TRUE(log_->ContinueAfter({2, 6}));
  EXPECT_FALSE(log_->lost());
  EXPECT_FALSE(log_->may_vote()) << "the mark may be older than the last acknowledgement";
  EXPECT_EQ(log_->first_index(), 7u);
  EXPECT_EQ(log_->ChainHash(6), chain);
  Start();
  EXPECT_EQ(log_->last_index(), 6u);
  EXPECT_FALSE(log_->may_vote());
}

}  // namespace
}  // namespace raftkv
