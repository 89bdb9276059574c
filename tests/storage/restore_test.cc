// Restores of a backup into data directories of a new cluster, also ones that are interrupted.

#include "storage/data_dir/restore.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tests/storage/testing.h"

namespace {

// Whether the disk is full for table files.
std::atomic<bool> g_full{false};

bool IsTableFile(int fd) {
  std::error_code error;
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  return std::filesystem::read_symlink(link, error).extension() == ".sst";
}

}  // namespace

// Replaces libc's function: the dynamic linker finds the program's functions first, also for calls
// by RocksDB.
extern "C" ssize_t write(int fd, const void* bytes, size_t size) {
  if (g_full && IsTableFile(fd)) {
    errno = ENOSPC;
    return -1;
  }
  return syscall(SYS_write, fd, bytes, size);
}

namespace raftkv {
namespace {

namespace fs = std::filesystem;

class Restore : public testing::Test {
 protected:
  Restore() {
    DataDirOptions options = TestDirOptions(dir_ / "old");
    auto old = OpenDataDir(options);
    CHECK(old.ok()) << old.status();
    const auto apply = [&](const proto::Command& command) {
      const auto entry = MakeEntry(2, old->log->last_index() + 1, command);
      old->log->Save(raft::HardState{2, 1, 0}, {entry});
      for (const ApplyResult& result : old->state->Apply({&entry, 1})) {
        CHECK(result.status.ok()) << result.status;
      }
    };
    proto::Command version, store_id, members, lease;
    version.mutable_set_cluster_version()->set_version(4);
    store_id.mutable_record_store_id()->set_member_id(1);
    store_id.mutable_record_store_id()->set_store_id(old->identity.store_id);
    members.mutable_change_members()->mutable_begin()->add_members()->set_id(1);
    members.mutable_change_members()->add_voters(1);
    lease.mutable_lease_grant()->set_id(77);
    lease.mutable_lease_grant()->set_ttl(100);
    for (const auto& command : {version, store_id, members, lease}) apply(command);
    for (int i = 0; i < 50; ++i) apply(PutCommand("key" + std::to_string(i % 20), "value"));
    apply(DeletionInSession());
    for (const auto type : {etcdserverpb::NOSPACE, etcdserverpb::CORRUPT}) {
      proto::Command alarm;
      auto& request = *alarm.mutable_change_alarm()->mutable_request();
      request.set_action(etcdserverpb::AlarmRequest::ACTIVATE);
      request.set_alarm(type);
      request.set_memberid(1);
      apply(alarm);
    }
    revision_ = old->state->revision();
    Save(*old);
  }

  static proto::Command DeletionInSession() {
    proto::Command command = DeleteCommand("key3");
    command.mutable_session()->set_lease_id(77);
    command.mutable_session()->set_seq(1);
    return command;
  }

  void Save(const DataDir& from) {
    auto taken = from.states->Take(*from.state);
    CHECK(taken.ok()) << taken.status();
    const SnapshotManifest& manifest = (*taken)->manifest();
    const SnapshotContents& contents = (*taken)->contents();
    EXPECT_EQ(contents.revision, revision_);
    EXPECT_EQ(contents.keys, 19);
    EXPECT_EQ(contents.cluster_version, 4u);
    proto::BackupHeader header;
    for (const auto& file : manifest.files) {
      header.add_files()->set_name(file.name);
      header.mutable_files()->rbegin()->set_size(file.size);
    }
    header.set_index(manifest.base.id.index);
    header.set_term(manifest.base.id.term);
    header.set_digest(manifest.digest);
    header.set_revision(contents.revision);
    header.set_cluster_version(contents.cluster_version);
    header.set_keys(contents.keys);
    BackupEncoder encoder(header, [&](size_t file, uint64_t offset, size_t bytes_max) {
      return (*taken)->Read(file, offset, bytes_max);
    });
    std::ofstream out(file_, std::ios::binary);
    while (!encoder.done()) out << encoder.Next().value();
  }

