#ifndef RAFTKV_STORAGE_DATA_DIR_STATE_DIRS_H_
#define RAFTKV_STORAGE_DATA_DIR_STATE_DIRS_H_

// The directories of a member's state machine in its data directory, on disk (storage/snapshot.h).
//
//   sm/                       the state machine of a new data directory
//   sm-<16 hex digits>/       a snapshot: while it arrives, or in use as the state machine
//   CURRENT                   names the directory that is in use. While an install is not finished,
//                             also the entry after which the log must continue. Missing: sm/
//   snapshot-<16 hex digits>/ a checkpoint that is being sent
//
// A directory is never renamed while its database may be open, because RocksDB finds its files by
// path. A replaced directory is removed in the background when its last reader has ended. What a
// crash or a stop leaves is removed at the next start.
//
// Replace and Replaced run on the thread of the turns, Take and Receive on any thread.

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "storage/data_dir/dir_remover.h"
#include "storage/data_dir/snapshot_files.h"
#include "storage/rules/version.h"
#include "storage/snapshot.h"

namespace raftkv {

struct StateDirsOptions {
  std::string data_dir;
  size_t cache_bytes = 64 << 20;
  std::optional<uint64_t> min_free_bytes = std::nullopt;  // as in DataDirOptions
  ClusterVersion newest_version = kNewestVersion;
  bool read_only = false;  // as in RocksOptions
};

class StateDirs final : public StateStore {
 public:
  // Reads CURRENT. DataLoss: it is damaged.
  static absl::StatusOr<std::unique_ptr<StateDirs>> Open(StateDirsOptions options);
  ~StateDirs() override;

  const std::string& path() const;  // of the directory in use
  absl::StatusOr<std::unique_ptr<StateMachine>> OpenStateMachine(bool create);
  // The members in the state in use, whose database is not open in this process. Changes nothing.
  // None are known, too, if the state cannot be read.
  Members ReadMembers() const;
  // The entry of an install that a crash interrupted, for ResumeInstall. Then call Replaced.
  const std::optional<LogStore::Tip>& resume() const { return resume_; }
  // Removes the directories that are not in use. Call it once, after everything was opened.
  absl::Status RemoveLeftovers() const;

  std::unique_ptr<StateMachine> Replace(std::unique_ptr<ReceivedSnapshot> snapshot) override;
  void Replaced() override;

  // Takes a snapshot of `state`, to send it.
  absl::StatusOr<std::unique_ptr<TakenSnapshot>> Take(const StateMachine& state) const;
  // Call it when a snapshot begins to arrive.
  absl::StatusOr<std::unique_ptr<SnapshotWriter>> Receive(const SnapshotManifest& manifest) const;
  // Call it when the snapshot has arrived completely. Verifies it, which reads all of it, and opens
  // it. After an error nothing has changed: the sender or the disk has damaged the snapshot.
  absl::StatusOr<std::unique_ptr<ReceivedSnapshot>> Accept(
      std::unique_ptr<SnapshotWriter> writer) const;

 private:
  class Dir;
  class Received;

  explicit StateDirs(StateDirsOptions options) : options_(std::move(options)) {}
  absl::Status WriteCurrent() const;
  absl::StatusOr<std::unique_ptr<StateMachine>> OpenIn(std::shared_ptr<Dir> dir, bool create) const;

  const StateDirsOptions options_;
  const std::shared_ptr<DirRemover> remover_ = std::make_shared<DirRemover>();
  std::shared_ptr<Dir> current_;
  std::optional<LogStore::Tip> resume_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_STATE_DIRS_H_
