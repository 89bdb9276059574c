// Snapshots as files: taken from one data directory, received and installed in another, interrupted
// at each step.

#include "storage/data_dir/state_dirs.h"

#include <filesystem>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "storage/base/checksum.h"
#include "storage/base/disk_space.h"
#include "storage/data_dir/data_dir.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

class StateDirsTest : public testing::Test {
 protected:
  StateDirsTest() {
    from_ = OpenDir("from", 1);
    to_ = OpenDir("to", 2);
    for (int i = 1; i <= 50; ++i) {
      const auto entry = MakeEntry(1, i, PutCommand("key" + std::to_string(i % 7), "value"));
      from_.log->Save(raft::HardState{1, 1, 0}, {entry});
      from_.state->Apply({&entry, 1});
    }
    const auto old = MakeEntry(1, 1, PutCommand("old", "value"));
    to_.log->Save(raft::HardState{1, 1, 0}, {old});
    to_.state->Apply({&old, 1});
  }

  DataDir OpenDir(const std::string& name, raft::MemberId id) {
    absl::StatusOr<DataDir> dir = OpenDataDir({.dir = (dir_ / name),
                                               .cluster_id = 9,
                                               .cluster_name = "c",
                                               .member_id = id,
                                               .member_name = name});
    CHECK(dir.ok()) << dir.status();
    return *std::move(dir);
  }
  std::unique_ptr<TakenSnapshot> Take(SnapshotManifest* manifest) {
    auto taken = from_.states->Take(*from_.state);
    CHECK(taken.ok()) << taken.status();
    *manifest = (*taken)->manifest();
    manifest->base.chain_hash = from_.log->ChainHash(manifest->base.id.index);
    return *std::move(taken);
  }
  // Sends all chunks, of at most `bytes`.
  absl::Status Copy(const TakenSnapshot& taken, SnapshotWriter* writer, size_t bytes = 1000) {
    for (size_t file = 0; file < taken.manifest().files.size(); ++file) {
      for (uint64_t at = 0; at < taken.manifest().files[file].size;) {
        const auto data = taken.Read(file, at, bytes);
        if (!data.ok()) return data.status();
        if (auto s = writer->Write(file, at, *data, Crc32c(*data)); !s.ok()) return s;
        at += data->size();
      }
    }
    return absl::OkStatus();
  }
  std::unique_ptr<ReceivedSnapshot> Receive() {
    SnapshotManifest manifest;
    const auto taken = Take(&manifest);
    auto writer = to_.states->Receive(manifest);
    CHECK(writer.ok()) << writer.status();
    CHECK(Copy(*taken, writer->get()).ok());
    auto received = to_.states->Accept(*std::move(writer));
    CHECK(received.ok()) << received.status();
    return *std::move(received);
  }
  void ReopenTo() {
    to_ = DataDir();
    to_ = OpenDir("to", 2);
  }
  // The removal runs in the background.
  void AwaitEntries(const std::string& name, size_t number) {
    for (int i = 0; i < 2000 && Entries(name) != number; ++i) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    EXPECT_EQ(Entries(name), number);
  }
  size_t Entries(const std::string& name) {
    return std::distance(fs::directory_iterator((dir_ / name)), fs::directory_iterator());
  }
  void ExpectInstalled() {
    EXPECT_EQ(to_.state->applied(), from_.state->applied());
    EXPECT_EQ(to_.state->digest(), from_.state->digest());
    EXPECT_EQ(*to_.state->Snapshot()->Hash(), *from_.state->Snapshot()->Hash());
    EXPECT_EQ(to_.log->first_index(), 51u);
    EXPECT_EQ(to_.log->ChainHash(50), from_.log->ChainHash(50));
  }

  TempDir dir_;
  DataDir from_, to_;
};

TEST_F(StateDirsTest, SnapshotTakesThePlaceOfStateAndLog) {
  const size_t entries = Entries("to");
  auto pinned = to_.state->Snapshot();
  std::unique_ptr<ReceivedSnapshot> received = Receive();
  const LogStore::Tip base = received->base();
  std::unique_ptr<StateMachine> state = to_.states->Replace(std::move(received));
  to_.log->Reset(base);
  to_.states->Replaced();
  to_.state->Install(std::move(state));
  ExpectInstalled();
  EXPECT_EQ(pinned->revision(), 2) << "a reader keeps what it pinned";
  EXPECT_EQ(*pinned->Hash(), *pinned->Hash());
  EXPECT_EQ(Entries("to"), entries + 2) << "CURRENT, and the old state until the reader lets go";
  pinned.reset();
  AwaitEntries("to", entries + 1);
  EXPECT_EQ(Entries("from"), entries) << "the checkpoint is removed";
  ReopenTo();
  ExpectInstalled();
}

