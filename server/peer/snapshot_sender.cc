#include "server/peer/snapshot_sender.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "glog/logging.h"
#include "server/clock.h"
#include "server/peer/cause.h"
#include "server/peer/raft_codec.h"
#include "storage/base/checksum.h"

namespace raftkv {

namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr absl::Duration kConnectTimeout = absl::Seconds(2);
constexpr absl::Duration kCancelCheckInterval = absl::Milliseconds(50);
constexpr absl::Duration kProgressInterval = absl::Seconds(10);
// The receiver verifies all files before it answers the last chunk. It may be this slow.
constexpr int64_t kSlowestVerifyBytesPerSecond = 4 << 20;

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 2000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

}  // namespace

SnapshotSender::SnapshotSender(Options options, const SnapshotHooks* hooks)
    : options_(std::move(options)), hooks_(*hooks), thread_([this] { Run(); }) {}

SnapshotSender::~SnapshotSender() {
  Cancel();
  thread_.join();
}

void SnapshotSender::Cancel() {
  {
    absl::MutexLock lock(&shared_->mutex);
    shared_->cancelled = true;
  }
  context_.TryCancel();
}

void SnapshotSender::EndIfLate(MonotonicTime now) {
  {
    absl::MutexLock lock(&shared_->mutex);
    if (now < shared_->answer_by || std::exchange(shared_->late, true)) return;
  }
  context_.TryCancel();
}

absl::Status SnapshotSender::Ask(Stream* stream, const proto::InstallSnapshotRequest* request,
                                 absl::Duration limit, proto::InstallSnapshotResponse* answer) {
  {
    absl::MutexLock lock(&shared_->mutex);
    shared_->answer_by = MonotonicNow() + limit;
  }
  const bool answered = (request == nullptr || stream->Write(*request)) && stream->Read(answer);
  absl::MutexLock lock(&shared_->mutex);
  shared_->answer_by = MonotonicTime::InfiniteFuture();
  if (answered) return absl::OkStatus();
  if (!shared_->late) return absl::UnavailableError("");
  return absl::DeadlineExceededError(
      absl::StrCat("it has not answered for ", absl::FormatDuration(limit)));
}

bool SnapshotSender::Sleep(absl::Duration duration) {
  absl::MutexLock lock(&shared_->mutex);
  return !shared_->mutex.AwaitWithTimeout(absl::Condition(&shared_->cancelled), duration);
}

void SnapshotSender::Run() {
  const absl::Status status = Send();
  if (!status.ok() && Sleep(absl::ZeroDuration())) {
    LOG(WARNING) << "sending a snapshot to " << options_.name << " failed: " << status.message();
    Sleep(options_.pause);
  }
  hooks_.run_on_loop([shared = shared_, done = options_.done, ok = status.ok()] {
    {
      absl::MutexLock lock(&shared->mutex);
      if (shared->cancelled) return;
    }
    done(ok);
  });
  finished_ = true;
}

absl::Duration SnapshotSender::LastAnswerMax(uint64_t bytes) const {
  return hooks_.chunk_max +
         absl::Seconds(static_cast<int64_t>(bytes) / kSlowestVerifyBytesPerSecond);
}

absl::StatusOr<LogStore::Tip> SnapshotSender::TipAt(raft::EntryId id) {
  hooks_.run_on_loop([shared = shared_, id, tip_at = hooks_.tip_at] {
    std::optional<LogStore::Tip> tip = tip_at(id);
    absl::MutexLock lock(&shared->mutex);
    shared->tip = tip;
    shared->tip_known = true;
  });
  absl::MutexLock lock(&shared_->mutex);
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(shared_->mutex) {
    return shared_->cancelled || shared_->tip_known;
  };
  shared_->mutex.Await(absl::Condition(&ready));
  if (shared_->cancelled) return absl::CancelledError("given up");
  if (!shared_->tip) return absl::UnavailableError("the log was cut meanwhile");
  return *shared_->tip;
}

