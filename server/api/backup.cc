// etcdserverpb.Maintenance.Snapshot: sends a backup of this member's state (docs/decisions/0015).
// It needs no leader, so a backup can be taken from the only member that is left. Runs on a thread
// of its own, because it takes a checkpoint and reads its files. The snapshot is released when
// everything was read, or when the call ends. If the client accepts no data for a while, the call
// is ended.

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "config/version.h"
#include "glog/logging.h"
#include "server/api/edge.h"
#include "storage/backup/backup_file.h"
#include "storage/data_dir/snapshot_files.h"

namespace raftkv::api {

namespace {

using etcdserverpb::SnapshotRequest;
using etcdserverpb::SnapshotResponse;
using google::protobuf::Message;

// Each backup keeps files on the disk that the state machine would otherwise have removed.
constexpr size_t kBackupsMax = 4;
constexpr size_t kMessageBytes = 32 << 10;  // as etcd
// If a client accepts no data for this time, its backup is ended.
constexpr absl::Duration kStalledMax = absl::Seconds(60);

proto::BackupHeader HeaderOf(const Edge& edge, const TakenSnapshot& taken) {
  proto::BackupHeader header;
  const SnapshotManifest& manifest = taken.manifest();
  for (const SnapshotManifest::File& file : manifest.files) {
    proto::BackupHeader::File* added = header.add_files();
    added->set_name(file.name);
    added->set_size(file.size);
  }
  header.set_index(manifest.base.id.index);
  header.set_term(manifest.base.id.term);
  header.set_digest(manifest.digest);
  const SnapshotContents& contents = taken.contents();
  header.set_revision(contents.revision);
  header.set_compact_revision(contents.compacted);
  header.set_cluster_version(contents.cluster_version);
  header.set_keys(contents.keys);
  header.set_cluster_id(edge.config->cluster_id);
  header.set_cluster_name(edge.config->cluster_name);
  header.set_member_id(edge.self->id);
  header.set_member_name(edge.self->name);
  header.set_taken_at(absl::ToUnixSeconds(absl::Now()));
  header.set_server_version(kVersion);
  return header;
}

class BackupCall;
using BackupCalls = std::set<BackupCall*>;  // all open streams

class BackupCall final : public StreamHandler {
 public:
  BackupCall(const Edge* edge, std::shared_ptr<BackupCalls> calls, StreamCall* stream)
      : edge_(*edge), calls_(std::move(calls)), stream_(*stream) {
    calls_->insert(this);
  }
  ~BackupCall() override { calls_->erase(this); }

  absl::Status OnRequest(Message* /*request*/) override {
    if (calls_->size() > kBackupsMax) return TooManyRequests();
    // The local state may lack acknowledged writes.
    if (edge_.member->rejected_by_peers()) return RejectedByPeers();
    // The local state is known to be wrong. In other cases a backup helps the operator to choose.
    if (edge_.member->diverged()) return HasHalted();
    absl::StatusOr<std::unique_ptr<TakenSnapshot>> taken = edge_.take_snapshot();
    if (!taken.ok()) return Failed(taken.status());
    taken_ = *std::move(taken);
    proto::BackupHeader header = HeaderOf(edge_, *taken_);
    LOG(INFO) << "sending a backup to " << stream_.client_address() << ": revision "
              << header.revision() << ", " << (taken_->manifest().bytes() >> 20) << " MiB";
    encoder_ = std::make_unique<BackupEncoder>(
        std::move(header), [this](size_t file, uint64_t offset, size_t bytes_max) {
          return taken_->Read(file, offset, bytes_max);
        });
    Send();
    return absl::OkStatus();
  }

  void OnWritable() override { Send(); }

  // Called regularly.
  void Check(MonotonicTime now) {
    if (edge_.phase->AtLeast(Phase::kDeclining)) {
      Release();
      stream_.Finish(ToWire(Fate::kStopped));
    } else if (now >= stream_.deadline() || now - sent_at_ > kStalledMax) {
      Release();
      stream_.Cancel();
    }
  }

 private:
  static absl::Status Failed(const absl::Status& why) {
    LOG(ERROR) << "a backup failed: " << why.message();
    return ToWire(absl::UnavailableError(absl::StrCat("backup failed: ", why.message())));
  }

  void Release() {
    encoder_.reset();
    taken_.reset();
  }

  void Send() {
    if (encoder_ == nullptr || !stream_.writable()) return;
    if (offset_ == piece_.size()) {
      absl::StatusOr<std::string> piece = encoder_->Next();
      if (!piece.ok()) {
        Release();
        return stream_.Finish(Failed(piece.status()));
      }
      piece_ = *std::move(piece);
      offset_ = 0;
    }
    SnapshotResponse response;
    response.set_blob(piece_.substr(offset_, kMessageBytes));
    offset_ += response.blob().size();
    sent_ += response.blob().size();
    // As in etcd, without the SHA-256.
    const bool last = encoder_->done();
    response.set_remaining_bytes(last ? 0 : encoder_->size() - Sha256::kBytes - sent_);
    sent_at_ = MonotonicNow();
    stream_.Write(response, /*more_follow=*/!last);
    if (!last) return;
    LOG(INFO) << "the backup for " << stream_.client_address() << " is sent";
    Release();
    stream_.Finish(absl::OkStatus());
  }

  const Edge& edge_;
  const std::shared_ptr<BackupCalls> calls_;
  StreamCall& stream_;
  std::unique_ptr<TakenSnapshot> taken_;
  std::unique_ptr<BackupEncoder> encoder_;  // null: nothing more is sent
  std::string piece_;
  size_t offset_ = 0;  // the bytes of piece_ that were sent
  uint64_t sent_ = 0;
  MonotonicTime sent_at_ = MonotonicNow();
};

}  // namespace

std::function<void()> AddBackup(const Edge* edge, Methods* methods) {
  auto calls = std::make_shared<BackupCalls>();
  StreamMethod snapshot;
  snapshot.name = "/etcdserverpb.Maintenance/Snapshot";
  snapshot.permission = Permission::kMaintainSelf;
  snapshot.one_request = true;
  snapshot.request = &SnapshotRequest::default_instance();
  snapshot.open = [edge, calls](StreamCall* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<BackupCall>(edge, calls, stream);
  };
  methods->streams.push_back(std::move(snapshot));
  return [calls] {
    const MonotonicTime now = MonotonicNow();
    for (BackupCall* call : *calls) call->Check(now);
  };
}

}  // namespace raftkv::api
