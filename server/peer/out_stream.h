#ifndef RAFTKV_SERVER_PEER_OUT_STREAM_H_
#define RAFTKV_SERVER_PEER_OUT_STREAM_H_

// Our end of a bidirectional gRPC stream that we open to a peer: connects when there is something
// to send, and comes back by itself after a pause when it breaks. in_stream.h is the other end.
//
// On the completion queue's thread only. One write and one read are outstanding at a time; what
// cannot be written yet waits in a queue with a bound. Nothing here knows Raft.
//
// `live` counts the streams that still have operations under way: a completion queue must not be
// shut down before it is 0.

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/peer/queue_bound.h"
#include "server/rpc/rpc.h"

namespace raftkv {

template <typename Request, typename Response>
class OutStream {
 public:
  using Call = grpc::ClientAsyncReaderWriter<Request, Response>;

  struct Hooks {
    // Opens a call; StartCall is ours.
    std::function<std::unique_ptr<Call>(grpc::ClientContext*)> open;
    // False: the peer is not who we think; the stream is ended.
    std::function<bool(Response*, bool first)> on_response;
    // Called on the first request of each new stream: says who we are.
    std::function<void(Request*)> introduce;
    // The stream broke or could not be opened. `unsent` certainly never left; of what was sent
    // before, any part may have arrived.
    std::function<void(const std::deque<Request>& unsent, const grpc::Status&)> on_lost;
  };

  OutStream(Hooks hooks, QueueBound bound, int* live)
      : hooks_(std::move(hooks)), bound_(bound), live_(live) {}
  ~OutStream() {
    if (session_ != nullptr) session_->owner = nullptr;
  }

  // Anything but kTaken: the request is dropped and never left.
  enum class Sent { kTaken, kNotConnected, kFull };
  Sent Send(Request request) {
    if (stopped_ || (session_ == nullptr && std::chrono::steady_clock::now() < retry_at_)) {
      return Sent::kNotConnected;
    }
    if (Full(request)) return Sent::kFull;
    if (session_ == nullptr) hooks_.introduce(&request);
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

  // The newest request that has not left yet, for about `bytes` more to join it, up to bytes_max.
  Request* Join(size_t bytes, size_t bytes_max) {
    if (queue_.empty() || newest_bytes_ + bytes > bytes_max) return nullptr;
    newest_bytes_ += bytes;
    queued_bytes_ += bytes;
    return &queue_.back();
  }

  void Stop() {
    stopped_ = true;
    if (session_ != nullptr) session_->context.TryCancel();
  }

 private:
  // One call. Outlives the owner if operations are still under way.
  struct Session {
    explicit Session(OutStream* owner) : owner(owner) {
      call = owner->hooks_.open(&context);
      live = owner->live_;
      ++*live;
      pending = 1;
      call->StartCall(&started);
    }

    void OnStarted(bool ok) {
      --pending;
      if (!ok || owner == nullptr) return Break();
      open = true;
      ++pending;
      call->Read(&response, &read);
      MaybeWrite();
    }

    void MaybeWrite() {
      if (!open || broken || writing || owner == nullptr || owner->queue_.empty()) return;
      request = std::move(owner->queue_.front());
      owner->queue_.pop_front();
      owner->queued_bytes_ -= std::min(owner->queued_bytes_, request.ByteSizeLong());
      writing = true;
      ++pending;
      grpc::WriteOptions options;
      if (!owner->queue_.empty()) options.set_buffer_hint();  // more follows: one system call
      call->Write(request, options, &wrote);
    }

    void OnWrote(bool ok) {
      --pending;
      writing = false;
      if (!ok) return Break();
      if (broken) return MaybeFinish();
      MaybeWrite();
    }

    void OnRead(bool ok) {
      --pending;
      if (!ok || broken || owner == nullptr) return Break();
      const bool welcome = owner->hooks_.on_response(&response, !responded);
      responded = true;
      if (!welcome) return Break();
      response.Clear();
      ++pending;
      call->Read(&response, &read);
    }

    void Break() {
      if (!broken) {
        broken = true;
        if (pending > 0) context.TryCancel();
      }
      MaybeFinish();
    }

    void MaybeFinish() {
      if (pending > 0) return;
      pending = 1;
      call->Finish(&status, &finished);
    }

    void OnFinished(bool) {
      if (owner != nullptr) owner->OnEnd(status);
      --*live;
      delete this;
    }

    OutStream* owner;
    int* live = nullptr;
    grpc::ClientContext context;
    std::unique_ptr<Call> call;
    Request request;
    Response response;
    grpc::Status status;
    int pending = 0;
    bool open = false;
    bool writing = false;
    bool responded = false;
    bool broken = false;
    Operation<Session> started{this, &Session::OnStarted};
    Operation<Session> wrote{this, &Session::OnWrote};
    Operation<Session> read{this, &Session::OnRead};
    Operation<Session> finished{this, &Session::OnFinished};
  };

  bool Full(const Request& request) const {
    return !queue_.empty() && (queue_.size() >= bound_.messages ||
                               queued_bytes_ + request.ByteSizeLong() > bound_.bytes);
  }

  void OnEnd(const grpc::Status& status) {
    // A connection that worked is made anew at once; one that cannot be made, or that the peer
    // refuses, after a pause.
    std::chrono::milliseconds pause(100);
    if (session_->responded) pause = {};
    if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION)
      pause = std::chrono::seconds(1);
    session_ = nullptr;
    retry_at_ = std::chrono::steady_clock::now() + pause;
    queued_bytes_ = 0;
    hooks_.on_lost(std::exchange(queue_, {}), status);
  }

  const Hooks hooks_;
  const QueueBound bound_;
  int* const live_;
  Session* session_ = nullptr;
  std::deque<Request> queue_;
  size_t queued_bytes_ = 0;
  size_t newest_bytes_ = 0;  // of queue_.back()
  std::chrono::steady_clock::time_point retry_at_;
  bool stopped_ = false;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_OUT_STREAM_H_
