#include "storage/data_dir/snapshot_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/checksum.h"
#include "storage/base/disk_operations.h"
#include "storage/base/disk_space.h"
#include "storage/base/files.h"
#include "storage/engine/rocks_engine.h"
#include "storage/mvcc/counts.h"
#include "storage/mvcc/layout.h"
#include "storage/tables/cluster_versions.h"
#include "storage/tables/state.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFilesMax = 100'000;
// A snapshot that arrives leaves at least this much free space on the disk.
uint64_t FreeMin(uint64_t volume_bytes) {
  constexpr uint64_t kMax = 256 << 20;
  return std::min(kMax, volume_bytes / 16);
}

// The bytes that the snapshots that arrive in this process have not written yet.
struct Expected {
  absl::Mutex mutex;
  uint64_t bytes ABSL_GUARDED_BY(mutex) = 0;
};
Expected& ExpectedBytes() {
  static auto* expected = new Expected;
  return *expected;
}

bool AllDigits(std::string_view text) {
  return !text.empty() && text.size() <= 20 &&
         std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

// The names of the files of a checkpoint without a write-ahead log.
bool IsCheckpointFile(std::string_view name) {
  if (name == "CURRENT") return true;
  for (const std::string_view prefix : {"MANIFEST-", "OPTIONS-"}) {
    if (name.starts_with(prefix)) return AllDigits(name.substr(prefix.size()));
  }
  for (const std::string_view suffix : {".sst", ".blob"}) {
    if (name.ends_with(suffix)) return AllDigits(name.substr(0, name.size() - suffix.size()));
  }
  return false;
}

// The applied entry and the digest of the state machine in `dir`, and its contents.
absl::StatusOr<State> ReadState(const std::string& dir, bool verify, SnapshotContents* contents) {
  RocksOptions options;
  options.dir = dir;
  options.durability = Durability::kFlushed;
  options.filter_prefix = mvcc::VersionFilterPrefix;
  options.cache_bytes = 1 << 20;
  const std::string state_key = kStateKey, version_key = ClusterVersionTable::kKey;
  const std::string counts(1, mvcc::kCountTable);
  bool found = false;
  State state;
  absl::Status status = ScanClosedRocks(
      options, verify,
      {{state_key, state_key + '\0'},
       {version_key, version_key + '\0'},
       {counts, mvcc::TableEnd(mvcc::kCountTable)}},
      [&](std::string_view key, std::string_view value) {
        if (key == state_key) {
          found = true;
          return DecodeState(value, &state);
        }
        bool good = false;
        if (key == version_key) {
          good = value.size() == 8;
          if (good) contents->cluster_version = Fixed64(value.data());
        } else {
          good = mvcc::AddLiveKeys(value, &contents->keys);
        }
        return good ? absl::OkStatus() : absl::DataLossError(dir + ": a record is damaged");
      });
  if (!status.ok()) return status;
  if (!found) return absl::DataLossError(absl::StrCat(dir, ": has no state record"));
  contents->revision = state.revision;
  contents->compacted = state.compacted;
  return state;
}

}  // namespace

uint64_t SnapshotManifest::bytes() const {
  uint64_t sum = 0;
  for (const File& file : files) sum += file.size;
  return sum;
}

absl::Status CheckManifest(const SnapshotManifest& manifest) {
  const auto invalid = [](const char* why) {
    return absl::InvalidArgumentError(absl::StrCat("snapshot: ", why));
  };
  if (manifest.files.size() > kFilesMax) return invalid("too many files");
  std::set<std::string_view> names;
  for (const SnapshotManifest::File& file : manifest.files) {
    if (!IsCheckpointFile(file.name)) return invalid("a file name is not valid");
    if (!names.insert(file.name).second) return invalid("two files have one name");
    if (file.size > uint64_t{1} << 40) return invalid("a file is too large");
  }
  return names.contains("CURRENT") ? absl::OkStatus() : invalid("the file CURRENT is missing");
}

// --- TakenSnapshot

absl::StatusOr<std::unique_ptr<TakenSnapshot>> TakenSnapshot::Open(const std::string& dir) {
  std::unique_ptr<TakenSnapshot> taken(new TakenSnapshot(dir));
  const absl::StatusOr<State> state = ReadState(dir, /*verify=*/false, &taken->contents_);
  if (!state.ok()) return state.status();
  taken->manifest_.base.id = state->applied;
  taken->manifest_.digest = state->digest;
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(dir);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    if (!IsCheckpointFile(name)) continue;  // RocksDB's own text log
    const std::string path = dir + "/" + name;
    std::error_code error;
    taken->manifest_.files.push_back({name, fs::file_size(path, error)});
    if (error) return SystemError(path, "cannot look up", error.value());
  }
  std::sort(taken->manifest_.files.begin(), taken->manifest_.files.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  if (absl::Status status = CheckManifest(taken->manifest_); !status.ok()) return status;
  return taken;
}

TakenSnapshot::~TakenSnapshot() {
  std::error_code error;
  fs::remove_all(dir_, error);
}

