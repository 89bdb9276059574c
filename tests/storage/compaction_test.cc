// Compaction: its answers, what it leaves on the disk, its steps, crashes during it, and the
// hashes, which must not depend on its progress.

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/base/checksum.h"
#include "storage/mvcc/layout.h"
#include "tests/storage/rocks.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

class CompactionTest : public StoreTest {
 protected:
  void CompactTo(Revision revision) {
    ASSERT_TRUE(Apply(CompactCommand(revision)).status.ok());
    while (state_->compacting()) state_->CompactStep();
  }
  // The versions as "key@revision ", and tombstones as "key@revision! ", in the table's order.
  std::string Versions() {
    std::string out;
    for (const auto& [key, record] : Table(mvcc::kVersionTable)) {
      absl::StrAppend(&out, mvcc::UserKey(mvcc::VersionPrefix(key)), "@",
                      mvcc::VersionRevision(key), record.empty() ? "! " : " ");
    }
    return out;
  }
  std::string Events() {
    std::string out;
    for (const auto& [key, record] : Table(mvcc::kEventTable)) {
      const mvcc::EventId id = mvcc::DecodeEventKey(key);
      const mvcc::Event event = mvcc::DecodeEvent(record);
      absl::StrAppend(&out, std::string(event.key), "@", id.revision, event.deleted ? "! " : " ");
    }
    return out;
  }
  uint32_t HashAt(Revision revision) const {
    const auto hash = state_->Snapshot()->HashKv(revision);
    EXPECT_TRUE(hash.ok()) << hash.status();
    return hash.ok() ? hash->hash : 0;
  }
};

TEST_F(CompactionTest, AnswersAsEtcd) {
  for (int i = 0; i < 4; ++i) Apply(PutCommand("k", std::to_string(i)));  // revisions 2 to 5
  const uint64_t digest = state_->digest();
  EXPECT_EQ(state_->compacted_revision(), -1);
  EXPECT_EQ(Answer("compaction { revision: 6 }"), "mvcc: required revision is a future revision");
  EXPECT_EQ(Answer("compaction { revision: -1 }"), "mvcc: required revision has been compacted");
  EXPECT_EQ(Answer("compaction { revision: 0 }"), "compaction { header { revision: 5 } }");
  EXPECT_EQ(Answer("compaction { revision: 0 }"), "mvcc: required revision has been compacted");
  EXPECT_EQ(Answer("compaction { revision: 4 }"), "compaction { header { revision: 5 } }");
  EXPECT_EQ(Answer("compaction { revision: 4 }"), "mvcc: required revision has been compacted");
  EXPECT_EQ(state_->revision(), 5);
  EXPECT_EQ(state_->compacted_revision(), 4);
  EXPECT_NE(state_->digest(), digest);
  EXPECT_EQ(Range(AllKeys(3)), "mvcc: required revision has been compacted") << "at once";
  EXPECT_EQ(Range(AllKeys(4)), "k=2 ");
  EXPECT_EQ(Range(AllKeys()), "k=3 ");
}

TEST_F(CompactionTest, RemovesWhatCannotBeReadAnyMore) {
  Apply(PutCommand("a", "2"));
  Apply(PutCommand("a", "3"));
  Apply(PutCommand("b", "4"));
  Apply(DeleteCommand("b"));  // 5
  Apply(PutCommand("c", "6"));
  Apply(DeleteCommand("c"));  // 7
  Apply(PutCommand("a", "8"));
  CompactTo(7);
  EXPECT_EQ(Versions(), "a@8 a@3 c@7! ") << "the tombstone at 7 itself stays";
  EXPECT_EQ(Events(), "c@7! a@8 ") << "a watch may begin at 7";
  CompactTo(8);
  EXPECT_EQ(Versions(), "a@8 ");
  EXPECT_EQ(Events(), "a@8 ");
  EXPECT_EQ(state_->compaction_done(), 8);
}

