#include "storage/data_dir/data_dir.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "storage/base/checksum.h"
#include "storage/data_dir/removal.h"
#include "storage/engine/rocks_engine.h"
#include "storage/rules/members.h"
#include "storage/tables/state.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

class DataDirTest : public testing::Test {
 protected:
  DataDirTest() : options_(TestDirOptions(dir_ / "a/b")) {}

  std::string Read(const std::string& name) const {
    std::ostringstream out;
    out << std::ifstream(options_.dir + "/" + name).rdbuf();
    return out.str();
  }
  void ExpectError(absl::StatusCode code, const std::string& part) const {
    const absl::Status status = OpenDataDir(options_).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(status.message().find(part), std::string::npos) << status;
    EXPECT_NE(status.message().find(options_.dir), std::string::npos) << status;
    EXPECT_EQ(status.message().find('\n'), std::string::npos) << status;
  }

  TempDir dir_;
  DataDirOptions options_;
};

TEST_F(DataDirTest, FirstOpenCreatesAnIdentityThatStays) {
  std::string store_id;
  {
    absl::StatusOr<DataDir> dir = OpenDataDir(options_);
    ASSERT_TRUE(dir.ok()) << dir.status();
    store_id = dir->identity.store_id;
    EXPECT_EQ(store_id.size(), 16u);
    EXPECT_FALSE(dir->log->may_vote());
    EXPECT_EQ(dir->log->last_index(), 0u);
    EXPECT_EQ(dir->state->revision(), 1);
    struct stat info;
    ASSERT_EQ(stat(options_.dir.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u) << "nobody else reads the data";
  }
  absl::StatusOr<DataDir> dir = OpenDataDir(options_);
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_EQ(dir->identity.store_id, store_id);
  EXPECT_EQ(dir->identity.member_name, "n1");
  EXPECT_EQ(dir->identity.cluster_name, "demo");
}

TEST_F(DataDirTest, WhatWasSavedIsThereAgain) {
  const raft::HardState hard_state{.current_term = 4, .voted_for = 1, .commit_index = 1};
  {
    absl::StatusOr<DataDir> dir = OpenDataDir(options_);
    ASSERT_TRUE(dir.ok()) << dir.status();
    dir->log->Save(hard_state,
                   {MakeEntry(4, 1, PutCommand("k", "v")), MakeEntry(4, 2, PutCommand("k", "w"))});
    // Entries are replaced, so the watermark must be lowered with the log.
    dir->log->Save(std::nullopt, {MakeEntry(4, 1, PutCommand("k", "x"))});
    dir->state->Apply(dir->log->Entries(1, 1, 0));
    dir->state->Flush();
  }
  absl::StatusOr<DataDir> dir = OpenDataDir(options_);
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_EQ(dir->log->hard_state(), hard_state);
  EXPECT_EQ(dir->log->last_index(), 1u);
  EXPECT_EQ(dir->state->applied(), (raft::EntryId{.term = 4, .index = 1}));
  EXPECT_EQ(dir->state->revision(), 2);
  EXPECT_TRUE(dir->warnings.empty()) << dir->warnings[0];
}

TEST_F(DataDirTest, ASecondProcessIsToldWhoUsesIt) {
  absl::StatusOr<DataDir> dir = OpenDataDir(options_);
  ASSERT_TRUE(dir.ok());
  ExpectError(absl::StatusCode::kFailedPrecondition, "process " + std::to_string(getpid()));
}

TEST_F(DataDirTest, AnotherClustersOrMembersDirectoryIsRejected) {
  ASSERT_TRUE(OpenDataDir(options_).ok());
  options_.member_id = 2;
  options_.member_name = "n2";
  ExpectError(
      absl::StatusCode::kFailedPrecondition,
      "belongs to member \"n1\" (1), not to \"n2\" (2); start it with -n n1, or set data_dir");
  EXPECT_EQ(CheckDataDir(options_).status(), OpenDataDir(options_).status());
  options_.cluster_id = 0xc2;
  options_.cluster_name = "other";
  ExpectError(absl::StatusCode::kFailedPrecondition, "belongs to cluster \"demo\" (c1)");
  EXPECT_EQ(CheckDataDir(options_).status(), OpenDataDir(options_).status());
}

// The config file of a started cluster was edited. The remedy is never a new directory: with one on
// every member, the cluster would be empty.
TEST_F(DataDirTest, AnEditedConfigIsToBeRestored) {
  ASSERT_TRUE(OpenDataDir(options_).ok());
  options_.cluster_id = 0xc2;  // a member or a peer URL was changed
  ExpectError(absl::StatusCode::kFailedPrecondition, "not to one with other members (c2)");
  EXPECT_EQ(OpenDataDir(options_).status().message().find("data_dir"), std::string::npos);
  EXPECT_EQ(CheckDataDir(options_).status(), OpenDataDir(options_).status());
  options_.cluster_name = "renamed";
  ExpectError(absl::StatusCode::kFailedPrecondition, "if the config file was edited, restore it");
}

TEST_F(DataDirTest, ACheckChangesNothing) {
  const auto text = [&] {
    const auto checked = CheckDataDir(options_);
    return checked.ok() ? checked->text : checked.status().ToString();
  };
  EXPECT_EQ(text(), options_.dir + " does not exist: the first start creates it");
  EXPECT_FALSE(fs::exists(dir_ / "a"));
  {
    const absl::StatusOr<DataDir> dir = OpenDataDir(options_);
    ASSERT_TRUE(dir.ok()) << dir.status();
    EXPECT_EQ(text(), options_.dir + " belongs to this member; log not read: in use by process " +
                          std::to_string(getpid()));
  }
  EXPECT_EQ(text(), options_.dir + " belongs to this member, and its log is intact, up to entry 0");
  fs::rename(options_.dir + "/INITIALIZED", dir_ / "INITIALIZED");
  EXPECT_EQ(text(),
            options_.dir + " belongs to this member; log not read: its first start did not end");
  fs::rename(dir_ / "INITIALIZED", options_.dir + "/INITIALIZED");
  fs::remove(options_.dir + "/IDENTITY");
  EXPECT_EQ(CheckDataDir(options_).status(), OpenDataDir(options_).status());
  options_.dir = options_.dir + "/IDENTITY.tmp/b";
  std::ofstream(dir_ / "a/b/IDENTITY.tmp") << "a file where a directory should be";
  const absl::Status no_directory = OpenDataDir(options_).status();
  EXPECT_EQ(no_directory,
            absl::UnavailableError(dir_ / "a/b/IDENTITY.tmp" + ": is not a directory"));
  EXPECT_EQ(CheckDataDir(options_).status(), no_directory);
  EXPECT_EQ(ReadIdentity(options_.dir).status(), no_directory);
}

// A name may be as long as the config file allows.
TEST_F(DataDirTest, ALongClusterNameIsReadBack) {
  options_.cluster_name = std::string(5000, 'c');
  ASSERT_TRUE(OpenDataDir(options_).ok());
  const absl::Status again = OpenDataDir(options_).status();
  EXPECT_TRUE(again.ok()) << again;
}

TEST_F(DataDirTest, NewerFormatIsRejected) {
  ASSERT_TRUE(OpenDataDir(options_).ok());
  std::string text = Read("IDENTITY");
  text.replace(text.find("format_version 1"), 16, "format_version 9");
  text.resize(text.find("crc32c"));
  char crc[32];
  std::snprintf(crc, sizeof(crc), "crc32c %08x\n", Crc32c(text));
  std::ofstream(options_.dir + "/IDENTITY") << text << crc;
  ExpectError(absl::StatusCode::kFailedPrecondition, "newer");
}

TEST_F(DataDirTest, DamagedOrMissingIdentityIsDamage) {
  ASSERT_TRUE(OpenDataDir(options_).ok());
  std::string text = Read("IDENTITY");
  text[text.find("demo")] = 'D';
  std::ofstream(options_.dir + "/IDENTITY") << text;
  ExpectError(absl::StatusCode::kDataLoss, "IDENTITY");
  fs::remove(options_.dir + "/IDENTITY");
  ExpectError(absl::StatusCode::kDataLoss, "IDENTITY");
}

TEST_F(DataDirTest, InterruptedFirstOpenIsContinued) {
  ASSERT_TRUE(OpenDataDir(options_).ok());
  const std::string identity = Read("IDENTITY");
  fs::remove(options_.dir + "/INITIALIZED");  // as if killed just before
  fs::remove_all(options_.dir + "/sm");
  ASSERT_TRUE(OpenDataDir(options_).ok());
  EXPECT_EQ(Read("IDENTITY"), identity);
  EXPECT_TRUE(fs::exists(options_.dir + "/INITIALIZED"));
}

// The first start was killed after it had created the file, or in its first bytes.
TEST_F(DataDirTest, AnUnfinishedWatermarkOfTheFirstStartIsWrittenAgain) {
  for (const size_t bytes : {0, 40, 84, 4096, 4180}) {
    ASSERT_TRUE(OpenDataDir(options_).ok());
    fs::remove(options_.dir + "/INITIALIZED");
    for (const fs::directory_entry& file : fs::directory_iterator(options_.dir + "/log")) {
      fs::remove(file.path());
    }
    std::ofstream(options_.dir + "/log/WATERMARK") << std::string(bytes, '\0');
    const absl::Status status = OpenDataDir(options_).status();
    EXPECT_TRUE(status.ok()) << bytes << ": " << status;
  }
  // The log was created, so its watermark must be whole.
  fs::remove(options_.dir + "/INITIALIZED");
  std::ofstream(options_.dir + "/log/WATERMARK") << std::string(4180, '\0');
  ExpectError(absl::StatusCode::kDataLoss, "WATERMARK");
}

TEST_F(DataDirTest, WhatIsNotOursIsLeftAlone) {
  fs::create_directories(options_.dir + "/member/snap");  // as etcd's
  ExpectError(absl::StatusCode::kFailedPrecondition, "\"member\"");
  ExpectError(absl::StatusCode::kFailedPrecondition, "choose another data_dir");
  EXPECT_FALSE(fs::exists(options_.dir + "/LOCK")) << "nothing is left behind";
  EXPECT_FALSE(fs::exists(options_.dir + "/log"));
  fs::remove_all(options_.dir + "/member");
  std::ofstream(options_.dir + "/.profile") << "somebody's home";
  ExpectError(absl::StatusCode::kFailedPrecondition, "\".profile\"");
  fs::remove(options_.dir + "/.profile");
  fs::create_directory(options_.dir + "/lost+found");
  EXPECT_TRUE(OpenDataDir(options_).ok()) << "a file system of its own";
  std::ofstream(options_.dir + "/notes") << "ours by now";
  EXPECT_TRUE(OpenDataDir(options_).ok());
}

TEST_F(DataDirTest, FirstOpenKilledBeforeItsIdentityIsContinued) {
  fs::create_directories(options_.dir);
  std::ofstream(options_.dir + "/LOCK") << "1\n";
  std::ofstream(options_.dir + "/IDENTITY.tmp") << "format_ver";
  EXPECT_TRUE(OpenDataDir(options_).ok());
}

TEST_F(DataDirTest, AnotherFormatOfTheStateMachineNamesTheDirectory) {
  ASSERT_TRUE(OpenDataDir(options_).ok());
  {
    auto engine =
        OpenRocksEngine({.dir = options_.dir + "/sm", .durability = Durability::kFlushed});
    ASSERT_TRUE(engine.ok()) << engine.status();
    std::string record;
    for (int i = 0; i < 9; ++i) PutFixed64(&record, 99);
    PutFixed32(&record, Crc32c(record));
    WriteBatch batch;
    batch.Put("m", record);
    (*engine)->Write(batch, /*sync=*/false);
    (*engine)->Flush();
  }
  ExpectError(absl::StatusCode::kFailedPrecondition, "/sm: state machine: its format is 99");
}

// The cluster does not accept a member that has voted with an empty directory, so the message does
// not suggest one.
TEST(StateRecord, OfAnOlderFormatNamesWhatWorks) {
  std::string record;
  for (int i = 0; i < 9; ++i) PutFixed64(&record, 2);
  PutFixed32(&record, Crc32c(record));
  State state;
  const absl::Status status = DecodeState(record, &state);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("raftkv member replace"), std::string::npos) << status;
  EXPECT_EQ(status.message().find("empty directory"), std::string::npos) << status;
}

