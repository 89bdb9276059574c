// The methods of Peers about snapshots. snapshot_sender.h is the sending end of a stream.
//
// A snapshot arrives in chunks. The loop gives each one to the worker, which writes it to the disk;
// then the loop answers it. So at most one chunk of a peer is in memory.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "glog/logging.h"
#include "server/clock.h"
#include "server/peer/peers.h"
#include "server/peer/raft_codec.h"

namespace raftkv {

namespace {

// The pause before the next snapshot after a failed one, because each costs the leader a flush.
constexpr absl::Duration kFirstPause = absl::Seconds(1);
constexpr absl::Duration kPauseMax = absl::Seconds(30);

}  // namespace

// A snapshot that arrives. Owned by the loop and, while it writes, by the worker.
struct Peers::Incoming {
  uint64_t connection = 0;  // of its stream
  SnapshotOffer offer;
  std::unique_ptr<SnapshotWriter> writer;  // after the first request; used by the worker
  bool busy = false;                       // the worker has a request
  MonotonicTime chunk_by;                  // when the next request must be there, if not busy
  bool handed_over = false;                // to the member
};

// --- sending

void Peers::SendSnapshot(raft::MemberId to, raft::Term term) {
  Peer* peer = Find(to);
  if (peer == nullptr || peer->channel == nullptr || closing() ||
      options_.snapshots.take == nullptr) {
    post_(SnapshotSent{to, term, false});
    return;
  }
  GiveUp(peer);
  SnapshotSender::Options options;
  options.name = peer->address.name;
  options.address = peer->address.address;
  options.term = term;
  options.introduction = handshake_.Introduction(to);
  options.pause = std::min(kPauseMax, kFirstPause * (1 << std::min(peer->snapshots_failed, 10)));
  options.is_peer = [cluster = options_.cluster_id, to,
                     self = options_.self](const proto::Peer& who) {
    return who.cluster_id() == cluster && who.from() == to && who.to() == self;
  };
  options.done = [this, peer, to, term](bool ok) {
    peer->snapshots_failed = ok ? 0 : peer->snapshots_failed + 1;
    if (!closing()) post_(SnapshotSent{to, term, ok});
  };
  peer->snapshot_out = std::make_unique<SnapshotSender>(std::move(options), &options_.snapshots);
}

void Peers::StopSnapshots() {
  for (auto& [id, peer] : peers_) GiveUp(&peer);
}

// The sender's thread may wait for the disk. The loop must not wait for that thread, so the sender
// is destroyed later.
void Peers::GiveUp(Peer* peer) {
  std::erase_if(given_up_, [](const auto& sender) { return sender->finished(); });
  if (peer->snapshot_out == nullptr) return;
  peer->snapshot_out->Cancel();
  given_up_.push_back(std::move(peer->snapshot_out));
}

void Peers::EndLateSnapshots(Peer* peer) {
  const MonotonicTime now = MonotonicNow();
  if (peer->snapshot_out != nullptr) peer->snapshot_out->EndIfLate(now);
  const Incoming* in = peer->incoming.get();
  if (in == nullptr || in->busy || in->handed_over || now < in->chunk_by) return;
  const absl::Status late = absl::DeadlineExceededError(
      absl::StrCat("no chunk has come for ", absl::FormatDuration(options_.snapshots.chunk_max)));
  LOG(WARNING) << "the snapshot from " << peer->address.name << " is given up: " << late.message();
  EndIncoming(peer, late);
}

void Peers::StopSnapshotThreads() {
  StopSnapshots();
  given_up_.clear();
  snapshot_worker_.Stop();
}

// --- receiving

absl::Status Peers::OnSnapshot(const Sender& from, proto::InstallSnapshotRequest* request) {
  Peer* peer = Find(from.id);
  if (peer->snapshot_in == nullptr || peer->snapshot_in->sender().connection != from.connection) {
    return absl::OkStatus();  // the leader has begun again on another stream
  }
  std::shared_ptr<Incoming> in = peer->incoming;
  const bool first = in == nullptr || in->connection != from.connection;
  if (first) {
    Discard(std::exchange(peer->incoming, nullptr));
    absl::StatusOr<SnapshotOffer> offer = Decode(*request);
    if (!offer.ok()) return CountMalformed(from.id, offer.status());
    in = peer->incoming = std::make_shared<Incoming>();
    in->connection = from.connection;
    in->offer = *std::move(offer);
    LOG(INFO) << "a snapshot arrives from " << peer->address.name << ": index "
              << in->offer.manifest.base.id.index << ", " << (in->offer.manifest.bytes() >> 20)
              << " MiB";
  } else if (in->busy || in->handed_over) {
    return CountMalformed(from.id,
                          absl::InvalidArgumentError("a chunk before the last one was answered"));
  }
  in->busy = true;
  auto chunk = std::make_shared<proto::InstallSnapshotRequest>(std::move(*request));
  const bool accepted = snapshot_worker_.Run([this, in, chunk, first, from] {
    absl::Status status;
    std::unique_ptr<ReceivedSnapshot> received;
    if (first) {
      auto writer = options_.snapshots.receive(in->offer.manifest);
      status = writer.status();
      if (writer.ok()) in->writer = *std::move(writer);
    } else {
      status = in->writer->Write(chunk->file(), chunk->offset(), chunk->data(), chunk->crc32c());
    }
    if (status.ok() && in->writer->complete()) {
      auto accepted = options_.snapshots.accept(std::move(in->writer));
      status = accepted.status();
      if (accepted.ok()) received = *std::move(accepted);
    }
    auto result = std::make_shared<std::unique_ptr<ReceivedSnapshot>>(std::move(received));
    options_.snapshots.run_on_loop(
        [this, in, from, status, result] { OnWritten(from, in, status, std::move(*result)); });
  });
  return accepted ? absl::OkStatus() : absl::ResourceExhaustedError("too many snapshots arrive");
}

// The writer removes its files, which may take long. So the worker destroys it.
void Peers::Discard(const std::shared_ptr<Incoming>& in) {
  if (in == nullptr || in->busy || in->writer == nullptr) return;  // busy: OnWritten discards it
  const std::shared_ptr<SnapshotWriter> writer = std::move(in->writer);
  snapshot_worker_.Run([writer] {});
}

void Peers::EndIncoming(Peer* peer, const absl::Status& status) {
  Discard(std::exchange(peer->incoming, nullptr));
  if (peer->snapshot_in != nullptr) std::exchange(peer->snapshot_in, nullptr)->Finish(status);
}

void Peers::OnWritten(const Sender& from, const std::shared_ptr<Incoming>& in,
                      const absl::Status& status, std::unique_ptr<ReceivedSnapshot> received) {
  Peer* peer = Find(from.id);
  in->busy = false;
  if (closing() || peer->incoming != in) return Discard(in);  // the stream ended
  if (!status.ok()) {
    LOG(ERROR) << "the snapshot from " << peer->address.name
               << " cannot be installed: " << status.message();
    return EndIncoming(peer, status);
  }
  in->chunk_by = MonotonicNow() + options_.snapshots.chunk_max;
  peer->snapshot_in->Send({});
  if (received == nullptr) return;
  in->handed_over = true;
  raft::Message message{from.id, options_.self, in->offer.term,
                        raft::InstallSnapshot{{.last = in->offer.manifest.base.id}}};
  post_(SnapshotArrived{PeerMessage{from, options_.self, std::move(message)}, std::move(received),
                        [this, from, in](bool ok) {
                          Peer* peer = Find(from.id);
                          if (closing() || peer->incoming != in) return;
                          if (!ok)
                            return EndIncoming(peer,
                                               absl::AbortedError("the member did not install it"));
                          proto::InstallSnapshotResponse response;
                          response.set_installed(true);
                          peer->snapshot_in->Send(std::move(response));
                        }});
}

}  // namespace raftkv
