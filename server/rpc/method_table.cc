#include "server/rpc/method_table.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/rpc_service_method.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <atomic>
#include <utility>

#include "glog/logging.h"
#include "server/clock.h"
#include "server/rpc/completion.h"

namespace raftkv {

namespace {

using google::protobuf::Message;

// gRPC keeps time in milliseconds and reads its clock before it reads the request from the socket,
// so the deadline that it computes may be a little before the client's.
constexpr absl::Duration kDeadlineMargin = absl::Milliseconds(5);

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

MonotonicTime ClientDeadline(const grpc::ServerContext& context) {
  // gpr's monotonic clock is the one that std::chrono::steady_clock reads.
  const gpr_timespec deadline = gpr_convert_clock_type(context.raw_deadline(), GPR_CLOCK_MONOTONIC);
  if (gpr_time_cmp(deadline, gpr_inf_future(GPR_CLOCK_MONOTONIC)) == 0) {
    return MonotonicTime::InfiniteFuture();
  }
  return MonotonicTime(absl::Seconds(deadline.tv_sec) + absl::Nanoseconds(deadline.tv_nsec)) +
         kDeadlineMargin;
}

// gRPC's own text.
absl::Status CannotParse() { return absl::InternalError("Unable to parse request"); }

absl::Status Parse(grpc::ByteBuffer* bytes, Message* message) {
  if (!bytes->Valid()) return CannotParse();
  if (!grpc::SerializationTraits<Message>::Deserialize(bytes, message).ok()) return CannotParse();
  return absl::OkStatus();
}

grpc::Status Serialize(const Message& message, grpc::ByteBuffer* bytes) {
  bool own = false;
  return grpc::SerializationTraits<Message>::Serialize(message, bytes, &own);
}

}  // namespace

// What unary calls and streams have in common: gRPC's context, and the operation that completes
// when the call is over, no matter which side ended it. `Base` is UnaryCall or Stream.
template <typename Base>
class MethodTable::GrpcCall : public Base, public Operations {
 public:
  std::optional<std::string_view> Metadata(std::string_view key) const override {
    const auto& metadata = context_.client_metadata();
    const auto it = metadata.find(grpc::string_ref(key.data(), key.size()));
    if (it == metadata.end()) return std::nullopt;
    return std::string_view(it->second.data(), it->second.size());
  }
  std::string peer() const override { return context_.peer(); }
  MonotonicTime deadline() const override { return ClientDeadline(context_); }
  bool gone() const override { return gone_.load(std::memory_order_relaxed); }
  void AddTrailer(std::string_view key, std::string_view value) override {
    context_.AddTrailingMetadata(std::string(key), std::string(value));
  }

 protected:
  GrpcCall() { context_.AsyncNotifyWhenDone(over_.Start()); }

  // Call it when the arrival completes. False: there is no call, or it is dropped.
  bool Arrived(bool ok, const MethodTable* table) {
    if (!ok) over_.Abandon();  // gRPC reports the end only for calls that arrived
    return ok && !table->phase_->AtLeast(Phase::kStopped);
  }
  // The call is over; gone(): because the client is gone.
  virtual void OnOver() {}

  grpc::ServerContext context_;

 private:
  void OnDone(bool /*ok*/) {
    gone_.store(context_.IsCancelled(), std::memory_order_relaxed);
    OnOver();
  }

  Operation<GrpcCall> over_{this, &GrpcCall::OnDone};
  std::atomic<bool> gone_{false};
};

// Lives from the moment when it waits for a call until that call is over. OnArrived counts the
// operation finished_ before the handler runs, so that Finish, which may run on any thread, need
// not change the count.
class MethodTable::Unary final : public GrpcCall<UnaryCall> {
 public:
  explicit Unary(const UnaryRow* row) : row_(row), responder_(&context_) {
    row_->table->RequestAsyncUnary(row_->index, &context_, &bytes_, &responder_,
                                   row_->table->queue_, row_->table->queue_, arrived_.Start());
  }

  Message* request() override { return request_.get(); }
  Message* response() override { return response_.get(); }

