// Damage to a data directory, by a broken disk or by mistake: the rows of docs/decisions/0002. In
// each case the member must either not start, or repair the directory without losing anything that
// was synced. It must never start with a shortened log.

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "storage/data_dir/data_dir.h"
#include "storage/engine/rocks_engine.h"
#include "tests/storage/jobs.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Files(const std::string& dir, const std::string& extension) {
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
    if (entry.path().extension() == extension) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void FlipByte(const std::string& path, uint64_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const char byte = static_cast<char>(file.get() ^ 0x40);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(byte);
  ASSERT_TRUE(file.good());
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Of all files in the directory, by path.
std::map<std::string, std::string> Contents(const std::string& dir) {
  std::map<std::string, std::string> contents;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(dir)) {
    contents[entry.path().string()] = entry.is_directory() ? "" : ReadAll(entry.path().string());
  }
  return contents;
}

void Overwrite(const std::string& path, uint64_t at, const std::string& bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file << bytes;
  ASSERT_TRUE(file.good());
}

class DamageTest : public testing::Test {
 protected:
  // A process writes and syncs kLogEntries entries. Then it is killed.
  DamageTest() { RunJobAndKill("fill-data-dir", dir_.path()); }

  virtual DataDirOptions Options() const { return TestDirOptions(dir_.path()); }
  absl::StatusOr<DataDir> Open() const { return OpenDataDir(Options()); }

  // What --check-config says. It changes nothing.
  auto Check() const {
    const auto before = Contents(dir_.path());
    auto checked = CheckDataDir(Options());
    EXPECT_EQ(Contents(dir_.path()), before);
    return checked;
  }

  void ExpectRejected() {
    // Open it twice: the first attempt must not leave a shortened log that the second one accepts.
    for (int attempt = 0; attempt < 2; ++attempt) {
      const absl::Status checked = Check().status();
      const absl::Status status = Open().status();
      EXPECT_EQ(checked, status);
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_NE(status.message().find(dir_.path()), std::string::npos) << status;
      // The message names an existing command, and no step that destroys the only copy of the data.
      EXPECT_NE(status.message().find("keep a copy of this directory"), std::string::npos)
          << status;
      EXPECT_NE(status.message().find("raftkv member replace"), std::string::npos) << status;
      EXPECT_EQ(status.message().find("wipe"), std::string::npos) << status;
      EXPECT_EQ(status.message().find('\n'), std::string::npos) << status;
    }
  }
  void ExpectWhole(size_t warnings) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      const auto checked = Check();
      ASSERT_TRUE(checked.ok()) << checked.status();
      EXPECT_EQ(checked->last_index, kLogEntries);
      EXPECT_EQ(checked->warnings.size(), attempt == 0 ? warnings : 0);
      absl::StatusOr<DataDir> dir = Open();
      ASSERT_TRUE(dir.ok()) << dir.status();
      EXPECT_EQ(dir->log->last_index(), kLogEntries);
      EXPECT_EQ(dir->warnings.size(), attempt == 0 ? warnings : 0);
      EXPECT_EQ(dir->log->Entries(1, kLogEntries, SIZE_MAX).size(), kLogEntries);
    }
  }
  // Everything is applied and flushed, and the log has lost its last entry.
  void LoseWhatIsApplied(const std::function<absl::StatusOr<DataDir>()>& open) {
    {
      absl::StatusOr<DataDir> dir = open();
      ASSERT_TRUE(dir.ok()) << dir.status();
      dir->log->AllowVoting();
      const raft::Index applied = dir->state->applied().index;
      dir->state->Apply(dir->log->Entries(applied + 1, kLogEntries, SIZE_MAX));
      dir->state->Flush();
      dir->log->Save(std::nullopt, {MakeEntry(1, kLogEntries + 1, PutCommand("a", "b"))});
      dir->state->Apply(dir->log->Entries(kLogEntries + 1, kLogEntries + 1, SIZE_MAX));
      dir->state->Flush();
    }
    const std::string wal = Files(dir_ / "log", ".log").back();
    fs::resize_file(wal, fs::file_size(wal) - 10);
  }
  // The only write-ahead log file of log/ that holds anything: nothing was flushed.
  std::string Wal() const {
    std::string largest;
    for (const std::string& file : Files(dir_ / "log", ".log")) {
      if (largest.empty() || fs::file_size(file) > fs::file_size(largest)) largest = file;
    }
    CHECK(!largest.empty());
    return largest;
  }

  TempDir dir_;
};

