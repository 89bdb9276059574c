#include "server/raft/log.h"

#include "tests/raft/memory_disk.h"

namespace raftkv::raft {
namespace {

// Saves the new entries of the log to the disk, as a driver would.
void Save(RaftLog& log, MemoryDisk& disk, uint64_t number) {
  Ready ready;
  ready.entries = log.TakeUntaken(number);
  ready.hard_state = HardState{};
  disk.Save(ready);
  log.OnSaved(number);
}

TEST(RaftLog, StartsWhereTheDiskEnds) {
  const MemoryDisk disk({}, LogOfTerms({1, 1, 2}));
  const RaftLog log(&disk, 1000);
  EXPECT_EQ(log.first_index(), 1u);
  EXPECT_EQ(log.last(), (EntryId{2, 3}));
  EXPECT_EQ(log.saved_index(), 3u);
  EXPECT_FALSE(log.HasUntaken());
  EXPECT_EQ(log.TermAt(0), 0u);
  EXPECT_EQ(log.TermAt(2), 1u);
}

TEST(RaftLog, KnowsTheEntryBeforeACutLog) {
  const MemoryDisk disk({}, {Command(3, 6)}, /*before=*/{2, 5});
  const RaftLog log(&disk, 1000);
  EXPECT_EQ(log.first_index(), 6u);
  EXPECT_EQ(log.TermAt(5), 2u);
  EXPECT_TRUE(log.Contains({2, 5}));
  EXPECT_FALSE(log.Contains({2, 4})) << "it was cut";
  EXPECT_EQ(log.LastAtMost({1, 4}), (EntryId{2, 5}));
}

TEST(RaftLog, EntriesAreTakenOnceAndSavedLater) {
  const MemoryDisk disk;
  RaftLog log(&disk, 1000);
  log.Append(Command(1, 1));
  log.Append(Command(1, 2));
  EXPECT_EQ(log.TakeUntaken(1).size(), 2u);
  EXPECT_FALSE(log.HasUntaken());
  EXPECT_TRUE(log.TakeUntaken(2).empty());
  log.Append(Command(1, 3));
  EXPECT_EQ(log.TakeUntaken(3).size(), 1u);
  EXPECT_EQ(log.saved_index(), 0u);
  EXPECT_TRUE(log.OnSaved(2));
  EXPECT_EQ(log.saved_index(), 2u);
  EXPECT_TRUE(log.OnSaved(3));
  EXPECT_EQ(log.saved_index(), 3u);
  EXPECT_FALSE(log.OnSaved(3));
}

// Entries are replaced while they are written. The end of the old write must not mark the new
// entries at the same indexes as saved.
TEST(RaftLog, WriteThatEndsAfterTruncationSavesOnlyWhatWasKept) {
  const MemoryDisk disk;
  RaftLog log(&disk, 1000);
  for (Index i = 1; i <= 5; ++i) log.Append(Command(1, i));
  log.TakeUntaken(1);
  log.TruncateFrom(3);
  log.Append(Command(2, 3));
  log.Append(Command(2, 4));
  EXPECT_EQ(log.TakeUntaken(2).front().id, (EntryId{2, 3}));
  log.TruncateFrom(4);
  log.Append(Command(3, 4));
  EXPECT_EQ(log.TakeUntaken(3).front().id, (EntryId{3, 4}));
  log.OnSaved(1);
  EXPECT_EQ(log.saved_index(), 2u) << "1/3 to 1/5 are gone";
  log.OnSaved(2);
  EXPECT_EQ(log.saved_index(), 3u) << "2/4 is gone";
  log.OnSaved(3);
  EXPECT_EQ(log.saved_index(), 4u);
}

TEST(RaftLog, TruncationLowersWhatIsSaved) {
  const MemoryDisk disk({}, LogOfTerms({1, 1, 1}));
  RaftLog log(&disk, 1000);
  log.TruncateFrom(2);
  EXPECT_EQ(log.saved_index(), 1u);
  EXPECT_EQ(log.last(), (EntryId{1, 1}));
  log.Append(Command(2, 2));
  EXPECT_EQ(log.TakeUntaken(1), std::vector<Entry>{Command(2, 2)});
  EXPECT_EQ(log.TermAt(2), 2u);
}

TEST(RaftLog, LastAtMostAgreesWithAScan) {
  const std::vector<Term> terms = {1, 1, 3, 3, 3, 6, 6, 9};
  const MemoryDisk disk({}, LogOfTerms(terms));
  const RaftLog log(&disk, 1000);
  for (Term term = 0; term <= 10; ++term) {
    for (Index index = 0; index <= 12; ++index) {
      EntryId expected{0, 0};
      for (Index i = 1; i <= std::min<Index>(index, terms.size()); ++i) {
        if (terms[i - 1] <= term) expected = {terms[i - 1], i};
      }
      EXPECT_EQ(log.LastAtMost({term, index}), expected) << term << "/" << index;
    }
  }
}

TEST(RaftLog, KeepsABoundedTailInMemoryAndReadsTheRest) {
  MemoryDisk disk;
  const size_t bytes = EntryBytes(Command(1, 1));
  RaftLog log(&disk, 3 * bytes);
  for (Index i = 1; i <= 10; ++i) log.Append(Command(1, i));
  log.Evict(10);
  EXPECT_EQ(log.cached_bytes(), 10 * bytes) << "nothing is saved yet";
  Save(log, disk, 1);
  log.Evict(5);
  EXPECT_EQ(log.cached_bytes(), 5 * bytes) << "entries above the commit index stay";
  log.Evict(10);
  EXPECT_EQ(log.cached_bytes(), 3 * bytes);
  EXPECT_FALSE(log.InMemory(7));
  EXPECT_TRUE(log.InMemory(8));

  disk.reads = 0;
  EXPECT_EQ(log.Entries(8, 10, 100, 10000).size(), 3u);
  EXPECT_EQ(log.TermAt(7), 1u) << "the term of the entry before the first in memory is known";
  EXPECT_EQ(disk.reads, 0u);
  EXPECT_EQ(log.Entries(2, 10, 100, 2 * bytes).size(), 2u);
  EXPECT_EQ(log.Entries(6, 10, 100, 10000).size(), 2u) << "only those on disk";
  EXPECT_EQ(disk.reads, 2u);
}

TEST(RaftLog, EntriesRespectsItsBounds) {
  const MemoryDisk disk;
  RaftLog log(&disk, 100000);
  for (Index i = 1; i <= 10; ++i) log.Append(Command(1, i));
  const size_t bytes = EntryBytes(Command(1, 1));
  EXPECT_EQ(log.Entries(1, 10, 3, 10000).size(), 3u);
  EXPECT_EQ(log.Entries(1, 10, 100, 2 * bytes).size(), 2u);
  EXPECT_EQ(log.Entries(1, 10, 100, 2 * bytes - 1).size(), 1u);
  EXPECT_EQ(log.Entries(1, 10, 100, 1).size(), 1u) << "a single entry may be larger";
  EXPECT_EQ(log.Entries(11, 10, 100, 1).size(), 0u);
}

TEST(RaftLogDeathTest, AppendChecksForGapsAndDecreasingTerms) {
  const MemoryDisk disk({}, LogOfTerms({2}));
  RaftLog log(&disk, 1000);
  EXPECT_DEATH(log.Append(Command(2, 3)), "");
  EXPECT_DEATH(log.Append(Command(1, 2)), "");
}

}  // namespace
}  // namespace raftkv::raft
