#include "server/port/calls.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "glog/logging.h"
#include "server/clock.h"
#include "server/port/connection.h"

namespace raftkv::port {

namespace {

using google::protobuf::Message;

// This is added to the client's deadline, so that a handler never answers before the client has
// given up (Call::deadline).
constexpr absl::Duration kDeadlineMargin = absl::Milliseconds(5);
// How long after its client's deadline an unread answer is discarded.
constexpr absl::Duration kLateCall = absl::Seconds(1);
// The time that a client has to send a request.
constexpr absl::Duration kRequestTimeMax = absl::Minutes(2);
// The bytes of one stream's responses that are not sent yet. Above this, the handler has to wait.
constexpr size_t kUnsentMax = 64 << 10;
constexpr size_t kRequestOverhead = 1 << 10;

// The text of gRPC's C++ server.
absl::Status CannotParse() { return absl::InternalError("Unable to parse request"); }

size_t BytesOf(const wire::Pieces& pieces) {
  size_t bytes = 0;
  for (const std::string& piece : pieces) bytes += piece.size();
  return bytes;
}

}  // namespace

// --- CommandQueue

CommandQueue::CommandQueue(int64_t request_bytes_max, int64_t large)
    : request_bytes_max_(request_bytes_max),
      large_(large),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  PCHECK(wake_fd_ >= 0) << "eventfd";
}

CommandQueue::~CommandQueue() { close(wake_fd_); }

void CommandQueue::Post(StreamCommand command) {
  {
    absl::MutexLock lock(&mutex_);
    commands_.push_back(std::move(command));
    if (commands_.size() < kHeldMax && std::this_thread::get_id() == holder_) return;
    if (std::exchange(woken_, true)) return;
  }
  Wake();
}

bool CommandQueue::SendHeld(size_t few) {
  {
    absl::MutexLock lock(&mutex_);
    holder_ = std::this_thread::get_id();
    if (commands_.empty() || woken_) return false;
    if (commands_.size() <= few && absl::c_all_of(commands_, IsResponse)) return true;
    woken_ = true;
  }
  Wake();
  return false;
}