// In a cluster of several members, a log that has lost its end is repaired by the others.
class DamageOfOneOfThree : public DamageTest {
 protected:
  DataDirOptions Options() const override {
    DataDirOptions options = TestDirOptions(dir_.path());
    options.has_peers = true;
    return options;
  }
  void ExpectRepairable(raft::Index first) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      const auto checked = Check();
      ASSERT_TRUE(checked.ok()) << checked.status();
      EXPECT_NE(checked->text.find("can be repaired"), std::string::npos) << checked->text;
      absl::StatusOr<DataDir> dir = Open();
      ASSERT_TRUE(dir.ok()) << dir.status();
      EXPECT_EQ(checked->warnings, dir->warnings);
      ASSERT_TRUE(dir->log->lost());
      EXPECT_EQ(dir->log->lost()->first, first);
      EXPECT_EQ(dir->log->lost()->last.index, kLogEntries);
      EXPECT_FALSE(dir->log->may_vote());
      ASSERT_FALSE(dir->warnings.empty());
      EXPECT_NE(dir->warnings.back().find("does not vote before it has them"), std::string::npos);
    }
  }
};

TEST_F(DamageOfOneOfThree, WalCutByTenBytes) {
  fs::resize_file(Wal(), fs::file_size(Wal()) - 10);
  const raft::Index first = Open()->log->last_index() + 1;
  EXPECT_LE(first, kLogEntries);
  ExpectRepairable(first);
}

TEST_F(DamageOfOneOfThree, ByteFlippedInTheLastRecord) {
  FlipByte(Wal(), fs::file_size(Wal()) - 20);
  absl::StatusOr<DataDir> dir = Open();
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_EQ(dir->warnings.size(), 2u) << "cut off, and to be repaired";
  const raft::Index first = dir->log->last_index() + 1;
  dir = absl::UnavailableError("closed");
  ExpectRepairable(first);
}

// What is left ends before the applied entry, so nobody can repair it. The operator may still have
// a use for the damaged log.
TEST_F(DamageOfOneOfThree, ByteFlippedBeforeTheAppliedEntryLeavesTheLogAsItIs) {
  FlipByte(Wal(), fs::file_size(Wal()) / 10);
  const std::vector<std::string> files = Files(dir_ / "log", ".log");
  const std::string wal = Wal(), before = ReadAll(wal);
  ExpectRejected();
  EXPECT_EQ(Files(dir_ / "log", ".log"), files);
  EXPECT_EQ(Wal(), wal);
  EXPECT_EQ(ReadAll(wal), before);
  EXPECT_FALSE(fs::exists(dir_ / "log.salvage"));
}

// Half of the entries are applied, and their chain hash is gone with the log.
TEST_F(DamageOfOneOfThree, WalDeleted) {
  fs::remove(Wal());
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(status.message().find("entries 1 to"), std::string::npos) << status;
}

// The state has all entries up to the mark, but the member may have acknowledged later ones: the
// mark may be old.
TEST_F(DamageOfOneOfThree, WhatIsAppliedIsNotMissingButTheMemberDoesNotVote) {
  LoseWhatIsApplied([this] { return Open(); });
  const auto checked = Check();
  ASSERT_TRUE(checked.ok()) << checked.status();
  absl::StatusOr<DataDir> dir = Open();
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_FALSE(dir->log->lost());
  EXPECT_FALSE(dir->log->may_vote());
  EXPECT_EQ(dir->log->last_index(), kLogEntries + 1);
  ASSERT_EQ(dir->warnings.size(), 1u);
  EXPECT_NE(dir->warnings[0].find("the state has them"), std::string::npos) << dir->warnings[0];
  EXPECT_NE(dir->warnings[0].find("does not vote until"), std::string::npos) << dir->warnings[0];
  EXPECT_EQ(checked->warnings, dir->warnings);
}

TEST_F(DamageTest, TheOnlyVoterVotesIfNothingIsMissing) {
  LoseWhatIsApplied([this] { return Open(); });
  absl::StatusOr<DataDir> dir = Open();
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_TRUE(dir->log->may_vote());
  EXPECT_EQ(dir->log->last_index(), kLogEntries + 1);
  ASSERT_EQ(dir->warnings.size(), 1u);
  EXPECT_EQ(dir->warnings[0].find("does not vote"), std::string::npos) << dir->warnings[0];
}

TEST_F(DamageTest, NoneAfterAKill) { ExpectWhole(/*warnings=*/0); }

TEST_F(DamageTest, ByteFlippedInTheMiddleOfTheWal) {
  FlipByte(Wal(), fs::file_size(Wal()) / 2);
  ExpectRejected();
}

TEST_F(DamageTest, ByteFlippedInTheLastRecord) {
  FlipByte(Wal(), fs::file_size(Wal()) - 20);
  ExpectRejected();
}

TEST_F(DamageTest, WalCutByTenBytes) {
  fs::resize_file(Wal(), fs::file_size(Wal()) - 10);
  ExpectRejected();
}

