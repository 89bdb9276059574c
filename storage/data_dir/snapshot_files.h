#ifndef RAFTKV_STORAGE_DATA_DIR_SNAPSHOT_FILES_H_
#define RAFTKV_STORAGE_DATA_DIR_SNAPSHOT_FILES_H_

// A snapshot as files: the files of a RocksDB checkpoint of the state machine, in a directory of
// its own in the data directory. The sender reads them in chunks, the receiver writes and verifies
// them. Each object is used by one thread at a time. All of them may wait for the disk.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/snapshot.h"

namespace raftkv {

struct SnapshotManifest {
  LogStore::Tip base;   // the last entry that the snapshot contains
  uint64_t digest = 0;  // of the state machine
  struct File {
    std::string name;
    uint64_t size = 0;
  };
  std::vector<File> files;

  uint64_t bytes() const;
};

// What the state machine in a snapshot contains.
struct SnapshotContents {
  Revision revision = 0;
  Revision compacted = -1;  // as StateSnapshot::compacted_revision
  ClusterVersion cluster_version = kFirstVersion;
  int64_t keys = 0;  // that exist
};

// InvalidArgument: the manifest has a name that no checkpoint has (so that a peer cannot name a
// path), a name twice, no CURRENT, or too many files.
absl::Status CheckManifest(const SnapshotManifest& manifest);

// A snapshot that is being sent. Its directory is removed with it.
class TakenSnapshot {
 public:
  // Takes over `dir`, which holds the checkpoint.
  static absl::StatusOr<std::unique_ptr<TakenSnapshot>> Open(const std::string& dir);
  ~TakenSnapshot();

  // The state machine does not know base.chain_hash, so it is 0.
  const SnapshotManifest& manifest() const { return manifest_; }
  const SnapshotContents& contents() const { return contents_; }
  absl::StatusOr<std::string> Read(size_t file, uint64_t offset, size_t bytes_max) const;

 private:
  explicit TakenSnapshot(std::string dir) : dir_(std::move(dir)) {}
  const std::string dir_;
  SnapshotManifest manifest_;
  SnapshotContents contents_;
};

// A snapshot that arrives. Its directory is removed with it, unless Finish succeeded.
class SnapshotWriter {
 public:
  // Creates `dir`. Fails if the manifest is not valid or if the disk has no room for it.
  static absl::StatusOr<std::unique_ptr<SnapshotWriter>> Create(const std::string& dir,
                                                                const SnapshotManifest& manifest);
  ~SnapshotWriter();

  const std::string& dir() const { return dir_; }
  const SnapshotManifest& manifest() const { return manifest_; }
  uint64_t written() const { return written_; }

  // Chunks come in order: of each file from its start to its end, file by file. Empty files get no
  // chunk. `crc` is the CRC32C of the data.
  absl::Status Write(size_t file, uint64_t offset, std::string_view data, uint32_t crc);
  bool complete() const { return file_ == manifest_.files.size(); }

  // All files are there: syncs the directory, verifies all checksums, and that the snapshot
  // contains what the manifest says. Then the caller owns the directory.
  absl::Status Finish();

 private:
  SnapshotWriter(std::string dir, SnapshotManifest manifest)
      : dir_(std::move(dir)), manifest_(std::move(manifest)) {}
  // Checks the free space. Other snapshots that arrive at the same time will take their part of it.
  absl::Status ExpectBytes();
  void OnWritten(uint64_t bytes);
  absl::Status OpenNext();
  absl::Status CloseFile();

  const std::string dir_;
  const SnapshotManifest manifest_;
  size_t file_ = 0;  // the one that is being written
  uint64_t offset_ = 0;
  uint64_t written_ = 0;
  uint64_t expected_ = 0;  // what is not written yet
  int fd_ = -1;
  bool finished_ = false;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_SNAPSHOT_FILES_H_