TEST_F(CompactionTest, AKeyPutAndDeletedInOneRevision) {
  Apply(PutCommand("z", "1"));
  const std::string twice =
      "txn { success { request_txn { success { request_put { key: 'z' value: 'v' } } } }"
      "      success { request_txn { success { request_delete_range { key: 'z' } } } } }";
  ApplyText(twice);  // 3
  CompactTo(3);
  EXPECT_EQ(Versions(), "z@3! ");
  EXPECT_EQ(Events(), "z@3 z@3! ");
  Apply(PutCommand("z", "2"));
  CompactTo(4);
  EXPECT_EQ(Versions(), "z@4 ");
  EXPECT_EQ(Events(), "z@4 ");
  EXPECT_EQ(Range(AllKeys()), "z=2 ");
}

// The writer's cache may still hold a tombstone that was removed.
TEST_F(CompactionTest, AKeyComesBackAfterItsTombstoneHasGone) {
  Apply(PutCommand("a", "1"));
  Apply(DeleteCommand("a"));
  Apply(PutCommand("x", ""));
  CompactTo(4);
  EXPECT_EQ(Answer("put { key: 'a' value: 'new' prev_kv: true }"),
            "put { header { revision: 5 } }");
  CompactTo(5);
  EXPECT_EQ(Versions(), "a@5 x@4 ");
  EXPECT_EQ(Answer("txn { success { request_range { key: 'a' } } }"),
            "txn { header { revision: 5 } succeeded: true responses { response_range { header { "
            "revision: 5 } kvs { key: \"a\" create_revision: 5 mod_revision: 5 version: 1 value: "
            "\"new\" } count: 1 } } }");
}

TEST_F(CompactionTest, RunsInSteps) {
  for (int i = 0; i < 600; ++i) Apply(PutCommand(absl::StrCat("k", i), "v"));
  Apply(DeleteCommand("k", "l"));  // 600 events of one revision
  Apply(CompactCommand(state_->revision()));
  int steps = 0;
  Revision before = -1;
  for (; state_->compacting(); ++steps) {
    state_->CompactStep();
    EXPECT_GE(state_->compaction_done(), before);
    before = state_->compaction_done();
  }
  EXPECT_EQ(steps, 5) << "1200 events, 256 a step";
  state_->CompactStep();  // nothing to do, no effect
}

// Like the loop: apply some entries, some of them with several events, then do one step.
TEST_F(CompactionTest, KeepsPaceWithWhatIsWritten) {
  constexpr int kEntries = 64, kPuts = 8, kRounds = 150, kRoundsPerCompaction = 4;
  raft::Index index = 0;
  int64_t backlog_max = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<raft::Entry> entries;
    for (int i = 0; i < kEntries; ++i) {
      proto::Command command;
      for (int key = 0; key < kPuts; ++key) {
        *command.mutable_txn()->add_success()->mutable_request_put() =
            PutCommand(absl::StrCat("k", key), "v").put();
      }
      entries.push_back(MakeEntry(1, ++index, command));
    }
    if (round % kRoundsPerCompaction == 0) {
      entries.push_back(MakeEntry(1, ++index, CompactCommand(state_->revision())));
    }
    state_->Apply(entries);
    state_->CompactStep();
    backlog_max = std::max(backlog_max, state_->revision() - state_->compaction_done());
  }
  EXPECT_LE(backlog_max, 3 * kRoundsPerCompaction * kEntries) << "revisions";
}