TEST_F(DamageTest, WalCutInHalf) {
  fs::resize_file(Wal(), fs::file_size(Wal()) / 2);
  ExpectRejected();
}

TEST_F(DamageTest, LastFourKibibytesOfTheWalZeroed) {
  Overwrite(Wal(), fs::file_size(Wal()) - 4096, std::string(4096, '\0'));
  ExpectRejected();
}

TEST_F(DamageTest, WalDeleted) {
  fs::remove(Wal());
  ExpectRejected();
}

TEST_F(DamageTest, NewestWalDeletedWhileOlderFilesStay) {
  ASSERT_TRUE(Open().ok());  // recovery moves the first entries into a table file
  RunJobAndKill("fill-data-dir", dir_.path());
  ASSERT_FALSE(Files(dir_ / "log", ".sst").empty());
  fs::remove(Wal());
  ExpectRejected();
}

TEST_F(DamageTest, ByteFlippedInATableFileOfTheLog) {
  ASSERT_TRUE(Open().ok());
  const std::vector<std::string> tables = Files(dir_ / "log", ".sst");
  ASSERT_FALSE(tables.empty());
  FlipByte(tables.front(), fs::file_size(tables.front()) / 3);
  ExpectRejected();
}

TEST_F(DamageTest, TableFileOfTheLogDeleted) {
  ASSERT_TRUE(Open().ok());
  fs::remove(Files(dir_ / "log", ".sst").front());
  ExpectRejected();
}

TEST_F(DamageTest, WholeLogDeleted) {
  fs::remove_all(dir_ / "log");
  ExpectRejected();
}

TEST_F(DamageTest, WatermarkDeletedOrDestroyed) {
  Overwrite(dir_ / "log/WATERMARK", 0, std::string(8192, 'x'));
  ExpectRejected();
  fs::remove(dir_ / "log/WATERMARK");
  ExpectRejected();
}

TEST_F(DamageTest, OldCopyOfTheLogPutBack) {
  ASSERT_TRUE(Open().ok());
  fs::copy(dir_ / "log", dir_ / "log.old", fs::copy_options::recursive);
  RunJobAndKill("fill-data-dir", dir_.path());
  // The old copy contains its own old watermark, so the log seems intact. But the state machine has
  // applied more.
  fs::remove_all(dir_ / "log");
  fs::rename(dir_ / "log.old", dir_ / "log");
  ExpectRejected();
}

TEST_F(DamageTest, ZerosAfterTheLastRecordAreSalvaged) {
  std::ofstream(Wal(), std::ios::app | std::ios::binary) << std::string(4096, '\0');
  ExpectWhole(/*warnings=*/0);
}

TEST_F(DamageTest, GarbageAfterTheLastRecordIsCutOff) {
  std::string garbage(5000, '\0');
  for (size_t i = 0; i < garbage.size(); ++i) garbage[i] = static_cast<char>(i * 131 >> 3);
  std::ofstream(Wal(), std::ios::app | std::ios::binary) << garbage;
  ExpectWhole(/*warnings=*/0);
}

// A record's header reached the disk, but not its data. RocksDB does not open this log, so a copy
// is salvaged.
TEST_F(DamageTest, RecordWithoutItsDataAfterTheLastRecordIsSalvaged) {
  const std::string header("\x12\x34\x56\x78\x64\x00\x01", 7);  // CRC, length 100, a full record
  std::ofstream(Wal(), std::ios::app | std::ios::binary) << header << std::string(1000, '\0');
  ExpectWhole(/*warnings=*/1);
}

// Salvage helps only if the log ends in garbage. A copy of a large log takes long and needs space.
TEST_F(DamageTest, OtherDamageMakesNoCopyOfTheLog) {
  const auto changed = fs::last_write_time(dir_.path());
  fs::resize_file(Wal(), fs::file_size(Wal()) / 2);
  ExpectRejected();
  Overwrite(dir_ / "log/WATERMARK", 0, std::string(8192, 'x'));
  ExpectRejected();
  EXPECT_EQ(fs::last_write_time(dir_.path()), changed) << "nothing was created beside the log";
}

