#include "client/exactly_once.h"

#include <chrono>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/etcd/metadata.h"

namespace raftkv::client {
namespace {

// The service stores this number of answers for one session: those after the number up to which all
// writes are over (docs/bounds.md).
constexpr uint64_t kUnfinishedMax = 1000;
constexpr absl::Duration kTtl = absl::Seconds(60);
constexpr absl::Duration kPause = absl::Milliseconds(100);  // before another attempt to open it

}  // namespace

struct ExactlyOnce::Sequence {
  explicit Sequence(std::unique_ptr<Session> opened) : session(std::move(opened)) {}

  bool MayBegin() const {
    return unfinished.empty() || next - *unfinished.begin() < kUnfinishedMax;
  }

  const std::unique_ptr<Session> session;
  uint64_t next = 1;
  std::set<uint64_t> unfinished;
};

absl::StatusOr<ExactlyOnce::Write> ExactlyOnce::Begin(MonotonicTime deadline,
                                                      const std::stop_token& cancel) {
  absl::StatusOr<std::shared_ptr<Sequence>> current = Current(deadline, cancel);
  if (!current.ok()) return current.status();
  Sequence& sequence = **current;
  std::unique_lock lock(mutex_);
  const absl::Status waited = Wait(lock, deadline, cancel, [&] { return sequence.MayBegin(); });
  if (absl::IsDeadlineExceeded(waited)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kUnfinishedMax, " writes of this client wait for their answers"));
  }
  if (!waited.ok()) return waited;
  const uint64_t seq = sequence.next++;
  sequence.unfinished.insert(seq);
  return Write{*current, sequence.session->lease(), seq, *sequence.unfinished.begin() - 1};
}

absl::Status ExactlyOnce::Wait(std::unique_lock<std::mutex>& lock, MonotonicTime deadline,
                               const std::stop_token& cancel, const std::function<bool()>& ready) {
  const auto until =
      std::chrono::steady_clock::time_point(absl::ToChronoNanoseconds(deadline.since_origin()));
  if (changed_.wait_until(lock, cancel, until, ready)) return absl::OkStatus();
  if (cancel.stop_requested()) return absl::CancelledError("the call was cancelled");
  return absl::DeadlineExceededError("the session of this client was not opened in time");
}

bool ExactlyOnce::usable() const { return current_ != nullptr && current_->session->status().ok(); }

absl::StatusOr<std::shared_ptr<ExactlyOnce::Sequence>> ExactlyOnce::Current(
    MonotonicTime deadline, const std::stop_token& cancel) {
  {
    std::unique_lock lock(mutex_);
    const absl::Status waited =
        Wait(lock, deadline, cancel, [this] { return usable() || !opening_; });
    if (!waited.ok()) return waited;
    if (usable()) return current_;
    opening_ = true;
  }
  absl::StatusOr<std::unique_ptr<Session>> session = Open(deadline, cancel);
  auto opened = session.ok() ? std::make_shared<Sequence>(*std::move(session)) : nullptr;
  std::shared_ptr<Sequence> before;  // destroyed without the lock, because it may wait for a thread
  {
    std::lock_guard lock(mutex_);
    opening_ = false;
    if (opened != nullptr) before = std::exchange(current_, opened);
  }
  changed_.notify_all();
  if (opened == nullptr) return session.status();
  return opened;
}

absl::StatusOr<std::unique_ptr<Session>> ExactlyOnce::Open(MonotonicTime deadline,
                                                           const std::stop_token& cancel) {
  const auto status = client_.Call(
      StatusRequest(), {.deadline = absl::Now() + (deadline - Now()), .cancel = cancel});
  if (!status.ok()) return status.status();
  const uint64_t version = status->cluster_version;  // 0: the service is not raftkv
  if (version < kSessionsClusterVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "exactly-once writes need cluster version ", kSessionsClusterVersion,
        version == 0
            ? " of raftkv, and this is another service"
            : absl::StrCat(", and this cluster is at version ", version, ": upgrade all members")));
  }
  absl::StatusOr<std::unique_ptr<Session>> session;
  for (;;) {
    session =
        Session::Open(client_, {.ttl = kTtl, .open_timeout = deadline - Now(), .cancel = cancel});
    if (!absl::IsUnavailable(session.status()) || NeverSent(session.status())) return session;
    if (Now() + kPause >= deadline || cancel.stop_requested()) return session;
    absl::SleepFor(kPause);
  }
}

void ExactlyOnce::End(const Write& write) {
  {
    std::lock_guard lock(mutex_);
    write.sequence->unfinished.erase(write.seq);
  }
  changed_.notify_all();
}

void ExactlyOnce::OnExpired(const Write& write) {
  {
    std::lock_guard lock(mutex_);
    if (current_ == write.sequence) current_ = nullptr;  // `write` still holds it
  }
  // Otherwise the end of the session's last write would wait for a revocation of the lease, even
  // after the deadline of the write.
  write.sequence->session->Close(absl::InfinitePast()).IgnoreError();
}

}  // namespace raftkv::client