TEST_F(StateDirsTest, StartAfterACrashAtEachStep) {
  for (int steps = 0; steps <= 3; ++steps) {
    SCOPED_TRACE(steps);
    fs::remove_all((dir_ / "to"));
    to_ = DataDir();
    fs::remove_all((dir_ / "to"));
    to_ = OpenDir("to", 2);
    const auto old = MakeEntry(1, 1, PutCommand("old", "value"));
    to_.log->Save(raft::HardState{1, 1, 0}, {old});
    std::unique_ptr<ReceivedSnapshot> received = Receive();
    const LogStore::Tip base = received->base();
    std::unique_ptr<StateMachine> state;
    if (steps >= 1) state = to_.states->Replace(std::move(received));
    if (steps >= 2) to_.log->Reset(base);
    if (steps >= 3) to_.states->Replaced();
    state.reset();
    received.reset();
    ReopenTo();
    if (steps == 0) {
      EXPECT_EQ(to_.log->last_index(), 1u);
    } else {
      ExpectInstalled();
      EXPECT_FALSE(to_.states->resume());
    }
  }
}

TEST_F(StateDirsTest, LeftoversAreRemovedAtTheNextStart) {
  const size_t entries = Entries("to");
  fs::create_directory((dir_ / "to/sm-0123456789abcdef"));
  fs::create_directory((dir_ / "to/snapshot-0123456789abcdef.tmp"));
  ReopenTo();
  EXPECT_EQ(Entries("to"), entries);
}

TEST_F(StateDirsTest, WhatArrivesInAnotherOrderOrDamagedIsNotTaken) {
  SnapshotManifest manifest;
  const auto taken = Take(&manifest);
  auto writer = *to_.states->Receive(manifest);
  const std::string data = *taken->Read(0, 0, 10);
  EXPECT_TRUE(absl::IsInvalidArgument(writer->Write(1, 0, data, Crc32c(data))));
  EXPECT_TRUE(absl::IsInvalidArgument(writer->Write(0, 5, data, Crc32c(data))));
  EXPECT_TRUE(absl::IsDataLoss(writer->Write(0, 0, data, Crc32c(data) + 1)));
  EXPECT_TRUE(absl::IsInvalidArgument(writer->Finish())) << "not complete";
  EXPECT_TRUE(absl::IsInvalidArgument(
      writer->Write(0, 0, std::string(manifest.files[0].size + 1, 'x'), 0)));

  manifest.digest ^= 1;
  writer = *to_.states->Receive(manifest);
  ASSERT_TRUE(Copy(*taken, writer.get()).ok());
  EXPECT_TRUE(absl::IsDataLoss(to_.states->Accept(std::move(writer)).status()));
  const size_t entries = Entries("to");
  ReopenTo();
  EXPECT_EQ(Entries("to"), entries) << "nothing was left";
}

TEST(SnapshotManifest, NamesNoPath) {
  const auto with = [](const std::string& name) {
    SnapshotManifest manifest;
    manifest.files = {{"CURRENT", 16}, {name, 1}};
    return CheckManifest(manifest);
  };
  for (const char* good : {"000012.sst", "000013.blob", "MANIFEST-000005", "OPTIONS-000007"}) {
    EXPECT_TRUE(with(good).ok()) << good;
  }
  for (const std::string& bad :
       {std::string("../x.sst"), std::string("/etc/1.sst"), std::string(".sst"), std::string(""),
        std::string("CURRENT"), std::string("1.sst/2.sst"), std::string("1.log"),
        std::string("MANIFEST-"), std::string("MANIFEST-1/"), std::string("1\0.sst", 6),
        std::string(300, '1') + ".sst", std::string("x.blob"), std::string(".blob")}) {
    EXPECT_FALSE(with(bad).ok()) << bad;
  }
  EXPECT_FALSE(CheckManifest({}).ok()) << "no CURRENT";
}

// Each would fit alone.
TEST_F(StateDirsTest, TwoSnapshotsAtOnceDoNotCountTheSameSpace) {
  SnapshotManifest manifest;
  const auto taken = Take(&manifest);
  manifest.files = {{"CURRENT", 1}, {"000001.sst", ReadDiskSpace(dir_.path())->free_bytes / 5 * 3}};
  auto first = to_.states->Receive(manifest);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(absl::IsResourceExhausted(to_.states->Receive(manifest).status()));
  first->reset();
  EXPECT_TRUE(to_.states->Receive(manifest).ok());
}

}  // namespace
}  // namespace raftkv
