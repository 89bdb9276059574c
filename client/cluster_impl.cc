#include "client/cluster_impl.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/failure.h"
#include "client/snapshot_call.h"
#include "client/watch_stream.h"
#include "proto/etcd/metadata.h"

namespace raftkv::client {
namespace {

using google::protobuf::Message;

// The pause before a write of a session is sent to all endpoints again. It doubles.
constexpr absl::Duration kFirstPause = absl::Milliseconds(20);
constexpr absl::Duration kLongestPause = absl::Seconds(1);

// Ends early if a stop is requested.
void Sleep(absl::Duration time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, absl::ToChronoNanoseconds(time), [] { return false; });
}

}  // namespace

ClusterImpl::ClusterImpl(const Options& options, int answer_bytes_max) : options_(options) {
  for (const std::string& address : options_.endpoints) {
    endpoints_.push_back(std::make_unique<Endpoint>(address, answer_bytes_max));
  }
}

std::unique_ptr<Client::Impl> ClusterImpl::Limited(size_t answer_bytes) const {
  return std::make_unique<ClusterImpl>(options_,
                                       static_cast<int>(std::min<size_t>(answer_bytes, INT_MAX)));
}

// The session uses the client, and writes use the session.
void ClusterImpl::End() {
  writers_.Stop();
  exactly_once_ = nullptr;
  if (async_ != nullptr) async_->End();
}

absl::StatusOr<MessagePtr> ClusterImpl::Call(const AnyRequest& request,
                                             const CallOptions& options) {
  Progress progress;
  const FailoverOptions prepared = Prepare(request, options);
  absl::StatusOr<grpc::ByteBuffer> bytes = Encode(request, prepared.timeout);
  if (!bytes.ok()) return Finish(request, progress, std::move(bytes));
  auto answer = options_.exactly_once && request.of_keys ? Write(prepared, *bytes, &progress)
                                                         : Send(prepared, *bytes, &progress);
  return Finish(request, progress, std::move(answer));
}

void ClusterImpl::Start(std::shared_ptr<const AnyRequest> request, const CallOptions& options,
                        MessageCallback done) {
  if (options_.exactly_once && request->of_keys) {
    return StartWrite(std::move(request), options, std::move(done));
  }
  FailoverOptions prepared = Prepare(*request, options);
  absl::StatusOr<grpc::ByteBuffer> bytes = Encode(*request, prepared.timeout);
  StartAsync(std::move(request), std::move(prepared), std::move(bytes), std::move(done));
}

void ClusterImpl::StartAsync(std::shared_ptr<const AnyRequest> request, FailoverOptions options,
                             absl::StatusOr<grpc::ByteBuffer> bytes, MessageCallback done) {
  std::call_once(async_once_, [this] { async_ = std::make_unique<AsyncCalls>(); });
  async_->Start(std::move(options), endpoints_, preferred_.load(std::memory_order_relaxed),
                std::move(bytes),
                [this, request = std::move(request), done = std::move(done),
                 progress = Progress()](FailoverCall& call) mutable {
                  absl::StatusOr<grpc::ByteBuffer> answer = TakeAnswer(call, &progress);
                  done(Finish(*request, progress, std::move(answer)));
                });
}

void ClusterImpl::StartWrite(std::shared_ptr<const AnyRequest> request, const CallOptions& options,
                             MessageCallback done) {
  CallOptions own = options;
  if (own.deadline == absl::InfiniteFuture()) own.deadline = absl::Now() + options_.request_timeout;
  const auto callback = std::make_shared<MessageCallback>(std::move(done));
  const bool accepted = writers_.Run(
      request->message->ByteSizeLong(),
      [this, request, callback, own](const std::stop_token& closing) mutable {
        std::stop_source either;
        const auto stop = [&either] { either.request_stop(); };
        const std::stop_callback by_caller(std::exchange(own.cancel, either.get_token()), stop);
        const std::stop_callback by_end(closing, stop);
        (*callback)(Call(*request, own));
      });
  if (accepted) return;
  FailoverOptions prepared = Prepare(*request, options);
  StartAsync(std::move(request), std::move(prepared),
             absl::ResourceExhaustedError(
                 "too many writes of this client wait; start more when some have ended"),
             std::move(*callback));
}

absl::StatusOr<grpc::ByteBuffer> ClusterImpl::Send(const FailoverOptions& options,
                                                   const grpc::ByteBuffer& bytes,
                                                   Progress* progress) {
  grpc::CompletionQueue queue;
  FailoverCall call(options, endpoints_, preferred_.load(std::memory_order_relaxed), bytes, &queue);
  call.Run();
  return TakeAnswer(call, progress);
}

absl::StatusOr<grpc::ByteBuffer> ClusterImpl::Write(const FailoverOptions& options,
                                                    const grpc::ByteBuffer& bytes,
                                                    Progress* progress) {
  const MonotonicTime deadline = Now() + options.timeout;
  for (;;) {
    if (options.cancel.stop_requested()) return absl::CancelledError("the call was cancelled");
    const absl::StatusOr<ExactlyOnce::Write> write = exactly_once_->Begin(deadline, options.cancel);
    if (!write.ok()) return write.status();
    auto answer = SendInSession(options, bytes, *write, deadline, progress);
    exactly_once_->End(*write);
    const bool expired = IsSessionExpired(answer.status());
    if (expired) exactly_once_->OnExpired(*write);
    // If the session had ended before the write was sent first, another session can be used.
    if (!expired || OutcomeUnknown(answer.status()) || Now() >= deadline) return answer;
  }
}