void CommandQueue::Wake() {
  const uint64_t one = 1;
  while (write(wake_fd_, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

bool CommandQueue::ChargeRequest(int64_t change, int64_t of_stream, int64_t of_connection,
                                 bool stranger) {
  constexpr int64_t kSmall = 64 << 10;
  const int64_t max = stranger ? request_bytes_max_ / 4 : request_bytes_max_;
  const int64_t bytes = request_bytes_ += change;
  if (change <= 0 || bytes <= max / 2) return true;
  if (of_stream <= kSmall) return bytes <= 2 * max;
  return bytes <= max && of_connection <= large_;
}

void CommandQueue::ClearWake() {
  uint64_t count = 0;
  while (read(wake_fd_, &count, sizeof(count)) < 0 && errno == EINTR) {
  }
}

std::vector<StreamCommand> CommandQueue::Take() {
  absl::MutexLock lock(&mutex_);
  woken_ = false;
  return std::exchange(commands_, {});
}

// --- calls, as handlers see them

namespace {

template <typename Base>
class PortCall : public Base {
 public:
  std::optional<std::string_view> Metadata(std::string_view key) const override {
    for (const auto& [name, value] : stream_->metadata) {
      if (name == key) return value;
    }
    return std::nullopt;
  }
  std::string client_address() const override { return stream_->client_address; }
  MonotonicTime deadline() const override {
    const bool none = stream_->deadline == MonotonicTime::InfiniteFuture();
    return none ? stream_->deadline : stream_->deadline + kDeadlineMargin;
  }
  bool gone() const override { return stream_->gone.load(std::memory_order_relaxed); }
  void AddTrailer(std::string_view key, std::string_view value) override {
    trailers_.emplace_back(key, value);
  }

 protected:
  PortCall(Group* group, std::shared_ptr<GrpcStream> stream, CallObserver* observer)
      : group_(group), stream_(std::move(stream)), observer_(observer) {
    ++group_->command_queue->running;
    ++group_->running;
    if (observer_ != nullptr) observer_->OnStart();
  }
  ~PortCall() {
    --group_->command_queue->running;
    --group_->running;
  }

  absl::Status Admit(Permission permission) {
    return group_->admission == nullptr ? absl::OkStatus() : group_->admission(permission, this);
  }

  void Send(wire::Pieces message, std::optional<absl::Status> status) {
    group_->command_queue->unsent_bytes += BytesOf(message);
    group_->command_queue->Post({.stream = stream_,
                                 .message = std::move(message),
                                 .status = std::move(status),
                                 .trailers = std::move(trailers_)});
  }

  // Tells the observer how the call ended. Further calls do nothing.
  void ObserveEnd(absl::StatusCode code) {
    CallObserver* const observer = std::exchange(observer_, nullptr);
    if (observer != nullptr) observer->OnEnd(code, MonotonicNow() - started_);
  }

  Group* const group_;
  const std::shared_ptr<GrpcStream> stream_;

 private:
  std::vector<Header> trailers_;
  CallObserver* observer_;
  const MonotonicTime started_ = MonotonicNow();
};

// Deletes itself in Finish.
class PortUnaryCall final : public PortCall<UnaryCall>, public Completion {
 public:
  PortUnaryCall(Group* group, const UnaryMethod* method, std::shared_ptr<GrpcStream> stream,
                std::unique_ptr<Message> request, int64_t request_bytes)
      : PortCall(group, std::move(stream), method->observer),
        method_(method),
        request_(std::move(request)),
        request_bytes_(request_bytes) {}

  Message* request() override { return request_.get(); }
  Message* response() override { return response_.get(); }

  void Finish(const absl::Status& status) override {
    wire::Pieces message;
    absl::Status sent = status;
    if (status.ok()) {
      message = wire::Frame(*response_);
      if (message.empty()) sent = absl::InternalError("the response cannot be serialized");
    }
    ObserveEnd(sent.code());
    Send(std::move(message), std::move(sent));
    delete this;  // large messages are freed here, on the worker's thread if there is one
  }

  void OnComplete(bool /*ok*/) override {
    if (gone()) return Finish(absl::CancelledError());
    absl::Status status =
        Admit(method_->needs == nullptr ? method_->permission : method_->needs(*request_));
    if (status.ok() && method_->check != nullptr) status = method_->check(*request_);
    if (!status.ok()) return Finish(status);
    stream_->accepted = true;
    response_.reset(method_->response->New());
    method_->handler(this);
  }

 private:
  ~PortUnaryCall() override { group_->command_queue->ReleaseRequest(request_bytes_); }

  const UnaryMethod* const method_;
  std::unique_ptr<Message> request_;
  const int64_t request_bytes_;  // charged for it
  std::unique_ptr<Message> response_;
};

// Reads the request of a unary call.
class UnaryOwner final : public StreamOwner {
 public:
  UnaryOwner(Group* group, const UnaryMethod* method, std::shared_ptr<GrpcStream> stream)
      : group_(group), method_(method), stream_(std::move(stream)) {}
  ~UnaryOwner() override { group_->command_queue->ReleaseRequest(request_bytes_); }

  bool WantsMessage() const override { return true; }
  absl::Status OnMessage(std::string message) override {
    if (request_ != nullptr || given_) return CannotParse();  // a second request
    if (!Charge(static_cast<int64_t>(message.size()))) return TooManyRequests();
    request_.reset(method_->request->New());
    if (!wire::Parse(message, group_->methods.fields_max, request_.get())) return CannotParse();
    // The parsed message may be many times larger than its encoding.
    return Charge(static_cast<int64_t>(request_->SpaceUsedLong())) ? absl::OkStatus()
                                                                   : TooManyRequests();
  }
  absl::Status OnRequestsEnd(bool damaged) override {
    if (request_ == nullptr || damaged) return CannotParse();
    given_ = true;
    group_->new_events.push_back({new PortUnaryCall(group_, method_, stream_, std::move(request_),
                                                    std::exchange(request_bytes_, 0))});
    return absl::OkStatus();
  }
  void OnSent(size_t /*bytes*/) override {}
  void OnClosed() override {}
  bool IsLate(MonotonicTime now) const override {
    if (stream_->ended) return now > stream_->deadline + kLateCall;
    return !given_ && now - stream_->opened > kRequestTimeMax;
  }

 private:
  bool Charge(int64_t bytes) {
    const int64_t change = bytes - std::exchange(request_bytes_, bytes);
    return group_->command_queue->ChargeRequest(change, bytes, /*of_connection=*/0,
                                                stream_->connection->stranger());
  }

  Group* const group_;
  const UnaryMethod* const method_;
  const std::shared_ptr<GrpcStream> stream_;
  std::unique_ptr<Message> request_;  // null before it is complete, and after it was given away
  int64_t request_bytes_ = 0;         // charged for request_
  bool given_ = false;                // request_ was given to the call
};

}  // namespace

// A stream as its handler sees it. Created on the port's thread, and used on the handlers' thread
// from OnOpen to OnOver.
class PortStreamCall final : public PortCall<StreamCall> {
 public:
  PortStreamCall(Group* group, const StreamMethod* method, std::shared_ptr<GrpcStream> stream)
      : PortCall(group, std::move(stream), method->observer),
        method_(method),
        writable_event_(this) {}

  bool writable() const override { return !writing_ && !ending_; }

  void Write(const Message& response, bool /*more_follow*/) override {
    CHECK(writable());
    wire::Pieces message = wire::Frame(response);
    if (message.empty()) return Finish(absl::InternalError("the response cannot be serialized"));
    writing_ = true;
    const size_t bytes = BytesOf(message);
    const size_t unsent = stream_->unsent.fetch_add(bytes) + bytes;
    Send(std::move(message), std::nullopt);
    // Otherwise the stream's owner pushes writable_event when enough was sent (OnSent).
    if (unsent < kUnsentMax) PushWritable();
  }

  void Finish(const absl::Status& status) override {
    if (std::exchange(ending_, true)) return;
    ObserveEnd(status.code());
    Send({}, status);
  }

  void Cancel() override { group_->command_queue->Post({.stream = stream_, .cancel = true}); }

  // --- events

  void OnOpen() {
    group_->open_streams.insert(this);
    if (absl::Status status = Admit(method_->permission); !status.ok()) return Finish(status);
    handler_ = method_->open(this);
  }
  // `cost`: its bytes, charged until it is handled.
  void OnRequest(std::unique_ptr<Message> request, size_t cost) {
    requests_.push_back({std::move(request), cost});
    HandleRequests();
  }
  void OnRequestsEnd() {
    last_ = true;
    HandleRequests();
  }
  void OnWritable() {
    pushed_writable_ = false;
    if (over_) return Delete();
    writing_ = false;
    if (handler_ == nullptr || ending_) return;
    handler_->OnWritable();
    if (!reading_ && handler_ != nullptr) reading_ = handler_->WantsRequest();
    HandleRequests();
  }
  void OnOver() {
    ending_ = over_ = true;
    ObserveEnd(absl::StatusCode::kCancelled);
    if (gone() && handler_ != nullptr) handler_->OnGone();
    handler_.reset();
    group_->open_streams.erase(this);
    if (!pushed_writable_) Delete();
  }

  // Tells the handler that it may write the next response. At most one such event is in a queue.
  Completion* writable_event() { return &writable_event_; }

 private:
  struct WritableEvent final : public Completion {
    explicit WritableEvent(PortStreamCall* of) : call(of) {}
    void OnComplete(bool /*ok*/) override { call->OnWritable(); }
    PortStreamCall* const call;
  };
  struct Request {
    std::unique_ptr<Message> message;
    size_t cost;
  };

  ~PortStreamCall() {
    for (const Request& request : requests_) Release(request.cost);
  }
  void Delete() { delete this; }

  void Release(size_t cost) { group_->command_queue->ReleaseRequest(static_cast<int64_t>(cost)); }

  void PushWritable() {
    pushed_writable_ = true;
    const Event event{&writable_event_};
    group_->events->Push({&event, 1});
  }

  void HandleRequests() {
    while (reading_ && !ending_ && handler_ != nullptr && !requests_.empty()) {
      const Request request = std::move(requests_.front());
      requests_.pop_front();
      const absl::Status status = handler_->OnRequest(request.message.get());
      Release(request.cost);
      const size_t before = stream_->unhandled.fetch_sub(request.cost);
      if (!status.ok()) {
        Finish(status);
        handler_.reset();
        return;
      }
      const size_t max = method_->unhandled_bytes_max;
      const bool first = !stream_->accepted.exchange(true);
      if ((first && method_->first_request.limited()) ||
          (before >= max && before - request.cost < max)) {
        group_->command_queue->Post({.stream = stream_, .deliver = true});
      }
      reading_ = method_->one_request || handler_->WantsRequest();
    }
    if (last_ && requests_.empty() && !ending_ && handler_ != nullptr) {
      last_ = false;
      if (!method_->one_request && !handler_->OnLastRequest()) Finish(absl::OkStatus());
    }
  }

  const StreamMethod* const method_;
  WritableEvent writable_event_;
  std::unique_ptr<StreamHandler> handler_;  // null after the call has ended
  std::deque<Request> requests_;            // read and not handled
  bool reading_ = true;                     // false: the handler wants no request now
  bool last_ = false;                       // no request follows after requests_
  bool writing_ = false;
  bool pushed_writable_ = false;  // by this object, so it may come after OnOver
  bool ending_ = false;
  bool over_ = false;
};

namespace {

// Calls `work` on the handlers' thread.
template <typename Work>
class StreamEvent final : public Completion {
 public:
  explicit StreamEvent(Work work) : work_(std::move(work)) {}
  void OnComplete(bool /*ok*/) override {
    work_();
    delete this;
  }

 private:
  Work work_;
};

}  // namespace

// Reads the requests of a stream.
class StreamOwnerOnPort final : public StreamOwner {
 public:
  StreamOwnerOnPort(Group* group, const StreamMethod* method, std::shared_ptr<GrpcStream> stream)
      : group_(group),
        method_(method),
        stream_(std::move(stream)),
        silent_key_(method, stream_->connection) {
    if (method->first_request.limited()) {
      JoinSilent();
    } else {
      Open();
    }
  }

  // Nothing follows the first request before the handler has accepted it: it may be a stranger's.
  bool WantsMessage() const override {
    if (method_->first_request.limited() && got_one_ && !stream_->accepted) return false;
    return stream_->unhandled.load() < method_->unhandled_bytes_max;
  }
  absl::Status OnMessage(std::string message) override {
    if (method_->one_request && got_one_) return CannotParse();
    got_one_ = true;
    std::unique_ptr<Message> request(method_->request->New());
    if (!wire::Parse(message, group_->methods.fields_max, request.get())) return CannotParse();
    const size_t cost = message.size() + kRequestOverhead;
    if (!group_->command_queue->ChargeRequest(
            static_cast<int64_t>(cost), static_cast<int64_t>(cost),
            /*of_connection=*/0, stream_->connection->stranger())) {
      group_->command_queue->ReleaseRequest(static_cast<int64_t>(cost));
      return TooManyRequests();
    }
    stream_->unhandled.fetch_add(cost);
    if (call_ == nullptr) {
      LeaveSilent();
      Open();
    }
    Push([call = call_, request = std::move(request), cost]() mutable {
      call->OnRequest(std::move(request), cost);
    });
    return absl::OkStatus();
  }
  absl::Status OnRequestsEnd(bool damaged) override {
    if (damaged || call_ == nullptr || (method_->one_request && !got_one_)) return CannotParse();
    Push([call = call_] { call->OnRequestsEnd(); });
    return absl::OkStatus();
  }
  void OnSent(size_t bytes) override {
    const size_t before = stream_->unsent.fetch_sub(bytes);
    if (before >= kUnsentMax && before - bytes < kUnsentMax) {
      group_->new_events.push_back({call_->writable_event()});
    }
  }
  void OnClosed() override {
    LeaveSilent();
    if (call_ != nullptr) Push([call = call_] { call->OnOver(); });
  }
  bool IsLate(MonotonicTime now) const override {
    if (!got_one_ && now - stream_->opened > method_->first_request.wait) return true;
    const bool waits = (!got_one_ || stream_->reader.partial()) && WantsMessage();
    return waits &&
           now - std::max(stream_->opened, stream_->partial_since) > method_->request_time_max;
  }

 private:
  void Open() {
    call_ = new PortStreamCall(group_, method_, stream_);
    Push([call = call_] { call->OnOpen(); });
  }

  void JoinSilent() {
    std::list<StreamOwnerOnPort*>& silent = group_->silent[silent_key_];
    silent_ = silent.insert(silent.end(), this);
    if (silent.size() <= method_->first_request.streams) return;
    StreamOwnerOnPort* const oldest = silent.front();
    oldest->LeaveSilent();
    group_->command_queue->Post({.stream = oldest->stream_, .cancel = true});
  }
  void LeaveSilent() {
    if (!silent_) return;
    const auto silent = group_->silent.find(silent_key_);
    silent->second.erase(*std::exchange(silent_, std::nullopt));
    if (silent->second.empty()) group_->silent.erase(silent);
  }

  template <typename Work>
  void Push(Work work) {
    group_->new_events.push_back({new StreamEvent<Work>(std::move(work))});
  }

  Group* const group_;
  const StreamMethod* const method_;
  const std::shared_ptr<GrpcStream> stream_;
  const Group::SilentKey silent_key_;
  PortStreamCall* call_ = nullptr;  // may be used until OnClosed
  bool got_one_ = false;
  std::optional<std::list<StreamOwnerOnPort*>::iterator> silent_;
};

std::unique_ptr<StreamOwner> NewUnaryOwner(Group* group, const UnaryMethod* method,
                                           std::shared_ptr<GrpcStream> stream) {
  return std::make_unique<UnaryOwner>(group, method, std::move(stream));
}

std::unique_ptr<StreamOwner> NewStreamOwner(Group* group, const StreamMethod* method,
                                            std::shared_ptr<GrpcStream> stream) {
  return std::make_unique<StreamOwnerOnPort>(group, method, std::move(stream));
}

void FinishStreams(Group* group, const absl::Status& status) {
  for (PortStreamCall* call : group->open_streams) call->Finish(status);
}

}  // namespace raftkv::port
