#ifndef RAFTKV_SERVER_PEER_IN_STREAM_H_
#define RAFTKV_SERVER_PEER_IN_STREAM_H_

// The receiving end of a bidirectional stream that a peer opened (out_stream.h is the other end).
// The first request contains the peer's introduction, and the first answer contains ours
// (handshake.h). Answers that cannot be written yet wait in a bounded queue.
//
// Owned by the StreamCall (server/rpc/call.h), like every StreamHandler.

#include <deque>
#include <functional>
#include <utility>

#include "proto/raft.pb.h"
#include "server/peer/handshake.h"
#include "server/peer/queue_bound.h"
#include "server/rpc/call.h"

namespace raftkv {

template <typename Request, typename Response>
class InStream final : public StreamHandler {
 public:
  struct Hooks {
    // Called at the first request of `stream`. Checks which peer opened the stream. If the result
    // is not OK, the stream ends with that status.
    std::function<absl::StatusOr<Sender>(InStream* stream, const proto::Peer& who)> on_open;
    // Called for each request, also the first. If the result is not OK, the stream ends with that
    // status.
    std::function<absl::Status(const Sender& from, Request*)> on_request;
    std::function<proto::Peer(raft::MemberId to)> introduction;
    // `aborted`: the peer cancelled the stream or its connection broke.
    std::function<void(InStream*, bool aborted)> on_end;
  };

  // `hooks` must outlive the stream.
  InStream(const Hooks* hooks, QueueBound bound, StreamCall* stream)
      : hooks_(hooks), bound_(bound), stream_(stream) {}
  ~InStream() override { hooks_->on_end(this, aborted_); }

  // If the queue is full, the answer is dropped; the peer sends its request again.
  void Send(Response response) {
    if (!queue_.empty() && queue_.size() >= bound_.messages) return;
    if (!std::exchange(answered_, true)) {
      *response.mutable_peer() = hooks_->introduction(sender_.id);
    }
    queue_.push_back(std::move(response));
    MaybeWrite();
  }

  void Cancel() { stream_->Cancel(); }
  // Ends the stream with this status, which tells the peer the reason.
  void Finish(const absl::Status& status) { stream_->Finish(status); }

  const Sender& sender() const { return sender_; }

  absl::Status OnRequest(google::protobuf::Message* message) override {
    auto* request = static_cast<Request*>(message);
    if (sender_.id == raft::kNobody) {
      absl::StatusOr<Sender> sender = hooks_->on_open(this, request->peer());
      if (!sender.ok()) return sender.status();
      sender_ = *std::move(sender);
    }
    return hooks_->on_request(sender_, request);
  }
  void OnWritable() override { MaybeWrite(); }
  void OnGone() override { aborted_ = true; }

 private:
  void MaybeWrite() {
    if (queue_.empty() || !stream_->writable()) return;
    const Response response = std::move(queue_.front());
    queue_.pop_front();
    stream_->Write(response, /*more_follow=*/!queue_.empty());
  }

  const Hooks* const hooks_;
  const QueueBound bound_;
  StreamCall* const stream_;
  Sender sender_;  // kNobody until the first request
  bool answered_ = false;
  bool aborted_ = false;
  std::deque<Response> queue_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_IN_STREAM_H_