  void Finish(const absl::Status& status) override {
    grpc::ByteBuffer bytes;
    const grpc::Status wire = status.ok() ? Serialize(*response_, &bytes) : ToGrpc(status);
    // Freeing a large message takes time: here, on a worker's thread if there is one.
    response_.reset();
    request_.reset();
    if (wire.ok()) {
      responder_.Finish(bytes, wire, finished_.tag());
    } else {
      responder_.FinishWithError(wire, finished_.tag());
    }
  }

 private:
  void OnArrived(bool ok) {
    MethodTable* const table = row_->table;
    if (!Arrived(ok, table)) return;
    table->AwaitNext<Unary>(row_);
    finished_.Start();
    const UnaryMethod& method = row_->method;
    request_.reset(method.request->New());
    if (const absl::Status status = Parse(&bytes_, request_.get()); !status.ok()) {
      return Finish(status);
    }
    bytes_.Clear();
    if (method.check != nullptr) {
      if (const absl::Status status = method.check(*request_); !status.ok()) return Finish(status);
    }
    CountIn(&table->running_);
    response_.reset(method.response->New());
    method.handler(this);
  }

  void OnFinished(bool /*ok*/) {}

  friend class MethodTable;
  const UnaryRow* const row_;
  grpc::ByteBuffer bytes_;  // of the request, until it is parsed
  std::unique_ptr<Message> request_;
  std::unique_ptr<Message> response_;
  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> responder_;
  Operation<Unary> arrived_{this, &Unary::OnArrived};
  Operation<Unary> finished_{this, &Unary::OnFinished};
};

// A server stream is served like a bidirectional one whose client sends one request; on the wire
// there is no difference. At most one read and one write are in flight at a time.
class MethodTable::Stream final : public GrpcCall<raftkv::Stream> {
 public:
  explicit Stream(StreamRow* row) : row_(row), stream_(&context_) {
    row_->table->RequestAsyncBidiStreaming(row_->index, &context_, &stream_, row_->table->queue_,
                                           row_->table->queue_, arrived_.Start());
  }

  bool writable() const override { return !writing_ && !ending_; }
  void Write(const Message& response, bool more_follow) override {
    CHECK(writable());
    grpc::ByteBuffer bytes;
    if (const grpc::Status status = Serialize(response, &bytes); !status.ok()) {
      return Finish(absl::InternalError(status.error_message()));
    }
    // With the buffer hint, this write and the next one are sent with one system call. The first
    // write carries the initial metadata, and gRPC would never complete it if it were only
    // buffered.
    grpc::WriteOptions options;
    if (more_follow && wrote_once_) options.set_buffer_hint();
    writing_ = wrote_once_ = true;
    stream_.Write(bytes, options, wrote_.Start());
  }

  void Finish(const absl::Status& status) override {
    if (ending_) return;
    ending_ = true;
    status_ = ToGrpc(status);
    if (!writing_) SendStatus();
  }
  void Cancel() override { context_.TryCancel(); }

 private:
  ~Stream() override {
    row_->table->open_.erase(this);
    LeaveSilent();
  }

  void OnArrived(bool ok) {
    MethodTable* const table = row_->table;
    if (!Arrived(ok, table)) return;
    table->AwaitNext<Stream>(row_);
    CountIn(&table->running_);
    table->open_.insert(this);
    request_.reset(row_->method.request->New());
    handler_ = row_->method.open(this);
    silent_until_ = MonotonicNow() + row_->method.first_request.wait;
    silent_ = row_->silent.insert(row_->silent.end(), this);
    if (row_->silent.size() > row_->method.first_request.streams) row_->silent.front()->EndSilent();
    Read();
  }

  void EndSilent() {
    LeaveSilent();
    Cancel();
  }
  void LeaveSilent() {
    if (silent_) row_->silent.erase(*std::exchange(silent_, std::nullopt));
  }

  void Read() { stream_.Read(&bytes_, read_.Start()); }

  // ok false: the client sends no more requests, or is gone.
  void OnRead(bool ok) {
    if (ending_ || QueueStopped()) return;
    if (!ok) {
      // The handler lives until OnOver, which may tell it that the client is gone.
      if (row_->method.one_request) return Finish(CannotParse());
      if (!handler_->OnLastRequest()) Finish(absl::OkStatus());
      return;
    }
    LeaveSilent();
    request_->Clear();
    if (const absl::Status status = Parse(&bytes_, request_.get()); !status.ok()) {
      return End(status);
    }
    bytes_.Clear();
    if (const absl::Status status = handler_->OnRequest(request_.get()); !status.ok()) {
      return End(status);
    }
    if (!row_->method.one_request) MaybeRead();
  }

