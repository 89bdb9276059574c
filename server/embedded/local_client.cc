#include "server/embedded/local_client.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "client/clock.h"
#include "client/failure.h"
#include "client/impl.h"

namespace raftkv {
namespace {

using client::AnyRequest;
using client::CallOptions;
using client::Kind;
using client::MessageCallback;
using client::MessagePtr;

// The bounds of the calls that have been started and whose callbacks have not returned: as for the
// calls over the network.
constexpr size_t kAsyncCallsMax = 10'000;
constexpr size_t kAsyncBytesMax = 64 << 20;  // of their requests

// A stream of one request and one answer.
bool IsStream(const AnyRequest& request) {
  return std::string_view(request.name) == "Lease.LeaseKeepAlive";
}

// One call. It is decided once: by the member's answer, its deadline, or its cancellation. The
// answer may come later than that, when the request is gone.
struct Pending : public std::enable_shared_from_this<Pending> {
  Kind kind;
  const char* name;  // of the method
  MonotonicTime begin, deadline;
  MessageCallback done;  // null: a thread waits for the call
  size_t bytes = 0;      // of the request of a call that Shared::bytes counts
  std::atomic<bool> gone{false};
  bool decided = false;
  absl::StatusOr<MessagePtr> result = absl::UnknownError("");
  std::condition_variable changed;  // `decided`
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
};

// What the client, the member's answers and the tokens of cancellation share. The answers may come
// after the client's end.
//
// It has std::condition_variable, because absl's waits depend on the wall clock.
struct Shared {
  std::mutex mutex;
  std::condition_variable changed;  // decided, closing
  // Calls with a callback: those that wait, by deadline, and those whose callback is due.
  std::set<std::pair<MonotonicTime, std::shared_ptr<Pending>>> waiting;
  std::deque<std::shared_ptr<Pending>> decided;
  size_t calls = 0;  // whose callbacks have not returned
  size_t bytes = 0;  // of their requests
  bool closing = false;

  void Decide(const std::shared_ptr<Pending>& call, absl::StatusOr<MessagePtr> result) {
    std::lock_guard lock(mutex);
    if (std::exchange(call->decided, true)) return;
    call->result = std::move(result);
    call->gone = true;
    if (call->done == nullptr) return call->changed.notify_all();
    waiting.erase({call->deadline, call});
    decided.push_back(call);
    changed.notify_all();
  }
};

// An error of a call that may have been executed.
absl::Status Undecided(const Pending& call, absl::Status error) {
  return call.kind == Kind::kWrite ? client::UnknownOutcome(error) : error;
}
absl::Status Late(const Pending& call) {
  return Undecided(call,
                   absl::DeadlineExceededError(absl::StrCat(
                       "no answer within ", absl::FormatDuration(call.deadline - call.begin))));
}
absl::Status Cancelled(const Pending& call) {
  return Undecided(call, absl::CancelledError("the call was cancelled"));
}

absl::StatusOr<MessagePtr> ResultOf(const Pending& call, LocalCalls::Answer answer) {
  if (answer.status.ok()) return std::move(answer.response);
  if (client::Now() >= call.deadline) return Late(call);  // the member may answer just then
  const grpc::Status status(static_cast<grpc::StatusCode>(answer.status.code()),
                            std::string(answer.status.message()));
  const bool unknown = !answer.not_proposed && call.kind == Kind::kWrite &&
                       client::Judge(Kind::kWrite, status) == client::Verdict::kUnknown;
  return unknown ? client::UnknownOutcome(answer.status) : answer.status;
}

std::chrono::steady_clock::time_point ForStd(MonotonicTime time) {
  return std::chrono::steady_clock::time_point(absl::ToChronoNanoseconds(time.since_origin()));
}

class LocalImpl final : public client::Client::Impl {
 public:
  LocalImpl(std::shared_ptr<LocalCalls> calls, std::string client_url,
            const client::Options& options)
      : calls_(std::move(calls)),
        client_url_(std::move(client_url)),
        options_(options),
        streams_(client::ConnectToMember(client_url_, options)),
        shared_(std::make_shared<Shared>()) {}

  ~LocalImpl() override {
    std::vector<std::shared_ptr<Pending>> waiting;
    {
      std::lock_guard lock(shared_->mutex);
      shared_->closing = true;
      for (const auto& [deadline, call] : shared_->waiting) waiting.push_back(call);
    }
    shared_->changed.notify_all();
    for (const auto& call : waiting) shared_->Decide(call, Cancelled(*call));
    if (thread_.joinable()) thread_.join();
  }
  // The callbacks of its calls may use this object.
  void End() override { streams_->End(); }

  absl::StatusOr<MessagePtr> Call(const AnyRequest& request, const CallOptions& options) override {
    if (IsStream(request)) return streams_->Call(request, options);
    const std::shared_ptr<Pending> call = Make(request, options, nullptr);
    Send(request, call, options);
    std::unique_lock lock(shared_->mutex);
    if (!call->changed.wait_until(lock, ForStd(call->deadline), [&] { return call->decided; })) {
      lock.unlock();
      shared_->Decide(call, Late(*call));
      lock.lock();
    }
    lock.unlock();
    return TakeResult(*call);
  }