absl::Status SnapshotSender::Send() {
  // Connects before it takes the snapshot, because taking it costs a flush.
  const std::shared_ptr<grpc::Channel> channel = Connect(options_.address);
  const MonotonicTime connect_by = MonotonicNow() + kConnectTimeout;
  while (!channel->WaitForConnected(absl::ToChronoTime(absl::Now() + kCancelCheckInterval))) {
    if (!Sleep(absl::ZeroDuration())) return absl::CancelledError("given up");
    if (MonotonicNow() < connect_by) continue;
    return absl::UnavailableError(absl::StrCat("cannot connect to ", options_.address));
  }
  const absl::StatusOr<std::unique_ptr<TakenSnapshot>> taken = hooks_.take();
  if (!taken.ok()) return taken.status();
  SnapshotManifest manifest = (*taken)->manifest();
  absl::StatusOr<LogStore::Tip> tip = TipAt(manifest.base.id);
  if (!tip.ok()) return tip.status();
  manifest.base = *tip;

  const MonotonicTime start = MonotonicNow();
  LOG(INFO) << "sending a snapshot to " << options_.name << ": index " << manifest.base.id.index
            << ", " << (manifest.bytes() >> 20) << " MiB in " << manifest.files.size() << " files";
  const auto stub = proto::Raft::NewStub(channel);
  const std::unique_ptr<Stream> stream = stub->InstallSnapshot(&context_);
  proto::InstallSnapshotRequest offer = Encode(options_.term, manifest);
  offer.set_leader_id(options_.introduction.from());
  *offer.mutable_peer() = options_.introduction;
  proto::InstallSnapshotResponse answer;
  absl::Status status = Ask(stream.get(), &offer, hooks_.chunk_max, &answer);
  if (status.ok() && !options_.is_peer(answer.peer())) {
    context_.TryCancel();
    status = absl::FailedPreconditionError("another process answers at its address");
  }
  if (status.ok()) status = SendFiles(**taken, stream.get());
  if (status.ok()) status = Ask(stream.get(), nullptr, LastAnswerMax(manifest.bytes()), &answer);
  if (status.ok() && !answer.installed()) status = absl::UnavailableError("");
  if (status.ok()) {
    LOG(INFO) << "the snapshot for " << options_.name << " is installed; it took "
              << absl::StrFormat("%.1fs", absl::ToDoubleSeconds(MonotonicNow() - start));
    context_.TryCancel();  // nothing more comes
    stream->Finish();
    return status;
  }
  context_.TryCancel();
  const grpc::Status end = stream->Finish();
  return status.message().empty() ? absl::UnavailableError(WhyLost(end)) : status;
}

absl::Status SnapshotSender::SendFiles(const TakenSnapshot& taken, Stream* stream) {
  const std::vector<SnapshotManifest::File>& files = taken.manifest().files;
  const uint64_t all = taken.manifest().bytes();
  const MonotonicTime start = MonotonicNow();
  MonotonicTime next_progress = start + kProgressInterval;
  uint64_t sent = 0;
  proto::InstallSnapshotRequest chunk;
  proto::InstallSnapshotResponse answer;
  for (size_t file = 0; file < files.size(); ++file) {
    for (uint64_t offset = 0; offset < files[file].size; offset += chunk.data().size()) {
      absl::StatusOr<std::string> data = taken.Read(file, offset, kChunkBytes);
      if (!data.ok()) return data.status();
      chunk.set_file(static_cast<uint32_t>(file));
      chunk.set_offset(offset);
      chunk.set_crc32c(Crc32c(*data));
      chunk.set_data(*std::move(data));
      sent += chunk.data().size();
      const absl::Duration limit = sent < all ? hooks_.chunk_max : LastAnswerMax(all);
      if (absl::Status s = Ask(stream, &chunk, limit, &answer); !s.ok()) return s;
      const MonotonicTime now = MonotonicNow();
      if (now >= next_progress) {
        next_progress = now + kProgressInterval;
        LOG(INFO) << "snapshot for " << options_.name << ": " << (sent >> 20) << " of "
                  << (all >> 20) << " MiB sent";
      }
      const MonotonicTime due = start + absl::Seconds(static_cast<double>(sent) /
                                                      static_cast<double>(hooks_.bytes_per_second));
      if (due > now && !Sleep(due - now)) return absl::CancelledError("given up");
    }
  }
  return absl::OkStatus();
}

}  // namespace raftkv