// The salvaged log shares the files that never change.
TEST_F(DamageTest, SalvageCopiesNoTableFiles) {
  {
    auto engine = OpenRocksEngine({.dir = dir_ / "log", .durability = Durability::kSynced});
    ASSERT_TRUE(engine.ok()) << engine.status();
    (*engine)->Flush();
  }
  const std::vector<std::string> tables = Files(dir_ / "log", ".sst");
  ASSERT_FALSE(tables.empty());
  struct stat before, after;
  ASSERT_EQ(stat(tables[0].c_str(), &before), 0);
  const std::string header("\x12\x34\x56\x78\x64\x00\x01", 7);
  std::ofstream(Files(dir_ / "log", ".log").back(), std::ios::app | std::ios::binary)
      << header << std::string(1000, '\0');
  ExpectWhole(/*warnings=*/1);
  ASSERT_EQ(stat(tables[0].c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
}

// --- the state machine: nothing is lost with it as long as the log is complete
TEST_F(DamageTest, StateMachineWithAFlippedByteStopsTheReaderAndIsThenRebuilt) {
  const std::vector<std::string> tables = Files(dir_ / "sm", ".sst");
  ASSERT_FALSE(tables.empty());
  // The damage is among the versions. Opening reads only the state record, so it does not notice.
  FlipByte(tables.front(), fs::file_size(tables.front()) * 2 / 3);
  const int status = RunJob("read-everything", dir_.path());
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 66) << status;
  absl::StatusOr<DataDir> dir = Open();
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_EQ(dir->state->applied().index, 0u);
  ASSERT_EQ(dir->warnings.size(), 1u);
  EXPECT_NE(dir->warnings[0].find("repaired"), std::string::npos) << dir->warnings[0];
  dir->state->Apply(dir->log->Entries(1, kLogEntries, SIZE_MAX));
  EXPECT_EQ(dir->state->revision(), static_cast<Revision>(kLogEntries) + 1);
}

TEST_F(DamageTest, StateMachineWithAFlippedByteWhereOpeningReadsIsRebuilt) {
  const std::vector<std::string> tables = Files(dir_ / "sm", ".sst");
  ASSERT_FALSE(tables.empty());
  FlipByte(tables.front(), 100);
  absl::StatusOr<DataDir> dir = Open();
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_EQ(dir->state->applied().index, 0u);
  EXPECT_EQ(dir->warnings.size(), 1u);
}

TEST_F(DamageTest, DataAndAppliedIndexAgreeAfterAKill) {
  absl::StatusOr<DataDir> dir = Open();
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_EQ(dir->state->applied().index, kLogEntries / 2 + 1);
  EXPECT_EQ(dir->state->revision(), static_cast<Revision>(kLogEntries / 2) + 2);
  etcdserverpb::RangeRequest request;
  request.set_key("a");
  request.set_range_end("z");
  etcdserverpb::RangeResponse response;
  ASSERT_TRUE(dir->state->Snapshot()->Range(request, Limits(), &response).ok());
  int64_t newest = 0, versions = 0;
  for (const mvccpb::KeyValue& kv : response.kvs()) {
    newest = std::max(newest, kv.mod_revision());
    versions += kv.version();
  }
  EXPECT_EQ(newest, dir->state->revision());
  EXPECT_EQ(versions, dir->state->revision() - 1) << "each entry was one put";
}

TEST_F(DamageTest, StateMachineDeletedIsRebuilt) {
  fs::remove_all(dir_ / "sm");
  const auto checked = Check();
  ASSERT_TRUE(checked.ok()) << checked.status();
  ASSERT_EQ(checked->warnings.size(), 1u);
  EXPECT_NE(checked->warnings[0].find("a start rebuilds it from the log, entries 1 to "),
            std::string::npos)
      << checked->warnings[0];
  absl::StatusOr<DataDir> dir = Open();
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_EQ(dir->state->applied().index, 0u);
  EXPECT_EQ(dir->warnings.size(), 1u);
}

TEST_F(DamageTest, StateMachineDamagedIsLostWhenTheLogWasCut) {
  {
    absl::StatusOr<DataDir> dir = Open();
    ASSERT_TRUE(dir.ok());
    dir->log->Cut(100);
  }
  fs::remove_all(dir_ / "sm");
  ExpectRejected();
}

TEST_F(DamageTest, StateMachineAheadOfItsLogMeansThatTheLogLostEntries) {
  {
    absl::StatusOr<DataDir> dir = Open();
    ASSERT_TRUE(dir.ok());
    std::vector<raft::Entry> entries =
        dir->log->Entries(dir->state->applied().index + 1, kLogEntries, SIZE_MAX);
    entries.push_back(MakeEntry(1, kLogEntries + 1, PutCommand("a", "b")));
    dir->state->Apply(entries);
    dir->state->Flush();
  }
  ExpectRejected();
}

// --- a disk that answers EIO
TEST(FailedSync, OfTheLogEndsTheProcess) {
  TempDir dir;
  const int status = RunJob("fail-log-sync", dir / "db");
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
}

TEST(FailedSync, OfABackgroundFlushEndsTheProcess) {
  TempDir dir;
  const int status = RunJob("fail-flush", dir / "db");
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
}

}  // namespace
}  // namespace raftkv
