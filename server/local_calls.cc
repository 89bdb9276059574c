#include "server/local_calls.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/etcd/outcome.h"
#include "server/clock.h"

namespace raftkv {

using google::protobuf::Message;

// Deletes itself in Finish.
class LocalCalls::Call final : public UnaryCall, public Completion {
 public:
  Call(LocalCalls* calls, const UnaryMethod* method, std::unique_ptr<Message> request,
       Caller caller, Done done)
      : calls_(*calls),
        method_(*method),
        request_(std::move(request)),
        caller_(std::move(caller)),
        done_(std::move(done)) {
    ++calls_.running_;
    if (method_.observer != nullptr) method_.observer->OnStart();
  }

  std::optional<std::string_view> Metadata(std::string_view /*key*/) const override {
    return std::nullopt;
  }
  std::string client_address() const override { return "this process"; }
  MonotonicTime deadline() const override { return caller_.deadline; }
  bool gone() const override { return caller_.gone(); }
  void AddTrailer(std::string_view key, std::string_view value) override {
    not_proposed_ |= key == kOutcomeKey && value == kNotProposed;
  }

  Message* request() override { return request_.get(); }
  Message* response() override { return response_.get(); }

  void Finish(const absl::Status& status) override {
    if (method_.observer != nullptr) {
      method_.observer->OnEnd(status.code(), MonotonicNow() - started_);
    }
    done_({.status = status,
           .response = status.ok() ? std::move(response_) : nullptr,
           .not_proposed = not_proposed_});
    delete this;
  }

  void OnComplete(bool /*ok*/) override {
    if (gone()) return Finish(absl::CancelledError());
    absl::Status status = calls_.admission_(
        method_.needs == nullptr ? method_.permission : method_.needs(*request_), this);
    if (status.ok() && method_.check != nullptr) status = method_.check(*request_);
    if (!status.ok()) return Finish(status);
    response_.reset(method_.response->New());
    method_.handler(this);
  }

 private:
  ~Call() override { --calls_.running_; }

  LocalCalls& calls_;
  const UnaryMethod& method_;
  std::unique_ptr<Message> request_;
  std::unique_ptr<Message> response_;
  const Caller caller_;
  Done done_;
  bool not_proposed_ = false;
  const MonotonicTime started_ = MonotonicNow();
};

void LocalCalls::Serve(const Methods& methods, EventQueue* events, Admission admission) {
  for (const UnaryMethod& method : methods.unary) methods_.emplace(method.name, method);
  events_ = events;
  admission_ = std::move(admission);
}

void LocalCalls::Start(const std::string& method, std::unique_ptr<Message> request, Caller caller,
                       Done done) {
  const auto row = methods_.find(method);
  if (row == methods_.end()) {
    return done({.status = absl::UnimplementedError(absl::StrCat(
                     method, " is not served within the process; connect to client_url"))});
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!closed_) {
      const Event event{
          new Call(this, &row->second, std::move(request), std::move(caller), std::move(done))};
      events_->Push({&event, 1});
      return;
    }
  }
  // Not under the lock: `done` may start another call.
  done({.status = absl::UnavailableError("etcdserver: server stopped"), .not_proposed = true});
}

void LocalCalls::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

}  // namespace raftkv
