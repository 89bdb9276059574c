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

absl::StatusOr<ExactlyOnce::Write> ExactlyOnce::Begin(MonotonicTime deadline) {
  absl::StatusOr<std::shared_ptr<Sequence>> opened = Open(deadline);
  if (!opened.ok()) return opened.status();
  Sequence& sequence = **opened;
  const auto until =
      std::chrono::steady_clock::time_point(absl::ToChronoNanoseconds(deadline.since_origin()));
  std::unique_lock lock(mutex_);
  if (!ended_.wait_until(lock, until, [&] { return sequence.MayBegin(); })) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kUnfinishedMax, " writes of this client wait for their answers"));
  }
  const uint64_t seq = sequence.next++;
  sequence.unfinished.insert(seq);
  return Write{*opened, sequence.session->lease(), seq, *sequence.unfinished.begin() - 1};
}

std::shared_ptr<ExactlyOnce::Sequence> ExactlyOnce::Usable() {
  std::lock_guard lock(mutex_);
  return current_ != nullptr && current_->session->status().ok() ? current_ : nullptr;
}

absl::StatusOr<std::shared_ptr<ExactlyOnce::Sequence>> ExactlyOnce::Open(MonotonicTime deadline) {
  if (auto found = Usable()) return found;
  std::lock_guard opening(opening_);
  if (auto found = Usable()) return found;
  const auto status = client_.Call(StatusRequest(), {.deadline = absl::Now() + (deadline - Now())});
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
    session = Session::Open(client_, {.ttl = kTtl, .open_timeout = deadline - Now()});
    if (!absl::IsUnavailable(session.status()) || NeverSent(session.status())) break;
    if (Now() + kPause >= deadline) break;
    absl::SleepFor(kPause);
  }
  if (!session.ok()) return session.status();
  auto sequence = std::make_shared<Sequence>(*std::move(session));
  const std::shared_ptr<Sequence> before = [&] {
    std::lock_guard lock(mutex_);
    return std::exchange(current_, sequence);
  }();
  return sequence;
}

void ExactlyOnce::End(const Write& write) {
  {
    std::lock_guard lock(mutex_);
    write.sequence->unfinished.erase(write.seq);
  }
  ended_.notify_all();
}

void ExactlyOnce::OnExpired(const Write& write) {
  std::lock_guard lock(mutex_);
  if (current_ == write.sequence) current_ = nullptr;  // `write` still holds it
}

}  // namespace raftkv::client