TEST_F(DataDirTest, AnInterruptedSalvageIsRemoved) {
  ASSERT_TRUE(OpenDataDir(options_).ok());
  fs::create_directories(options_.dir + "/log.salvage");
  std::ofstream(options_.dir + "/log.salvage/000004.log") << "half a copy";
  absl::StatusOr<DataDir> dir = OpenDataDir(options_);
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_FALSE(fs::exists(options_.dir + "/log.salvage"));
}

// Entries 1 to 3: the members 1 and 2 are added, and 1 is removed.
std::vector<raft::Entry> EntriesThatRemoveMember1() {
  proto::Command version, added, removed;
  version.mutable_set_cluster_version()->set_version(kMembersVersion);
  for (const uint64_t id : {1, 2}) {
    added.mutable_change_members()->mutable_begin()->add_members()->set_id(id);
    added.mutable_change_members()->add_voters(id);
  }
  removed.mutable_change_members()->set_remove(1);
  removed.mutable_change_members()->add_voters(2);
  std::vector<raft::Entry> entries = {MakeEntry(1, 1, version), MakeEntry(1, 2, added),
                                      MakeEntry(1, 3, removed)};
  for (size_t i : {1, 2}) entries[i].type = raft::EntryType::kConfiguration;
  return entries;
}

