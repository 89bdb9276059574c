#ifndef RAFTKV_SERVER_PEER_OUT_STREAM_H_
#define RAFTKV_SERVER_PEER_OUT_STREAM_H_

// The sending end of a bidirectional gRPC stream that we open to a peer. It connects when there is
// something to send. If the connection breaks, it connects again after a pause. in_stream.h is the
// other end.
//
// The first request of each connection contains our introduction, and the first answer contains the
// peer's (handshake.h). Requests that cannot be written yet wait in a bounded queue. At most one
// write and one read are in flight.
//
// Used only on the completion queue's thread. `live` counts connections with operations in flight:
// the completion queue must not be shut down before `live` is 0.

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "proto/raft.pb.h"
#include "server/clock.h"
#include "server/peer/handshake.h"
#include "server/peer/queue_bound.h"
#include "server/rpc/completion.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

// How a stream that we opened ended.
struct StreamEnd {
  grpc::Status status;
  bool rejected_by_us = false;  // we ended it, because the peer sent a wrong message

  // The peer ended the stream because it rejected a message or the identity of this member.
  bool rejected_by_peer() const {
    return status.error_code() == grpc::StatusCode::FAILED_PRECONDITION ||
           status.error_code() == grpc::StatusCode::INVALID_ARGUMENT;
  }
};

template <typename Request, typename Response>
class OutStream {
 public:
  using Call = grpc::ClientAsyncReaderWriter<Request, Response>;

  struct Hooks {
    // Prepares a call, which OutStream starts.
    std::function<std::unique_ptr<Call>(grpc::ClientContext*)> open;
    std::function<proto::Peer()> introduction;
    // Called at the first answer. False: the peer is not the expected one, and the stream ends.
    std::function<bool(const proto::Peer& who)> on_open;
    // Called for each answer, also the first. False: the answer is malformed, and the stream ends.
    std::function<bool(const Sender& from, Response*)> on_response;
    // The stream ended or could not be opened. The requests in `unsent` were certainly never sent.
    // Every earlier request may or may not have arrived.
    std::function<void(const std::deque<Request>& unsent, const StreamEnd&)> on_lost;
  };

  OutStream(Hooks hooks, QueueBound bound, int* live)
      : hooks_(std::move(hooks)), bound_(bound), live_(live) {}
  ~OutStream() {
    if (session_ != nullptr) session_->owner = nullptr;
  }