absl::StatusOr<std::string> TakenSnapshot::Read(size_t file, uint64_t offset,
                                                size_t bytes_max) const {
  const SnapshotManifest::File& f = manifest_.files[file];
  const std::string path = absl::StrCat(dir_, "/", f.name);
  std::string data(std::min<uint64_t>(bytes_max, f.size - offset), '\0');
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  const ssize_t size = pread(fd, data.data(), data.size(), static_cast<off_t>(offset));
  const int error = size < 0 ? errno : EIO;
  close(fd);
  if (size != static_cast<ssize_t>(data.size())) return SystemError(path, "cannot read", error);
  return data;
}

// --- SnapshotWriter

absl::StatusOr<std::unique_ptr<SnapshotWriter>> SnapshotWriter::Create(
    const std::string& dir, const SnapshotManifest& manifest) {
  if (absl::Status status = CheckManifest(manifest); !status.ok()) return status;
  std::error_code error;
  fs::create_directory(dir, error);
  if (error) return SystemError(dir, "cannot create", error.value());
  std::unique_ptr<SnapshotWriter> writer(new SnapshotWriter(dir, manifest));
  if (absl::Status status = writer->ExpectBytes(); !status.ok()) return status;
  if (absl::Status status = writer->OpenNext(); !status.ok()) return status;
  return writer;
}

absl::Status SnapshotWriter::ExpectBytes() {
  const absl::StatusOr<DiskSpace> disk = ReadDiskSpace(dir_);
  if (!disk.ok()) return disk.status();
  Expected& others = ExpectedBytes();
  absl::MutexLock lock(&others.mutex);
  const uint64_t free = disk->free_bytes - std::min(disk->free_bytes, others.bytes);
  const uint64_t bytes = manifest_.bytes(), needed = bytes + FreeMin(disk->volume_bytes);
  if (free < needed) {
    return absl::ResourceExhaustedError(absl::StrCat(
        dir_, ": a snapshot of ", bytes >> 20, " MiB needs ", needed >> 20,
        " MiB of disk space, and ", free >> 20, " MiB are free",
        others.bytes == 0 ? "" : ", without what other snapshots that arrive now will take"));
  }
  expected_ = bytes;
  others.bytes += expected_;
  return absl::OkStatus();
}

void SnapshotWriter::OnWritten(uint64_t bytes) {
  absl::MutexLock lock(&ExpectedBytes().mutex);
  ExpectedBytes().bytes -= bytes;
  expected_ -= bytes;
}

SnapshotWriter::~SnapshotWriter() {
  OnWritten(expected_);
  if (fd_ >= 0) close(fd_);
  std::error_code error;
  if (!finished_) fs::remove_all(dir_, error);
}

// Creates the next file that has bytes, and the empty ones before it.
absl::Status SnapshotWriter::OpenNext() {
  for (; file_ < manifest_.files.size(); ++file_) {
    const std::string path = absl::StrCat(dir_, "/", manifest_.files[file_].name);
    fd_ = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd_ < 0) return SystemError(path, "cannot create", errno);
    offset_ = 0;
    if (manifest_.files[file_].size > 0) return absl::OkStatus();
    if (absl::Status status = CloseFile(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SnapshotWriter::CloseFile() {
  const DiskOperation operation;
  const bool synced = fsync(fd_) == 0;
  const int error = errno;
  const bool closed = close(std::exchange(fd_, -1)) == 0;
  if (synced && closed) return absl::OkStatus();
  return SystemError(absl::StrCat(dir_, "/", manifest_.files[file_].name), "cannot sync", error);
}

absl::Status SnapshotWriter::Write(size_t file, uint64_t offset, std::string_view data,
                                   uint32_t crc) {
  if (complete() || file != file_ || offset != offset_ || data.empty() ||
      data.size() > manifest_.files[file_].size - offset_) {
    return absl::InvalidArgumentError("snapshot: a chunk out of order");
  }
  if (Crc32c(data) != crc) return absl::DataLossError("snapshot: a chunk was damaged in transfer");
  {
    const DiskOperation operation;
    const ssize_t size = write(fd_, data.data(), data.size());
    if (size != static_cast<ssize_t>(data.size())) {
      return SystemError(absl::StrCat(dir_, "/", manifest_.files[file_].name), "cannot write",
                         size < 0 ? errno : ENOSPC);
    }
  }
  offset_ += data.size();
  written_ += data.size();
  OnWritten(data.size());
  if (offset_ < manifest_.files[file_].size) return absl::OkStatus();
  if (absl::Status status = CloseFile(); !status.ok()) return status;
  ++file_;
  return OpenNext();
}

absl::Status SnapshotWriter::Finish() {
  if (!complete()) return absl::InvalidArgumentError("snapshot: it ended too early");
  SnapshotContents contents;
  const absl::StatusOr<State> state = ReadState(dir_, /*verify=*/true, &contents);
  if (!state.ok()) return state.status();
  if (state->applied != manifest_.base.id || state->digest != manifest_.digest) {
    return absl::DataLossError("snapshot: it contains another state than its sender said");
  }
  if (absl::Status status = SyncDirectory(dir_); !status.ok()) return status;
  if (absl::Status status = SyncDirectory(fs::path(dir_).parent_path()); !status.ok())
    return status;
  finished_ = true;
  return absl::OkStatus();
}

}  // namespace raftkv