TEST_F(CompactionTest, AStepIsBoundedWhateverWasWritten) {
  constexpr int kPuts = 6'000;
  const auto put_all = [&] {
    std::vector<raft::Entry> entries;
    for (raft::Index i = 1; i <= kPuts; ++i) {
      entries.push_back(MakeEntry(1, state_->applied().index + i, PutCommand("k", "v")));
    }
    state_->Apply(entries);
  };
  put_all();
  Apply(CompactCommand(state_->revision()));
  put_all();
  state_->CompactStep();
  EXPECT_GE(state_->compaction_done(), 4'000);
  EXPECT_LE(state_->compaction_done(), 4'100);
}

// A history of all kinds of commands, with some compactions in between.
std::vector<proto::Command> RandomHistory(int seed, int length) {
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto key = [&] { return absl::StrCat("k", below(6)); };
  std::vector<proto::Command> commands;
  Revision revision = 1;
  for (int i = 0; i < length; ++i) {
    switch (below(8)) {
      case 0:
        commands.push_back(DeleteCommand(key()));
        break;
      case 1:
        commands.push_back(DeleteCommand(key(), key()));
        break;
      case 2: {
        const std::string again = key();
        commands.push_back(Parse<proto::Command>(absl::StrCat(
            "txn { success { request_put { key: 'k9' } }",
            " success { request_txn { success { request_put { key: '", again, "' } } } }",
            " success { request_txn { success { request_delete_range { key: '", key(),
            "' } } } } }")));
        break;
      }
      case 3:
        commands.push_back(CompactCommand(1 + below(static_cast<int>(revision))));
        break;
      default:
        commands.push_back(PutCommand(key(), std::to_string(i)));
        ++revision;
    }
  }
  return commands;
}

TEST_F(CompactionTest, ReadersNeverNoticeAndHashesAreLogical) {
  for (int seed = 0; seed < 20; ++seed) {
    disk_ = std::make_shared<MemoryDisk>();
    state_.reset();
    Reopen();
    auto paused = StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
    std::mt19937 random(static_cast<unsigned>(seed));
    for (const proto::Command& command : RandomHistory(seed, 120)) {
      const ApplyResult one = Apply(command);
      const ApplyResult other =
          (*paused)->Apply({MakeEntry(1, state_->applied().index, command)})[0];
      ASSERT_EQ(one.status, other.status);
      ASSERT_EQ(one.response.ShortDebugString(), other.response.ShortDebugString());
      if (random() % 3 == 0) state_->CompactStep(random() % 2 == 0 ? 2 : INT64_MAX);
      const Revision oldest = std::max<Revision>(state_->compacted_revision(), 1);
      for (Revision r = oldest; r <= state_->revision(); ++r) {
        etcdserverpb::RangeResponse a, b;
        ASSERT_TRUE(state_->Snapshot()->Range(AllKeys(r), Limits(), &a).ok());
        ASSERT_TRUE((*paused)->Snapshot()->Range(AllKeys(r), Limits(), &b).ok());
        ASSERT_EQ(a.ShortDebugString(), b.ShortDebugString()) << "seed " << seed;
        ASSERT_EQ(HashAt(r), (*paused)->Snapshot()->HashKv(r)->hash) << "seed " << seed;
      }
      ASSERT_EQ(*state_->Snapshot()->Hash(), *(*paused)->Snapshot()->Hash());
    }
    ASSERT_EQ(state_->digest(), (*paused)->digest());
    ASSERT_LT((*paused)->compaction_done(), state_->compaction_done());
  }
}

TEST_F(CompactionTest, HashesSeeEveryVersionAndTombstoneThatCanBeRead) {
  Apply(PutCommand("a", "1"));
  const uint32_t at_2 = HashAt(2);
  Apply(PutCommand("a", "2"));
  EXPECT_NE(HashAt(3), at_2);
  EXPECT_EQ(HashAt(2), at_2);
  const uint32_t at_3 = HashAt(3);
  Apply(DeleteCommand("a"));
  EXPECT_NE(HashAt(4), at_3) << "a tombstone counts while it can be seen";
  EXPECT_EQ(HashAt(0), HashAt(4));
  EXPECT_EQ(state_->Snapshot()->HashKv(5).status().message(),
            "mvcc: required revision is a future revision");
  Apply(CompactCommand(4));
  EXPECT_EQ(state_->Snapshot()->HashKv(3).status().message(),
            "mvcc: required revision has been compacted");
  const auto hash = state_->Snapshot()->HashKv(0);
  EXPECT_EQ(hash->compact_revision, 4);
  EXPECT_EQ(hash->hash_revision, 4);
  EXPECT_EQ(hash->hash, 0u) << "nothing is left";

  const uint32_t before = *state_->Snapshot()->Hash();
  proto::Command command;
  command.mutable_record_store_id()->set_member_id(7);
  command.mutable_record_store_id()->set_store_id(std::string(16, 'a'));
  Apply(command);
  EXPECT_NE(*state_->Snapshot()->Hash(), before) << "the tables beside the keys";
  EXPECT_EQ(HashAt(0), 0u);
}

// As in etcd, a member that has compacted and one that has not can be compared at the compacted
// revision, and, unlike in etcd, at every later one.
TEST_F(CompactionTest, ACompactionChangesNoHashOfTheKeys) {
  ApplyText("set_cluster_version { version: 3 }");
  for (const proto::Command& command : RandomHistory(3, 60)) {
    if (!command.has_compaction()) Apply(command);
  }
  std::map<Revision, uint32_t> before;
  for (Revision r = 1; r <= state_->revision(); ++r) before[r] = HashAt(r);
  const uint32_t all = *state_->Snapshot()->Hash();
  const auto check = [&](Revision compacted) {
    for (Revision r = compacted; r <= state_->revision(); ++r) EXPECT_EQ(HashAt(r), before[r]) << r;
    EXPECT_EQ(state_->Snapshot()->HashKv(0)->compact_revision, compacted);
  };
  for (const Revision compacted : {state_->revision() / 2, state_->revision()}) {
    Apply(CompactCommand(compacted));
    check(compacted);
    while (state_->compacting()) state_->CompactStep();
    check(compacted);
    EXPECT_NE(*state_->Snapshot()->Hash(), all) << "it covers the history";
  }
}

// However many of its batches survive a crash, the replay and the rest of the compaction end in the
// same tables, and the revision never goes back below what was flushed.
TEST_F(CompactionTest, ACrashAtAnyBatchLosesNothing) {
  const std::vector<proto::Command> history = RandomHistory(7, 300);
  const auto entry = [&](raft::Index i) { return MakeEntry(1, i, history[i - 1]); };
  const auto finish = [&] {
    while (state_->applied().index < history.size()) {
      state_->Apply({entry(state_->applied().index + 1)});
    }
    while (state_->compacting()) state_->CompactStep();
    return absl::StrCat(Versions(), " ", Events(), " ", HashAt(0), " ", state_->digest());
  };
  const std::string expected = finish();
  int crashes = 0;
  for (uint64_t kept = 0; kept < 400; kept += 7) {
    disk_ = std::make_shared<MemoryDisk>();
    state_.reset();
    Reopen();
    for (raft::Index i = 1; i <= history.size(); ++i) {
      state_->Apply({entry(i)});
      if (i % 3 == 0) state_->CompactStep(4);
      if (i == 40) state_->Flush();
    }
    const Revision revision = state_->revision();
    const Revision compacted = state_->compacted_revision();
    state_.reset();
    if (kept >= disk_->batches_at_risk()) break;
    ++crashes;
    Reopen(kept);
    EXPECT_GE(state_->applied().index, 40u);
    EXPECT_LE(state_->compaction_done(), state_->compacted_revision());
    ASSERT_EQ(finish(), expected) << kept << " batches survived";
    ASSERT_EQ(state_->revision(), revision);
    ASSERT_EQ(state_->compacted_revision(), compacted);
  }
  EXPECT_GT(crashes, 30);
}

// The next compaction begins while the previous one has removed only some events of its last
// revision.
TEST_F(CompactionTest, AnotherCompactionMayBeginBeforeTheLastIsDone) {
  for (int i = 0; i < 300; ++i) Apply(PutCommand(absl::StrCat("k", 1000 + i), "v"));
  Apply(DeleteCommand("k", "l"));  // revision 302, 300 events
  Apply(PutCommand("last", "v"));
  Apply(CompactCommand(302));
  state_->CompactStep();
  state_->CompactStep();
  EXPECT_TRUE(state_->compacting());
  EXPECT_EQ(state_->compaction_done(), 301);
  CompactTo(303);
  EXPECT_EQ(Versions(), "last@303 ");
  EXPECT_EQ(Events(), "last@303 ");
}

TEST_F(CompactionTest, AnUnknownFormatIsRejectedWithItsNumber) {
  Apply(PutCommand("a", "1"));
  state_.reset();
  for (const uint64_t format : {2, 5}) {
    std::string record;
    for (uint64_t number : {format, uint64_t{1}, uint64_t{1}}) PutFixed64(&record, number);
    PutFixed32(&record, Crc32c(record));
    WriteBatch batch;
    batch.Put("m", record);
    MemoryEngine(disk_, Durability::kFlushed).Write(batch, false);
    const auto state =
        StateMachine::Open(std::make_unique<MemoryEngine>(disk_, Durability::kFlushed));
    EXPECT_TRUE(absl::IsFailedPrecondition(state.status()));
    EXPECT_NE(state.status().message().find(absl::StrCat("its format is ", format)),
              std::string::npos)
        << state.status();
  }
}

TEST_F(CompactionTest, ApplyStopsBeforeALargeEntry) {
  for (int i = 0; i < 20; ++i) Apply(PutCommand(absl::StrCat("k", i), "v"));
  const raft::Index next = state_->applied().index + 1;
  const std::vector<raft::Entry> entries = {
      MakeEntry(1, next, PutCommand("a", "1")), MakeEntry(1, next + 1, DeleteCommand("k", "l")),
      MakeEntry(1, next + 2, PutCommand("a", "2")),
      MakeEntry(1, next + 3,
                Parse<proto::Command>("txn { success { request_txn { compare { key: 'k' range_end: "
                                      "'l' target: VERSION } } } }")),
      MakeEntry(
          1, next + 4,
          Parse<proto::Command>("txn { success { request_range { key: 'k' range_end: 'l' } } }"))};
  const auto rest = [&] {
    return absl::MakeSpan(entries).subspan(state_->applied().index + 1 - next);
  };
  EXPECT_EQ(state_->Apply(rest(), {.steps_max = 20}).size(), 1u);
  EXPECT_EQ(state_->Apply(rest(), {.steps_max = 20}).size(), 0u)
      << "twenty keys and the operation itself";
  EXPECT_EQ(state_->Apply(rest(), {.steps_max = 22}).size(), 2u)
      << "the steps of all entries are added up";
  EXPECT_EQ(state_->Apply(rest(), {.steps_max = 21}).size(), 1u)
      << "tombstones count, so it is still twenty keys";
  EXPECT_EQ(state_->Apply(rest(), {.steps_max = 21}).size(), 1u);
  EXPECT_EQ(state_->revision(), 24);
  EXPECT_EQ(Range(AllKeys()), "a=2 ");
}

class CompactionOnDiskTest : public testing::Test {
 protected:
  CompactionOnDiskTest() { state_ = *StateMachine::Open(OpenRocks(dir_ / "sm")); }
  void Apply(const std::vector<proto::Command>& commands) {
    std::vector<raft::Entry> entries;
    for (const proto::Command& command : commands) {
      entries.push_back(MakeEntry(1, state_->applied().index + 1 + entries.size(), command));
    }
    state_->Apply(entries);
    state_->MaybeFlush();
  }
  void Compact() {
    Apply({CompactCommand(state_->revision())});
    while (state_->compacting()) state_->CompactStep();
  }

  TempDir dir_;
  std::unique_ptr<StateMachine> state_;
};

TEST_F(CompactionOnDiskTest, SpaceStaysBoundedUnderOverwrites) {
  const std::string value(1024, 'v');
  constexpr int kKeys = 200, kRounds = 600;
  constexpr uint64_t kBound = 64 << 20;  // write buffers and unfinished files; data is 0.2 MiB
  uint64_t most = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<proto::Command> commands;
    for (int i = 0; i < kKeys; ++i) commands.push_back(PutCommand(absl::StrCat("k", i), value));
    Apply(commands);
    if (round % 20 == 0) Compact();
    most = std::max(most, state_->DiskBytes());
  }
  std::cout << "  at most " << (most >> 20) << " MiB for " << (kRounds * kKeys >> 10)
            << " MiB written, at last " << (state_->DiskBytes() >> 20) << " MiB\n";
  EXPECT_LT(most, kBound);
}

TEST_F(CompactionOnDiskTest, DefragmentGivesBackWhatWasDeleted) {
  const std::string value(1024, 'v');
  for (int round = 0; round < 50; ++round) {
    std::vector<proto::Command> commands;
    for (int i = 0; i < 1000; ++i) {
      commands.push_back(PutCommand(absl::StrCat("k", round * 1000 + i), value));
    }
    Apply(commands);
  }
  state_->Flush();
  EXPECT_GT(state_->DiskBytes(), 50u << 20);
  Apply({DeleteCommand("k", "l")});
  Apply({PutCommand("last", "v")});
  Compact();
  state_->StartDefragment();
  state_->StartDefragment();  // one is enough
  for (int i = 0; i < 3000 && state_->DiskBytes() > 4 << 20; ++i) usleep(10'000);
  EXPECT_LT(state_->DiskBytes(), 4u << 20);
  state_->StartDefragment();
  state_.reset();  // while it runs
}

}  // namespace
}  // namespace raftkv
