#ifndef RAFTKV_SERVER_PEER_SNAPSHOT_SENDER_H_
#define RAFTKV_SERVER_PEER_SNAPSHOT_SENDER_H_

// Sends one snapshot of the state machine to one peer, on a thread and a connection of its own, so
// that neither the loop nor the streams of Raft wait for it. Each chunk is sent when the one before
// it was answered, and no faster than a number of bytes a second. peers_snapshots.cc has the other
// end.
//
// Created and destroyed on the loop's thread. Destroying it waits for its thread, so the loop
// destroys it only when it is finished.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/raft.grpc.pb.h"
#include "storage/base/monotonic_time.h"
#include "storage/data_dir/snapshot_files.h"

namespace raftkv {

// How snapshots are taken and received; set by the server. Without `take`, none is sent.
struct SnapshotHooks {
  // On any thread; they may wait for the disk (storage/data_dir/state_dirs.h).
  std::function<absl::StatusOr<std::unique_ptr<TakenSnapshot>>()> take;
  std::function<absl::StatusOr<std::unique_ptr<SnapshotWriter>>(const SnapshotManifest&)> receive;
  std::function<absl::StatusOr<std::unique_ptr<ReceivedSnapshot>>(std::unique_ptr<SnapshotWriter>)>
      accept;
  // On the loop's thread: the entry with the chain hash of the log.
  std::function<std::optional<LogStore::Tip>(raft::EntryId)> tip_at;
  // Runs work on the loop's thread.
  std::function<void(std::function<void()>)> run_on_loop;
  uint64_t bytes_per_second = 32 << 20;
  // A sender waits so long for the answer to a chunk, and a receiver for the next chunk. Then it
  // ends the stream, and its directory is removed. (For the last answers a sender waits longer,
  // because the receiver verifies all files before.)
  absl::Duration chunk_max = absl::Seconds(60);
};

class SnapshotSender {
 public:
  struct Options {
    std::string name;     // of the peer
    std::string address;  // host:port
    raft::Term term = 0;
    proto::Peer introduction;
    // The wait between a failure and the call of `done`. The leader tries again at the next
    // heartbeat after that.
    absl::Duration pause;
    // Whether an answer comes from the peer. Called on the sender's thread.
    std::function<bool(const proto::Peer&)> is_peer;
    // Called on the loop's thread when the sending has ended, unless it was cancelled.
    std::function<void(bool ok)> done;
  };
  SnapshotSender(Options options, const SnapshotHooks* hooks);
  ~SnapshotSender();

  // Gives up: `done` is not called. Does not wait.
  void Cancel();
  // Ends the transfer if the peer is late. Call it once a second.
  void EndIfLate(MonotonicTime now);
  // The thread has ended, or is about to.
  bool finished() const { return finished_; }

 private:
  // Shared with work on the loop, which may run after the sender was destroyed.
  struct Shared {
    absl::Mutex mutex;
    bool cancelled ABSL_GUARDED_BY(mutex) = false;
    bool tip_known ABSL_GUARDED_BY(mutex) = false;
    std::optional<LogStore::Tip> tip ABSL_GUARDED_BY(mutex);
    // When the peer must have answered.
    MonotonicTime answer_by ABSL_GUARDED_BY(mutex) = MonotonicTime::InfiniteFuture();
    bool late ABSL_GUARDED_BY(mutex) = false;  // it has not
  };
  using Stream =
      grpc::ClientReaderWriter<proto::InstallSnapshotRequest, proto::InstallSnapshotResponse>;

  void Run();
  absl::Status Send();
  absl::Status SendFiles(const TakenSnapshot& taken, Stream* stream);
  // Sends `request`, if there is one, and waits for the answer. An error without a text: the stream
  // has ended.
  absl::Status Ask(Stream* stream, const proto::InstallSnapshotRequest* request,
                   absl::Duration limit, proto::InstallSnapshotResponse* answer);
  absl::Duration LastAnswerMax(uint64_t bytes) const;
  absl::StatusOr<LogStore::Tip> TipAt(raft::EntryId id);
  bool Sleep(absl::Duration duration);  // false: cancelled

  const Options options_;
  const SnapshotHooks& hooks_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  grpc::ClientContext context_;
  std::atomic<bool> finished_{false};
  std::thread thread_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_SNAPSHOT_SENDER_H_
