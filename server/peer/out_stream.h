#ifndef RAFTKV_SERVER_PEER_OUT_STREAM_H_
#define RAFTKV_SERVER_PEER_OUT_STREAM_H_

// The sending end of a bidirectional gRPC stream that we open to a peer. It connects when there is
// something to send. If the connection breaks, it connects again after a pause. in_stream.h is the
// other end.
//
// The first request of each stream contains our introduction, and the first answer contains the
// peer's (handshake.h). Requests wait in a bounded queue until Flush, and longer if they cannot be
// written yet.
//
// Used only on the loop's thread.

#include <algorithm>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/raft.pb.h"
#include "server/clock.h"
#include "server/peer/channel.h"
#include "server/peer/handshake.h"
#include "server/peer/queue_bound.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

// How a stream that we opened ended.
struct StreamEnd {
  absl::Status status;
  bool rejected_by_us = false;  // we ended it, because the peer sent a wrong message

  // The peer ended the stream because it rejected a message or the identity of this member.
  bool rejected_by_peer() const {
    return absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status);
  }
};

template <typename Request, typename Response>
class OutStream final : public Channel::Call {
 public:
  struct Hooks {
    std::function<proto::Peer()> introduction;
    // Called at the first answer. False: the peer is not the expected one, and the stream ends.
    std::function<bool(const proto::Peer& who)> on_open;
    // Called for each answer, also the first. False: the answer is malformed, and the stream ends.
    std::function<bool(const Sender& from, Response*)> on_response;
    // The stream ended or could not be opened. The requests in `unsent` were certainly never sent.
    // Every earlier request may or may not have arrived.
    std::function<void(const std::deque<Request>& unsent, const StreamEnd&)> on_lost;
  };

  // `method`: "/package.Service/Method", a constant. The channel must outlive this.
  OutStream(Channel* channel, const char* method, Hooks hooks, QueueBound bound)
      : channel_(channel), method_(method), hooks_(std::move(hooks)), bound_(bound) {}

  // With any result except kTaken, the request was dropped and not sent.
  enum class Sent { kTaken, kNotConnected, kFull };
  Sent Send(Request request) {
    if (!open()) {
      if (MonotonicNow() < retry_at_) return Sent::kNotConnected;
      *request.mutable_peer() = hooks_.introduction();
      from_ = {};
      rejected_ = closing_ = false;
      channel_->Start(this, method_);
    }
    if (Full(request)) return Sent::kFull;
    newest_bytes_ = request.ByteSizeLong();
    queued_bytes_ += newest_bytes_;
    queue_.push_back(std::move(request));
    return Sent::kTaken;
  }

  // The newest request in the queue, if about `bytes` may be added to it without exceeding
  // bytes_max; else null.
  Request* Join(size_t bytes, size_t bytes_max) {
    if (queue_.empty() || newest_bytes_ + bytes > bytes_max) return nullptr;
    newest_bytes_ += bytes;
    queued_bytes_ += bytes;
    return &queue_.back();
  }

  // Writes what waits. Then flush the channel.
  void Flush() {
    while (!queue_.empty() && !closing_ && MayWrite()) {
      const Request& request = queue_.front();
      queued_bytes_ -= std::min(queued_bytes_, request.ByteSizeLong());
      Write(request);
      queue_.pop_front();
    }
  }

  // Ends the stream cleanly: tells the peer that no more requests follow (half-close), and the peer
  // then ends the stream. Nothing may be sent after Close.
  void Close() {
    if (!open()) return;
    if (!channel_->ready()) return Cancel();
    closing_ = true;
    HalfClose();
  }

  // Ends the stream at once, because the peer has sent a wrong message. The next one is opened
  // after a pause.
  void Reject() {
    if (!open()) return;
    rejected_ = true;
    Cancel();
  }

  // Ends the stream at once. The next Send opens another one.
  using Channel::Call::Cancel;

 private:
  bool answered() const { return from_.id != raft::kNobody; }
  bool Full(const Request& request) const {
    return !queue_.empty() && (queue_.size() >= bound_.messages ||
                               queued_bytes_ + request.ByteSizeLong() > bound_.bytes);
  }

  void OnWritable() override { Flush(); }

  void OnMessage(const std::string& bytes) override {
    if (!response_.ParseFromString(bytes)) return Reject();
    if (!answered()) {
      if (!hooks_.on_open(response_.peer())) return Cancel();
      from_ = Handshake::SenderOf(response_.peer());
    }
    if (!hooks_.on_response(from_, &response_)) Reject();
  }

  void OnEnd(const absl::Status& status) override {
    const StreamEnd end = {status, rejected_};
    // If the connection worked, connect again at once. If it could not be opened, or if one side
    // rejected the other, wait first.
    absl::Duration pause = absl::Milliseconds(100);
    if (answered()) pause = absl::ZeroDuration();
    if (end.rejected_by_peer() || end.rejected_by_us) pause = absl::Seconds(1);
    retry_at_ = MonotonicNow() + pause;
    queued_bytes_ = 0;
    hooks_.on_lost(std::exchange(queue_, {}), end);
  }

  Channel* const channel_;
  const char* const method_;
  const Hooks hooks_;
  const QueueBound bound_;
  Response response_;  // its memory is used again
  Sender from_;        // kNobody until the first answer
  bool closing_ = false;
  bool rejected_ = false;  // by us
  std::deque<Request> queue_;
  size_t queued_bytes_ = 0;
  size_t newest_bytes_ = 0;  // of queue_.back()
  MonotonicTime retry_at_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_OUT_STREAM_H_
