// Session of raftkv/lock.h.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/clock.h"
#include "client/raftkv.h"
#include "client/request.h"

namespace raftkv::client {

// A std::condition_variable, because absl's waits depend on the wall clock.
class Session::Impl {
 public:
  // `sent`: when the request for the lease was sent.
  Impl(Client* client, const LeaseGrantResult& lease, SessionOptions options, MonotonicTime sent)
      : client_(*client),
        id_(lease.id),
        ttl_(absl::Seconds(lease.ttl)),
        options_(std::move(options)),
        lives_until_(sent + ttl_),
        renew_at_(sent + ttl_ / 3),
        thread_([this] { KeepAlive(); }) {}
  ~Impl() { Close(absl::InfiniteFuture()).IgnoreError(); }

  Client& client() const { return client_; }
  int64_t id() const { return id_; }
  absl::Duration ttl() const { return ttl_; }

  absl::Status status() const {
    std::lock_guard lock(mutex_);
    return Check();
  }

  absl::Status Close(absl::Time deadline) {
    bool alive = false;
    {
      std::lock_guard lock(mutex_);
      if (std::exchange(closed_, true)) return absl::OkStatus();
      alive = lost_.ok() && Now() < lives_until_;
    }
    wake_.notify_all();
    renewal_.request_stop();
    thread_.join();
    if (!alive || deadline == absl::InfinitePast()) return absl::OkStatus();
    const absl::Status status =
        client_.Call(LeaseRevokeRequest(id_), {.deadline = deadline}).status();
    return absl::IsNotFound(status) ? absl::OkStatus() : status;
  }

 private:
  // Under mutex_. The thread may be late to notice that the time is over, so look at the clock.
  absl::Status Check() const {
    if (!lost_.ok()) return lost_;
    if (closed_) return absl::FailedPreconditionError("the session is closed");
    if (Now() >= lives_until_) return NotRenewed();
    return absl::OkStatus();
  }

  absl::Status NotRenewed() const {
    return absl::FailedPreconditionError(
        absl::StrCat("the lease could not be renewed for ", absl::FormatDuration(ttl_),
                     last_error_.ok() ? "" : ": ", last_error_.message()));
  }

  void KeepAlive() {
    std::unique_lock lock(mutex_);
    while (lost_.ok()) {
      const auto until = std::chrono::steady_clock::time_point(
          absl::ToChronoNanoseconds(std::min(renew_at_, lives_until_).since_origin()));
      if (wake_.wait_until(lock, until, [this] { return closed_; })) return;
      if (Now() >= lives_until_) {
        lost_ = NotRenewed();
        break;
      }
      Renew(lock);
    }
    const absl::Status why = lost_;
    lock.unlock();
    if (options_.on_lost) options_.on_lost(why);
  }

  void Renew(std::unique_lock<std::mutex>& lock) {
    const MonotonicTime sent = Now();
    // Not longer, so that a call to a member that hangs leaves time for another one.
    const absl::Duration limit =
        std::min(lives_until_ - sent, std::max(ttl_ / 3, absl::Seconds(1)));
    lock.unlock();
    const auto result = client_.Call(LeaseKeepAliveRequest(id_), {.deadline = absl::Now() + limit,
                                                                  .cancel = renewal_.get_token()});
    lock.lock();
    if (!result.ok()) {
      last_error_ = result.status();
      renew_at_ = Now() + std::min(ttl_ / 20, absl::Seconds(1));
    } else if (result->ttl <= 0) {
      lost_ = absl::FailedPreconditionError("the lease has expired or was revoked");
    } else {
      lives_until_ = sent + absl::Seconds(result->ttl);
      renew_at_ = sent + absl::Seconds(result->ttl) / 3;
    }
  }

  Client& client_;
  const int64_t id_;
  const absl::Duration ttl_;
  const SessionOptions options_;
  std::stop_source renewal_;  // Close ends a running renewal

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool closed_ = false;
  absl::Status lost_;
  absl::Status last_error_;  // of a renewal
  MonotonicTime lives_until_;
  MonotonicTime renew_at_;

  std::thread thread_;  // last: it uses the other members
};

absl::StatusOr<std::unique_ptr<Session>> Session::Open(Client& client, SessionOptions options) {
  const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(options.ttl, absl::Seconds(1)));
  const MonotonicTime sent = Now();
  const auto lease =
      client.Call(AnyLeaseGrantRequest(seconds),
                  {.deadline = absl::Now() + options.open_timeout, .cancel = options.cancel});
  if (!lease.ok()) return lease.status();
  return std::unique_ptr<Session>(
      new Session(std::make_unique<Impl>(&client, *lease, std::move(options), sent)));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;
int64_t Session::lease() const { return impl_->id(); }
absl::Duration Session::ttl() const { return impl_->ttl(); }
absl::Status Session::status() const { return impl_->status(); }
Client& Session::client() const { return impl_->client(); }
absl::Status Session::Close(absl::Time deadline) { return impl_->Close(deadline); }

}  // namespace raftkv::client