  // With any result except kTaken, the request was dropped and not sent.
  enum class Sent { kTaken, kNotConnected, kFull };
  Sent Send(Request request) {
    if (session_ == nullptr && MonotonicNow() < retry_at_) {
      return Sent::kNotConnected;
    }
    if (session_ != nullptr) session_->CancelIfLate();
    if (Full(request)) return Sent::kFull;
    if (session_ == nullptr) *request.mutable_peer() = hooks_.introduction();
    newest_bytes_ = request.ByteSizeLong();
    queued_bytes_ += newest_bytes_;
    queue_.push_back(std::move(request));
    if (session_ == nullptr) {
      session_ = new Session(this);
    } else {
      session_->MaybeWrite();
    }
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

  // Ends the connection cleanly: tells the peer that no more requests follow (half-close), and the
  // peer then ends the connection. Nothing may be sent after Close.
  void Close() {
    if (session_ != nullptr) session_->Close();
  }

  // Ends the connection at once, because the peer has sent a wrong message. The next connection is
  // opened after a pause.
  void Reject() {
    if (session_ != nullptr) session_->Reject();
  }

  // Ends the connection at once. The next Send opens another one.
  void Cancel() {
    if (session_ != nullptr) session_->context.TryCancel();
  }

 private:
  // How long a call that no longer works may take to end.
  static constexpr absl::Duration kStatusMax = absl::Seconds(1);

  // One connection. It outlives the owner while operations are in flight.
  class Session final : public Operations {
   public:
    explicit Session(OutStream* o) : owner(o) {
      call_ = owner->hooks_.open(&context);
      CountIn(owner->live_);
      call_->StartCall(started_.Start());
    }

    void MaybeWrite() {
      if (!open_ || broken_ || writing_ || closing_ || owner == nullptr || owner->queue_.empty())
        return;
      const Request request = std::move(owner->queue_.front());
      owner->queue_.pop_front();
      owner->queued_bytes_ -= std::min(owner->queued_bytes_, request.ByteSizeLong());
      writing_ = true;
      grpc::WriteOptions options;
      if (!owner->queue_.empty()) options.set_buffer_hint();  // more follows: one system call
      call_->Write(request, options, wrote_.Start());
    }

    void Close() {
      if (!open_ || broken_) return context.TryCancel();
      closing_ = true;
      if (!writing_) call_->WritesDone(closed_.Start());
    }

    void Reject() {
      rejected_ = true;
      context.TryCancel();
    }

    // Ends a broken call whose status does not arrive, because the peer still serves it, for
    // example after an answer that is not protobuf. Until the call has ended, no other one is
    // opened.
    void CancelIfLate() {
      if (!broken_) return;
      const MonotonicTime now = MonotonicNow();
      if (!status_due_) status_due_ = now + kStatusMax;
      if (now >= *status_due_) context.TryCancel();
    }

    bool answered() const { return from_.id != raft::kNobody; }

    OutStream* owner;  // null: it was destroyed
    grpc::ClientContext context;

   private:
    void OnStarted(bool ok) {
      if (!ok) return Break();
      if (owner == nullptr) return Cancel();
      open_ = true;
      call_->Read(&response_, read_.Start());
      MaybeWrite();
    }

    void OnWrote(bool ok) {
      writing_ = false;
      if (!ok || broken_) return Break();
      if (closing_) return call_->WritesDone(closed_.Start());
      MaybeWrite();
    }

    void OnClosed(bool ok) {
      if (!ok || broken_) Break();
    }

    void OnRead(bool ok) {
      if (!ok || broken_) return Break();
      if (owner == nullptr) return Cancel();
      if (!answered()) {
        if (!owner->hooks_.on_open(response_.peer())) return Cancel();
        from_ = Handshake::SenderOf(response_.peer());
      }
      if (!owner->hooks_.on_response(from_, &response_)) {
        rejected_ = true;
        return Cancel();
      }
      response_.Clear();
      call_->Read(&response_, read_.Start());
    }

    // Ends a call that still works.
    void Cancel() {
      context.TryCancel();
      Break();
    }

    // Call it in the completion of an operation of a call that no longer works. The other
    // operations in flight fail soon, and the last one asks gRPC for the call's status. The call is
    // not cancelled, because that would hide why it ended.
    void Break() {
      broken_ = true;
      if (OnlyOneInFlight()) call_->Finish(&status_, finished_.Start());
    }

    void OnFinished(bool) {
      if (owner != nullptr) owner->OnEnd({status_, rejected_});
    }

    std::unique_ptr<Call> call_;
    Response response_;
    grpc::Status status_;
    Sender from_;  // kNobody until the first answer
    bool open_ = false;
    bool writing_ = false;
    bool broken_ = false;
    bool closing_ = false;
    bool rejected_ = false;                    // by us
    std::optional<MonotonicTime> status_due_;  // once it is broken
    Operation<Session> started_{this, &Session::OnStarted};
    Operation<Session> wrote_{this, &Session::OnWrote};
    Operation<Session> closed_{this, &Session::OnClosed};
    Operation<Session> read_{this, &Session::OnRead};
    Operation<Session> finished_{this, &Session::OnFinished};
  };

  bool Full(const Request& request) const {
    return !queue_.empty() && (queue_.size() >= bound_.messages ||
                               queued_bytes_ + request.ByteSizeLong() > bound_.bytes);
  }

  void OnEnd(const StreamEnd& end) {
    // If the connection worked, connect again at once. If it could not be opened, or if one side
    // rejected the other, wait first.
    absl::Duration pause = absl::Milliseconds(100);
    if (session_->answered()) pause = absl::ZeroDuration();
    if (end.rejected_by_peer() || end.rejected_by_us) pause = absl::Seconds(1);
    session_ = nullptr;
    retry_at_ = MonotonicNow() + pause;
    queued_bytes_ = 0;
    hooks_.on_lost(std::exchange(queue_, {}), end);
  }

  const Hooks hooks_;
  const QueueBound bound_;
  int* const live_;
  Session* session_ = nullptr;
  std::deque<Request> queue_;
  size_t queued_bytes_ = 0;
  size_t newest_bytes_ = 0;  // of queue_.back()
  MonotonicTime retry_at_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_OUT_STREAM_H_