absl::StatusOr<grpc::ByteBuffer> ClusterImpl::SendInSession(FailoverOptions options,
                                                            const grpc::ByteBuffer& bytes,
                                                            const ExactlyOnce::Write& write,
                                                            MonotonicTime deadline,
                                                            Progress* progress) {
  options.kind = Kind::kSessionWrite;
  options.metadata = {{std::string(kSessionKey), absl::StrCat(write.lease)},
                      {std::string(kSeqKey), absl::StrCat(write.seq)},
                      {std::string(kAckedKey), absl::StrCat(write.acked)}};
  for (absl::Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    options.timeout = deadline - Now();
    options.patience = std::min(options.timeout, options_.request_timeout);
    absl::StatusOr<grpc::ByteBuffer> answer = Send(options, bytes, progress);
    options.maybe_applied = OutcomeUnknown(answer.status());
    const bool may_pass = options.maybe_applied || absl::IsUnavailable(answer.status());
    if (!may_pass || NeverSent(answer.status()) || IsSessionExpired(answer.status()) ||
        absl::IsCancelled(answer.status())) {
      return answer;
    }
    if (Now() + pause >= deadline) return answer;
    Sleep(pause, options.cancel);
  }
}

absl::StatusOr<std::unique_ptr<Watcher>> ClusterImpl::Watch(
    etcdserverpb::WatchCreateRequest request, const CallOptions& options) {
  const MonotonicTime deadline = options.deadline == absl::InfiniteFuture()
                                     ? Now() + options_.request_timeout
                                     : FromWallClock(options.deadline);
  auto impl = std::make_unique<Watcher::Impl>(&options_, &endpoints_, preferred_.load(),
                                              std::move(request), options.cancel);
  if (absl::Status status = impl->Start(deadline); !status.ok()) return status;
  return std::make_unique<Watcher>(std::move(impl));
}

absl::Status ClusterImpl::Snapshot(const SnapshotSink& sink) {
  Progress progress;
  absl::Status status = ReadSnapshot(endpoints_, preferred_.load(), options_.dial_timeout,
                                     options_.request_timeout, sink, &progress.endpoint);
  progress.attempts = progress.endpoint.empty() ? 0 : 1;
  Report("Maintenance.Snapshot", status, progress);
  return status;
}

FailoverOptions ClusterImpl::Prepare(const AnyRequest& request, const CallOptions& options) const {
  const absl::Duration timeout = options.deadline == absl::InfiniteFuture()
                                     ? options_.request_timeout
                                     : options.deadline - absl::Now();
  return {.kind = request.kind,
          .name = request.name,
          .dial_timeout = options_.dial_timeout,
          .timeout = timeout,
          .patience = std::min(timeout, options_.request_timeout),
          .cancel = options.cancel};
}

absl::StatusOr<grpc::ByteBuffer> ClusterImpl::Encode(const AnyRequest& request,
                                                     absl::Duration timeout) {
  if (timeout <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError(
        absl::StrCat("the deadline had passed before ", request.name, " was sent"));
  }
  grpc::ByteBuffer bytes;
  bool own = false;
  const grpc::Status encoded =
      grpc::SerializationTraits<Message>::Serialize(*request.message, &bytes, &own);
  if (encoded.ok()) return bytes;
  return absl::InvalidArgumentError(absl::StrCat(request.name, ": ", encoded.error_message()));
}

absl::StatusOr<grpc::ByteBuffer> ClusterImpl::TakeAnswer(FailoverCall& call, Progress* progress) {
  preferred_.store(call.next_first(), std::memory_order_relaxed);
  progress->attempts += call.attempts();
  if (!call.answered().empty()) progress->endpoint = call.answered();
  return std::move(call.result());
}

absl::StatusOr<MessagePtr> ClusterImpl::Finish(const AnyRequest& request, const Progress& progress,
                                               absl::StatusOr<grpc::ByteBuffer> answer) const {
  absl::Status status = answer.status();
  MessagePtr response;
  if (status.ok()) {
    response.reset(request.response->New());
    if (!grpc::SerializationTraits<Message>::Deserialize(&*answer, response.get()).ok()) {
      status = absl::InternalError(absl::StrCat("cannot decode the response to ", request.name));
    }
  }
  Report(request.name, status, progress);
  if (!status.ok()) return status;
  return response;
}

void ClusterImpl::Report(const char* method, const absl::Status& status,
                         const Progress& progress) const {
  if (options_.on_call_end == nullptr) return;
  options_.on_call_end({.method = method,
                        .status = status,
                        .took = Now() - progress.begin,
                        .attempts = progress.attempts,
                        .endpoint = progress.endpoint});
}

}  // namespace raftkv::client