  void Start(std::shared_ptr<const AnyRequest> request, const CallOptions& options,
             MessageCallback done) override {
    if (IsStream(*request)) return streams_->Start(std::move(request), options, std::move(done));
    const std::shared_ptr<Pending> call = Make(*request, options, std::move(done));
    const size_t bytes = request->message->ByteSizeLong();
    absl::Status too_many;
    {
      std::lock_guard lock(shared_->mutex);
      if (!thread_.joinable()) thread_ = std::thread([this] { RunCallbacks(); });
      if (shared_->calls >= kAsyncCallsMax || shared_->bytes + bytes > kAsyncBytesMax) {
        too_many = absl::ResourceExhaustedError(
            absl::StrCat("the client has ", shared_->calls, " calls in flight, with ",
                         shared_->bytes, " bytes; start more when some have ended"));
      } else {
        call->bytes = bytes;
        shared_->bytes += bytes;
        shared_->waiting.insert({call->deadline, call});
      }
      ++shared_->calls;
    }
    if (too_many.ok()) return Send(*request, call, options);
    shared_->Decide(call, too_many);
  }

  absl::StatusOr<std::unique_ptr<client::Watcher>> Watch(etcdserverpb::WatchCreateRequest request,
                                                         const CallOptions& options) override {
    return streams_->Watch(std::move(request), options);
  }
  absl::Status Snapshot(const client::SnapshotSink& sink) override {
    return streams_->Snapshot(sink);
  }
  // An answer is in memory already, so there is nothing to limit.
  std::unique_ptr<Impl> Limited(size_t /*answer_bytes*/) const override {
    return std::make_unique<LocalImpl>(calls_, client_url_, options_);
  }

 private:
  std::shared_ptr<Pending> Make(const AnyRequest& request, const CallOptions& options,
                                MessageCallback done) const {
    auto call = std::make_shared<Pending>();
    call->kind = request.kind;
    call->name = request.name;
    call->begin = client::Now();
    call->deadline = options.deadline == absl::InfiniteFuture()
                         ? call->begin + options_.request_timeout
                         : client::FromWallClock(options.deadline);
    call->done = std::move(done);
    return call;
  }

  void Send(const AnyRequest& request, const std::shared_ptr<Pending>& call,
            const CallOptions& options) {
    if (call->deadline <= call->begin || options.cancel.stop_requested()) {
      const bool late = call->deadline <= call->begin;
      return shared_->Decide(
          call, late ? absl::DeadlineExceededError(
                           absl::StrCat("the deadline had passed before ", call->name, " was sent"))
                     : absl::CancelledError("the call was cancelled"));
    }
    std::unique_ptr<google::protobuf::Message> message(request.message->New());
    message->CopyFrom(*request.message);
    calls_->Start(absl::StrCat("/etcdserverpb.", absl::StrReplaceAll(call->name, {{".", "/"}})),
                  std::move(message),
                  {.deadline = call->deadline, .gone = [call] { return call->gone.load(); }},
                  [shared = shared_, call](LocalCalls::Answer answer) {
                    shared->Decide(call, ResultOf(*call, std::move(answer)));
                  });
    call->on_stop.emplace(options.cancel, [shared = shared_, one = call.get()] {
      // Null: the call is over, and is being destroyed.
      if (const auto call = one->weak_from_this().lock()) shared->Decide(call, Cancelled(*call));
    });
  }

  absl::StatusOr<MessagePtr> TakeResult(Pending& call) const {
    if (options_.on_call_end != nullptr) {
      options_.on_call_end({.method = call.name,
                            .status = call.result.status(),
                            .took = client::Now() - call.begin,
                            .attempts = 1,
                            .endpoint = ""});
    }
    return std::move(call.result);
  }

  // Calls the callbacks, so that they never delay the member.
  void RunCallbacks() {
    std::unique_lock lock(shared_->mutex);
    for (;;) {
      if (!shared_->decided.empty()) {
        const std::shared_ptr<Pending> call = shared_->decided.front();
        shared_->decided.pop_front();
        lock.unlock();
        call->done(TakeResult(*call));
        lock.lock();
        --shared_->calls;
        shared_->bytes -= call->bytes;
      } else if (shared_->waiting.empty()) {
        if (shared_->closing) return;
        shared_->changed.wait(lock);
      } else if (const auto [deadline, call] = *shared_->waiting.begin();
                 deadline <= client::Now()) {
        lock.unlock();
        shared_->Decide(call, Late(*call));
        lock.lock();
      } else {
        shared_->changed.wait_until(lock, ForStd(deadline));
      }
    }
  }

  const std::shared_ptr<LocalCalls> calls_;
  const std::string client_url_;
  const client::Options options_;
  // Streams go to the member's port: it has their flow control and their limits. It connects with
  // the first stream.
  const std::unique_ptr<Impl> streams_;
  const std::shared_ptr<Shared> shared_;
  std::thread thread_;  // runs callbacks; started with the first call that has one
};

}  // namespace

std::unique_ptr<client::Client> MakeLocalClient(std::shared_ptr<LocalCalls> calls,
                                                const std::string& client_url,
                                                const client::Options& options) {
  return std::make_unique<client::Client>(
      std::make_unique<LocalImpl>(std::move(calls), client_url, options));
}

}  // namespace raftkv