  static constexpr raft::MemberId kFirst = 101;
  DataDirOptions NewOptions(int member) const {
    DataDirOptions options = TestDirOptions(dir_ / ("new" + std::to_string(member)));
    options.cluster_id = 0xc2;
    options.member_id = kFirst + static_cast<raft::MemberId>(member);
    options.member_name = "m" + std::to_string(member);
    return options;
  }
  absl::StatusOr<Restored> Run(int member, int64_t bump = 0,
                               std::function<void(uint64_t)> on_progress = nullptr) {
    auto backup = BackupReader::Open(file_);
    if (!backup.ok()) return backup.status();
    RestoreOptions options;
    options.bump_revision = bump;
    options.on_progress = std::move(on_progress);
    for (int i = 0; i < 3; ++i) {
      etcdserverpb::Member& info = options.members.emplace_back();
      info.set_id(kFirst + static_cast<raft::MemberId>(i));
      info.set_name("m" + std::to_string(i));
      info.add_peerurls("http://127.0.0.1:" + std::to_string(1000 + i));
    }
    return RestoreDataDir(backup->get(), NewOptions(member), options);
  }
  DataDir OpenNew(int member) {
    auto opened = OpenDataDir(NewOptions(member));
    CHECK(opened.ok()) << opened.status();
    return *std::move(opened);
  }

