#include "storage/data_dir/restore.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/files.h"
#include "storage/data_dir/snapshot_files.h"
#include "storage/data_dir/state_dirs.h"
#include "storage/restored_state.h"
#include "storage/tables/keys.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTokenBytes = 16;
constexpr uint64_t kNumberMax = uint64_t{1} << 62;  // of indexes and terms

SnapshotManifest ManifestOf(const proto::BackupHeader& header) {
  SnapshotManifest manifest;
  manifest.base.id = {.term = header.term(), .index = header.index()};
  manifest.digest = header.digest();
  for (const auto& file : header.files()) manifest.files.push_back({file.name(), file.size()});
  return manifest;
}

absl::Status CheckHeader(const BackupReader& backup, const RestoreOptions& options) {
  const proto::BackupHeader& header = backup.header();
  if (header.cluster_version() > kNewestVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the backup needs cluster version ", header.cluster_version(),
                     ", and this raftkv-server knows versions up to ", kNewestVersion,
                     ": run a newer raftkv-server"));
  }
  const bool plausible = header.index() > 0 && header.index() < kNumberMax && header.term() > 0 &&
                         header.term() < kNumberMax && header.revision() > 0 &&
                         header.revision() <= kRevisionMax;
  if (!plausible || !CheckManifest(ManifestOf(header)).ok()) {
    return absl::DataLossError("the header of the backup is not valid");
  }
  if (options.bump_revision > kRevisionMax - header.revision()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--bump-revision ", options.bump_revision, " is too large"));
  }
  return absl::OkStatus();
}

// Removes what an interrupted restore left. Fails if the directory contains anything else.
absl::Status MakeEmpty(const std::string& dir) {
  static constexpr std::array<std::string_view, 3> kStay = {"LOCK", "lost+found", kRestoringFile};
  static constexpr std::array<std::string_view, 2> kTemporary = {"IDENTITY.tmp", "RESTORING.tmp"};
  static constexpr std::array<std::string_view, 5> kWritten = {"sm", "log", "IDENTITY",
                                                               "INITIALIZED", "INITIALIZED.tmp"};
  const auto in = [](const auto& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const bool interrupted = access((dir + "/" + kRestoringFile).c_str(), F_OK) == 0;
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(dir);
  if (!names.ok()) return names.status();
  std::vector<std::string> leftovers;
  for (const std::string& name : *names) {
    if (in(kStay, name)) continue;
    if (!in(kTemporary, name) && !(interrupted && in(kWritten, name))) {
      return absl::FailedPreconditionError(absl::StrCat(
          dir, ": is not empty (it contains \"", absl::CEscape(name),
          "\"): a restore writes a new data directory; move this one away, or choose another "
          "data_dir"));
    }
    leftovers.push_back(dir + "/" + name);
  }
  for (const std::string& path : leftovers) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) return SystemError(path, "cannot remove", error.value());
  }
  return absl::OkStatus();
}

// Writes the files of the state machine.
absl::Status Unpack(BackupReader* backup, const std::string& dir, const RestoreOptions& options) {
  auto writer = SnapshotWriter::Create(dir, ManifestOf(backup->header()));
  if (!writer.ok()) return writer.status();
  absl::Status status =
      backup->ReadAll([&](size_t file, uint64_t offset, std::string_view data,
                          uint32_t crc) { return (*writer)->Write(file, offset, data, crc); },
                      options.on_progress);
  if (!status.ok()) return status;
  return (*writer)->Finish();
}

// Applies the entries to the unpacked state. Sets `base` to the last of them.
absl::StatusOr<Restored> ApplyEntries(const std::string& data_dir, const RestoreOptions& options,
                                      raft::EntryId* base) {
  auto dirs = StateDirs::Open({.data_dir = data_dir});
  if (!dirs.ok()) return dirs.status();
  const auto state = (*dirs)->OpenStateMachine(/*create=*/false);
  if (!state.ok()) return state.status();
  const std::vector<raft::Entry> entries =
      EntriesAfter(**state, options.members, options.bump_revision);
  for (const ApplyResult& result : (*state)->Apply(entries)) {
    if (!result.status.ok()) return result.status;
  }
  *base = entries.back().id;
  CHECK((*state)->applied() == *base) << "nothing limits what was applied";
  (*state)->Flush();
  if ((*state)->persisted_applied() != *base) {
    return SystemError(data_dir, "cannot write the restored state", ENOSPC);
  }
  return Restored{.revision = (*state)->revision()};
}

// Writes everything into the directory, which contains the file RESTORING.
absl::StatusOr<Restored> Fill(BackupReader* backup, const DataDirOptions& dir,
                              const RestoreOptions& options, std::unique_ptr<DirLock> lock) {
  if (absl::Status s = Unpack(backup, dir.dir + "/sm", options); !s.ok()) return s;
  raft::EntryId base;
  absl::StatusOr<Restored> restored = ApplyEntries(dir.dir, options, &base);
  if (!restored.ok()) return restored;
  restored->keys = backup->header().keys();

  DataDirOptions created = dir;
  created.restored = {.token = RestoreToken(*backup, options.bump_revision), .base = base};
  // Creates the log and the identity, and checks that everything fits together.
  const absl::StatusOr<DataDir> opened = OpenLockedDataDir(created, std::move(lock));
  if (!opened.ok()) return opened.status();
  return restored;
}

}  // namespace

std::string RestoreToken(const BackupReader& backup, int64_t bump_revision) {
  const std::string checksum = backup.sha256().substr(0, kTokenBytes);
  return absl::StrCat(absl::BytesToHexString(checksum), "+", bump_revision);
}

absl::StatusOr<Restored> RestoreDataDir(BackupReader* backup, const DataDirOptions& dir,
                                        const RestoreOptions& options) {
  if (absl::Status s = CheckHeader(*backup, options); !s.ok()) return s;
  std::vector<std::string> warnings;
  absl::StatusOr<std::unique_ptr<DirLock>> lock = LockDataDir(dir.dir, &warnings);
  if (!lock.ok()) return lock.status();
  if (absl::Status s = MakeEmpty(dir.dir); !s.ok()) return s;
  if (absl::Status s = WriteFile(dir.dir, kRestoringFile, ""); !s.ok()) return s;
  absl::StatusOr<Restored> restored = Fill(backup, dir, options, *std::move(lock));
  // After an error the directory is made empty again. After a crash, the next restore does that.
  if (!restored.ok() && !MakeEmpty(dir.dir).ok()) return restored;
  const std::string mark = dir.dir + "/" + kRestoringFile;
  if (unlink(mark.c_str()) != 0 && restored.ok()) return SystemError(mark, "cannot remove", errno);
  if (absl::Status s = SyncDirectory(dir.dir); !s.ok() && restored.ok()) return s;
  return restored;
}

}  // namespace raftkv
