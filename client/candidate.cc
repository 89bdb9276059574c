#include "client/candidate.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/etcd/outcome.h"

namespace raftkv::client {
namespace {

constexpr absl::Duration kRetryAfter = absl::Milliseconds(200);
// The time limit for the deletion of the key after a failed or cancelled wait.
constexpr absl::Duration kDeleteMax = absl::Seconds(1);
// The time limit of one attempt to create the watch. Between attempts, the session is checked.
constexpr absl::Duration kCreateMax = absl::Seconds(5);

// Whether another attempt may succeed, perhaps at another member.
bool IsTemporary(const absl::Status& error) {
  return absl::IsUnavailable(error) || absl::IsDeadlineExceeded(error) || OutcomeUnknown(error) ||
         error.message() == kTooManyRequests;
}

absl::Status Cancelled() { return absl::CancelledError("the wait for the lock was cancelled"); }
absl::Status KeyIsGone() {
  return absl::FailedPreconditionError("the key of the lock was deleted, or its lease has ended");
}

}  // namespace

Candidate::Candidate(Session* session, std::string name)
    : session_(*session),
      all_(CandidatesOf(name)),
      key_(absl::StrCat(name, "/", absl::Hex(static_cast<uint64_t>(session->lease())))) {}

absl::Status Candidate::Enter(std::string_view value, absl::Time until) {
  const MonotonicTime deadline = FromWallClock(until);
  bool won = false;
  absl::Status status = CreateKey(value, deadline, &won);
  if (status.ok() && !won) status = WaitForTurn(deadline);
  // One attempt. If it fails, the key ends with the session.
  if (!status.ok()) DeleteKey(Now(), {.deadline = absl::Now() + kDeleteMax}).IgnoreError();
  return status;
}

absl::Status Candidate::CreateKey(std::string_view value, MonotonicTime deadline, bool* won) {
  may_exist_ = true;
  const Op first = Op::Get(all_, kFirstCandidate);
  const auto result = Commit({.when = {CreateRevision(key_) == 0},
                              .then = {Op::Put(key_, value, {.lease = session_.lease()}), first},
                              .otherwise = {Op::Get(key_), first}},
                             deadline, {.cancel = cancel_.get_token()});
  if (!result.ok()) return result.status();
  created_ = result->header.revision;
  if (!result->succeeded) {
    const KeyValue& own = std::get<RangeResult>(result->results.at(0)).kvs.at(0);
    created_ = own.create_revision;
    if (own.value != value) {
      if (absl::Status status = Put(value); !status.ok()) return status;
    }
  }
  const RangeResult& owner = std::get<RangeResult>(result->results.at(1));
  *won = !owner.kvs.empty() && owner.kvs[0].create_revision == created_;
  won_revision_ = result->header.revision;
  return absl::OkStatus();
}

absl::Status Candidate::WaitForTurn(MonotonicTime deadline) {
  for (;;) {
    // One read finds the candidate before this one, and checks that the own key still exists.
    const auto result = Commit({.when = {Exists()},
                                .then = {Op::Get(all_, {.limit = 1,
                                                        .keys_only = true,
                                                        .sort_by = SortBy::kCreateRevision,
                                                        .order = Order::kDescend,
                                                        .max_create_revision = created_ - 1})}},
                               deadline, {.cancel = cancel_.get_token()});
    if (!result.ok()) return result.status();
    if (!result->succeeded) return KeyIsGone();
    const RangeResult& before = std::get<RangeResult>(result->results.at(0));
    if (before.kvs.empty()) {
      won_revision_ = result->header.revision;
      return absl::OkStatus();
    }
    absl::Status status = WaitForDeletion(before.kvs[0].key, result->header.revision + 1, deadline);
    if (!status.ok()) return status;
  }
}

// Returns OK also if the key may have been deleted: the caller reads again.
absl::Status Candidate::WaitForDeletion(const std::string& key, int64_t revision,
                                        MonotonicTime deadline) {
  const WatchOptions deletion = {.start_revision = revision, .puts = false};
  std::unique_ptr<Watcher> watcher;
  for (;;) {
    if (absl::Status status = MayWait(deadline); !status.ok()) return status;
    if (watcher == nullptr) {
      const MonotonicTime until = std::min(deadline, Now() + kCreateMax);
      auto watch = session_.client().Watch(
          key, deletion, {.deadline = ToWallClock(until), .cancel = cancel_.get_token()});
      if (watch.ok()) {
        watcher = *std::move(watch);
      } else if (!IsTemporary(watch.status())) {
        return watch.status();
      } else {
        absl::SleepFor(kRetryAfter);
      }
      continue;
    }
    const auto batch = watcher->Next(absl::Now() + kWaitPoll);
    if (batch.ok() && !batch->events.empty()) return absl::OkStatus();
    if (batch.ok() || absl::IsDeadlineExceeded(batch.status())) continue;
    if (absl::IsOutOfRange(batch.status())) return absl::OkStatus();  // the history was compacted
    return batch.status();
  }
}

absl::Status Candidate::Put(std::string_view value) {
  if (created_ == 0) return KeyIsGone();
  const auto result =
      Commit({.when = {Exists()}, .then = {Op::Put(key_, value, {.lease = session_.lease()})}});
  if (!result.ok()) return result.status();
  return result->succeeded ? absl::OkStatus() : KeyIsGone();
}

absl::Status Candidate::Leave() { return DeleteKey(MonotonicTime::InfiniteFuture(), {}); }

// Without a condition, because the key may have been created by a request whose outcome is unknown.
// No other session has this key.
absl::Status Candidate::DeleteKey(MonotonicTime deadline, const CallOptions& options) {
  if (!may_exist_) return absl::OkStatus();
  const auto result = Commit({.then = {Op::Delete(key_)}}, deadline, options);
  created_ = 0;
  if (result.ok()) may_exist_ = false;
  return result.status();
}

absl::Status Candidate::MayWait(MonotonicTime deadline) const {
  if (cancel_.stop_requested()) return Cancelled();
  if (absl::Status status = session_.status(); !status.ok()) return status;
  if (Now() < deadline) return absl::OkStatus();
  return absl::DeadlineExceededError("another one still holds the lock");
}

absl::StatusOr<TxnResult> Candidate::Commit(const Transaction& transaction, MonotonicTime deadline,
                                            const CallOptions& options) {
  for (;;) {
    if (options.cancel.stop_requested()) return Cancelled();
    if (absl::Status status = session_.status(); !status.ok()) return status;
    auto result = session_.client().Call(TxnRequest(transaction), options);
    if (result.ok() || !IsTemporary(result.status()) || Now() >= deadline) return result;
    absl::SleepFor(kRetryAfter);
  }
}

}  // namespace raftkv::client