// A start reads this from the state, too.
TEST_F(DataDirTest, ACheckKnowsThatTheMemberWasRemoved) {
  {
    absl::StatusOr<DataDir> dir = OpenDataDir(options_);
    ASSERT_TRUE(dir.ok()) << dir.status();
    const std::vector<raft::Entry> entries = EntriesThatRemoveMember1();
    dir->log->Save(std::nullopt, entries);
    dir->state->Apply({entries[0], entries[1]});
    dir->state->Flush();
    EXPECT_TRUE(CheckDataDir(options_).ok()) << "it may run while its directory is checked";
    dir->state->Apply({entries[2]});
    dir->state->Flush();
  }
  const absl::Status checked = CheckDataDir(options_).status();
  EXPECT_EQ(checked, OpenDataDir(options_).status());
  EXPECT_EQ(checked,
            absl::FailedPreconditionError(
                options_.dir +
                ": member \"n1\" (1) was removed from cluster \"demo\"; it cannot use this "
                "directory again. If a member is to run here again: raftkv member add, then start "
                "it with an empty data_dir and --join. If all other members are lost and only this "
                "directory is left: --force-new-cluster (docs/cli.md)"));
}

// The log has what the state does not have yet: a later entry made it a member again, as
// --force-new-cluster does.
TEST_F(DataDirTest, ACheckKnowsThatARemovedMemberIsOneAgain) {
  {
    absl::StatusOr<DataDir> dir = OpenDataDir(options_);
    ASSERT_TRUE(dir.ok()) << dir.status();
    proto::Command again;
    again.mutable_change_members()->mutable_add()->set_id(1);
    again.mutable_change_members()->add_voters(1);
    std::vector<raft::Entry> entries = EntriesThatRemoveMember1();
    entries.push_back(MakeEntry(1, 4, again));
    entries.back().type = raft::EntryType::kConfiguration;
    dir->log->Save(std::nullopt, entries);
    entries.pop_back();
    dir->state->Apply(entries);
    dir->state->Flush();
  }
  EXPECT_TRUE(CheckDataDir(options_).ok()) << CheckDataDir(options_).status();
  EXPECT_TRUE(OpenDataDir(options_).ok());
}

// It was removed while it was away, so its state does not say it.
TEST_F(DataDirTest, ADirectoryOfAMemberThatWasToldOfItsRemovalIsNotUsedAgain) {
  ASSERT_TRUE(OpenDataDir(options_).ok());
  ASSERT_TRUE(NoteRemoved(options_.dir).ok());
  const absl::Status checked = CheckDataDir(options_).status();
  EXPECT_TRUE(absl::StrContains(checked.message(), "was removed from cluster")) << checked;
  EXPECT_EQ(checked, OpenDataDir(options_).status());
  DataDirOptions forced = options_;
  forced.even_if_removed = true;
  EXPECT_TRUE(OpenDataDir(forced).ok());
  EXPECT_FALSE(OpenDataDir(options_).ok()) << "until the removal is forgotten";
  ASSERT_TRUE(ForgetRemoval(options_.dir).ok());
  ASSERT_TRUE(ForgetRemoval(options_.dir).ok()) << "again";
  EXPECT_TRUE(OpenDataDir(options_).ok());
}

}  // namespace
}  // namespace raftkv