  TempDir dir_;
  const std::string file_ = dir_ / "backup";
  Revision revision_ = 0;
};

TEST_F(Restore, MembersOfTheNewClusterAgree) {
  uint64_t digest = 0;
  for (int i = 0; i < 3; ++i) {
    const auto restored = Run(i);
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_EQ(restored->revision, revision_);
    EXPECT_EQ(restored->keys, 19);
    const DataDir dir = OpenNew(i);
    if (i == 0) digest = dir.state->digest();
    EXPECT_EQ(dir.state->digest(), digest);
    EXPECT_EQ(dir.state->revision(), revision_);
    EXPECT_EQ(dir.state->members().configuration().voters,
              (std::vector<raft::MemberId>{kFirst, kFirst + 1, kFirst + 2}));
    EXPECT_TRUE(dir.state->members().removed(1)) << "the old member";
    EXPECT_EQ(dir.state->store_ids().count(kFirst), 0u);
    ASSERT_TRUE(dir.identity.restored.has_value());
    EXPECT_EQ(dir.identity.restored->base, dir.state->applied());
    EXPECT_EQ(dir.log->last_index(), dir.state->applied().index);
    EXPECT_EQ(dir.log->first_index(), dir.log->last_index() + 1);
    EXPECT_FALSE(dir.log->may_vote()) << "as at a first start";
    ASSERT_EQ(dir.state->alarms().all().size(), 1u);
    EXPECT_EQ(dir.state->alarms().all().begin()->first.type, etcdserverpb::CORRUPT);
    etcdserverpb::LeaseTimeToLiveRequest lease;
    etcdserverpb::LeaseTimeToLiveResponse response;
    lease.set_id(77);
    ASSERT_TRUE(dir.state->Snapshot()->LeaseTimeToLive(lease, {}, &response).ok());
    EXPECT_EQ(response.grantedttl(), 100);
    const raft::EntryId applied = dir.state->applied();
    const auto again =
        dir.state->Apply({MakeEntry(applied.term, applied.index + 1, DeletionInSession())});
    EXPECT_EQ(again.front().revision, revision_) << "sessions have kept their answers";
    EXPECT_EQ(again.front().response.delete_range().deleted(), 1);
  }
}

// Name and peer URL of a member were both edited.
TEST_F(Restore, AnotherMemberIsToldWhereTheMemberIsReached) {
  ASSERT_TRUE(Run(1).ok());
  DataDirOptions options = NewOptions(1);
  options.member_id = 7;
  options.member_name = "other";
  const absl::Status opened = OpenDataDir(options).status();
  EXPECT_TRUE(absl::StrContains(opened.message(),
                                "belongs to member \"m1\" (66), which the cluster reaches at "
                                "http://127.0.0.1:1001, not to \"other\" (7)"))
      << opened;
  EXPECT_EQ(CheckDataDir(options).status(), opened);
}

TEST_F(Restore, BumpRaisesAndCompactsTheRevision) {
  ASSERT_TRUE(Run(0, 1'000'000).ok());
  const DataDir dir = OpenNew(0);
  EXPECT_EQ(dir.state->revision(), revision_ + 1'000'000);
  etcdserverpb::RangeRequest request;
  etcdserverpb::RangeResponse response;
  request.set_key("key1");
  ASSERT_TRUE(dir.state->Snapshot()->Range(request, {}, &response).ok());
  EXPECT_EQ(response.kvs_size(), 1);
  request.set_revision(revision_);
  EXPECT_EQ(dir.state->Snapshot()->Range(request, {}, &response).code(),
            absl::StatusCode::kOutOfRange);
  const auto backup = BackupReader::Open(file_);
  EXPECT_NE(RestoreToken(**backup, 0), RestoreToken(**backup, 1'000'000))
      << "members that were restored with different options must not form a cluster";
  EXPECT_EQ(Run(1, INT64_MAX).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Restore, DirectoryThatIsNotEmptyIsLeftAlone) {
  ASSERT_TRUE(Run(0).ok());
  const auto again = Run(0);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(again.status().message(), "is not empty")) << again.status();
  OpenNew(0);

  fs::create_directory(dir_ / "new1");
  std::ofstream(dir_ / "new1/diary") << "mine";
  EXPECT_EQ(Run(1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(fs::exists(dir_ / "new1/diary"));
}

// A crash may leave any of these files. No member starts with them, and a repeated restore
// succeeds.
TEST_F(Restore, InterruptedRestoreIsRepeated) {
  for (const char* left : {"", "sm", "log", "IDENTITY", "INITIALIZED", "RESTORING.tmp"}) {
    SCOPED_TRACE(left);
    fs::remove_all(dir_ / "new0");
    ASSERT_TRUE(Run(0).ok());
    std::ofstream(dir_ / "new0/RESTORING");
    for (const auto& entry : fs::directory_iterator(dir_ / "new0")) {
      const std::string name = entry.path().filename().string();
      if (name != left && name != "RESTORING" && name != "LOCK") fs::remove_all(entry.path());
    }
    const auto opened = OpenDataDir(NewOptions(0));
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(absl::StrContains(opened.status().message(), "repeat raftkv snapshot restore"))
        << opened.status();
    EXPECT_EQ(CheckDataDir(NewOptions(0)).status().code(), absl::StatusCode::kFailedPrecondition);
    const auto repeated = Run(0);
    ASSERT_TRUE(repeated.ok()) << repeated.status();
    EXPECT_EQ(OpenNew(0).state->revision(), revision_);
  }
}

// The files of the backup are written, and then there is no space for what is added to them.
TEST_F(Restore, AFullDiskIsNamedAsTheCause) {
  const uint64_t size = fs::file_size(file_);
  const auto restored = Run(0, 0, [&](uint64_t bytes) { g_full = bytes == size; });
  g_full = false;
  EXPECT_TRUE(absl::StrContains(restored.status().message(), "No space left on device"))
      << restored.status();
  EXPECT_TRUE(Run(0).ok()) << "it can be repeated";
}

TEST_F(Restore, DamagedBackupLeavesAnEmptyDirectory) {
  std::string bytes;
  {
    std::ifstream in(file_, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(file_, std::ios::binary) << bytes;
  const auto restored = Run(0);
  EXPECT_EQ(restored.status().code(), absl::StatusCode::kDataLoss) << restored.status();
  EXPECT_TRUE(absl::StrContains(restored.status().message(), "is damaged")) << restored.status();
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(dir_ / "new0")) {
    left.push_back(entry.path().filename().string());
  }
  EXPECT_EQ(left, std::vector<std::string>{"LOCK"});
}

}  // namespace
}  // namespace raftkv
