#ifndef RAFTKV_SERVER_PEER_IN_STREAM_H_
#define RAFTKV_SERVER_PEER_IN_STREAM_H_

// Our end of a bidirectional gRPC stream that a peer opened (out_stream.h is the other end).
// Deletes itself when it has ended.
//
// On the completion queue's thread only. One write and one read are outstanding at a time; answers
// that cannot be written yet wait in a queue with a bound. `live` counts as in out_stream.h.

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/peer/queue_bound.h"
#include "server/rpc/rpc.h"

namespace raftkv {

template <typename Request, typename Response>
class InStream {
 public:
  struct Hooks {
    // Not OK: the stream ends with it. `stream` may be kept until on_end.
    std::function<grpc::Status(InStream* stream, Request*, bool first)> on_request;
    std::function<void(InStream*)> on_end;
  };

  // Accepts streams until the server shuts down.
  static void Accept(MethodTable* methods, int method, Queues queues, Hooks hooks, QueueBound bound,
                     int* live) {
    new InStream(
        std::make_shared<Shared>(Shared{methods, method, queues, std::move(hooks), bound, live}));
  }

  // Dropped when the queue is full: whoever waits for it asks again.
  void Send(Response response) {
    if (closing_ || (!queue_.empty() && queue_.size() >= shared_->bound.messages)) return;
    queue_.push_back(std::move(response));
    MaybeWrite();
  }

  void Cancel() { context_.TryCancel(); }

  // Whoever the first request said it is.
  uint64_t peer = 0;
  std::string store_id;
  bool answered = false;

 private:
  struct Shared {
    MethodTable* methods;
    int method;
    Queues queues;
    Hooks hooks;
    QueueBound bound;
    int* live;
  };

  explicit InStream(std::shared_ptr<Shared> shared) : shared_(std::move(shared)), call_(&context_) {
    shared_->methods->RequestAsyncBidiStreaming(shared_->method, &context_, &call_,
                                                shared_->queues.calls, shared_->queues.arrivals,
                                                &arrived_);
  }

  void OnArrived(bool ok) {
    if (!ok || !shared_->methods->listening()) {
      delete this;
      return;
    }
    new InStream(shared_);
    ++*shared_->live;
    Read();
  }

  void Read() {
    ++pending_;
    call_.Read(&request_, &read_);
  }

  void OnRead(bool ok) {
    --pending_;
    if (!ok || closing_) return Close(grpc::Status::OK);
    const grpc::Status status = shared_->hooks.on_request(this, &request_, first_);
    first_ = false;
    if (!status.ok()) return Close(status);
    request_.Clear();
    Read();
  }

  void MaybeWrite() {
    if (writing_ || closing_ || queue_.empty()) return;
    response_ = std::move(queue_.front());
    queue_.pop_front();
    writing_ = true;
    ++pending_;
    grpc::WriteOptions options;
    if (!queue_.empty()) options.set_buffer_hint();
    call_.Write(response_, options, &wrote_);
  }

  void OnWrote(bool ok) {
    --pending_;
    writing_ = false;
    if (!ok || closing_) return Close(grpc::Status::OK);
    MaybeWrite();
  }

  void Close(const grpc::Status& status) {
    if (!closing_) {
      closing_ = true;
      status_ = status;
      if (pending_ > 0) context_.TryCancel();
      shared_->hooks.on_end(this);
    }
    if (pending_ > 0) return;
    pending_ = 1;
    call_.Finish(status_, &finished_);
  }

  void OnFinished(bool) {
    --*shared_->live;
    delete this;
  }

  const std::shared_ptr<Shared> shared_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<Response, Request> call_;
  Request request_;
  Response response_;
  std::deque<Response> queue_;
  grpc::Status status_;
  int pending_ = 0;
  bool first_ = true;
  bool writing_ = false;
  bool closing_ = false;
  Operation<InStream> arrived_{this, &InStream::OnArrived};
  Operation<InStream> read_{this, &InStream::OnRead};
  Operation<InStream> wrote_{this, &InStream::OnWrote};
  Operation<InStream> finished_{this, &InStream::OnFinished};
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_IN_STREAM_H_