  void MaybeRead() {
    if (ending_) return;
    reading_ = handler_->WantsRequest();
    if (reading_) Read();
  }

  void OnWrote(bool ok) {
    if (QueueStopped()) return;
    writing_ = false;
    if (ending_) {
      if (!gone()) SendStatus();
      return;
    }
    if (!ok) return Finish(absl::OkStatus());
    handler_->OnWritable();
    if (!reading_) MaybeRead();
  }

  // Only now is it known whether the client has ended its requests or is gone.
  void OnOver() override {
    ending_ = true;
    if (gone() && handler_ != nullptr) handler_->OnGone();
    handler_.reset();
  }

  // Never called inside one of the handler's functions, because it deletes the handler.
  void End(const absl::Status& status) {
    Finish(status);
    handler_.reset();
  }

  // The queues are shut down and only drained: no operation may be started on them any more.
  bool QueueStopped() const { return row_->table->phase_->AtLeast(Phase::kStopped); }
  void SendStatus() { stream_.Finish(status_, finished_.Start()); }
  void OnFinished(bool /*ok*/) {}

  friend class MethodTable;
  StreamRow* const row_;
  std::optional<std::list<Stream*>::iterator> silent_;  // in the row, until the first request
  MonotonicTime silent_until_;
  std::unique_ptr<StreamHandler> handler_;  // null after the call has ended
  grpc::ByteBuffer bytes_;
  std::unique_ptr<Message> request_;
  grpc::Status status_;
  bool reading_ = true;  // false: the handler wants no request now
  bool writing_ = false;
  bool wrote_once_ = false;
  bool ending_ = false;
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> stream_;
  Operation<Stream> arrived_{this, &Stream::OnArrived};
  Operation<Stream> read_{this, &Stream::OnRead};
  Operation<Stream> wrote_{this, &Stream::OnWrote};
  Operation<Stream> finished_{this, &Stream::OnFinished};
};

int MethodTable::Add(const std::string& name, grpc::internal::RpcMethod::RpcType type) {
  AddMethod(new grpc::internal::RpcServiceMethod(name.c_str(), type, nullptr));
  MarkMethodAsync(count_);
  return count_++;
}

void MethodTable::Serve(Methods methods) {
  for (UnaryMethod& method : methods.unary) {
    UnaryRow& row = unary_.emplace_back(UnaryRow{this, 0, std::move(method)});
    row.index = Add(row.method.name, grpc::internal::RpcMethod::NORMAL_RPC);
  }
  for (StreamMethod& method : methods.streams) {
    StreamRow& row = streams_.emplace_back(StreamRow{this, 0, std::move(method), {}});
    row.index = Add(row.method.name, grpc::internal::RpcMethod::BIDI_STREAMING);
  }
}

void MethodTable::Start(grpc::ServerCompletionQueue* queue) {
  queue_ = queue;
  for (const UnaryRow& row : unary_) {
    for (int i = 0; i < row.method.waiting; ++i) new Unary(&row);
  }
  for (StreamRow& row : streams_) new Stream(&row);
}

template <typename Call, typename Row>
void MethodTable::AwaitNext(Row* row) {
  if (++calls_in_turn_ < kCallsPerTurn) {
    new Call(row);
  } else {
    next_turn_.push_back([row] { new Call(row); });
  }
}

void MethodTable::BeginTurn() {
  calls_in_turn_ = 0;
  if (phase_->AtLeast(Phase::kStopped)) return;
  for (const std::function<void()>& await : std::exchange(next_turn_, {})) await();
}

void MethodTable::CancelLate(MonotonicTime now) {
  for (StreamRow& row : streams_) {
    while (!row.silent.empty() && now >= row.silent.front()->silent_until_) {
      row.silent.front()->EndSilent();
    }
  }
}

void MethodTable::CancelStreams() {
  for (Stream* stream : open_) stream->Cancel();
}

void MethodTable::FinishStreams(const absl::Status& status) {
  for (Stream* stream : open_) stream->Finish(status);
}

}  // namespace raftkv
