// Mutex, Election and LeaderObserver of raftkv/lock.h.
#include <algorithm>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "client/candidate.h"
#include "client/clock.h"
#include "client/raftkv.h"

namespace raftkv::client {

Mutex::Mutex(Session* session, std::string name)
    : candidate_(std::make_unique<Candidate>(session, std::move(name))) {}
Mutex::~Mutex() { candidate_->Leave().IgnoreError(); }
absl::Status Mutex::Lock(absl::Time deadline) { return candidate_->Enter("", deadline); }
absl::Status Mutex::Unlock() { return candidate_->Leave(); }
void Mutex::Cancel() { candidate_->Cancel(); }
const std::string& Mutex::key() const { return candidate_->key(); }
int64_t Mutex::fencing_token() const { return candidate_->created(); }
int64_t Mutex::locked_revision() const { return candidate_->won_revision(); }
Compare Mutex::IsOwner() const { return candidate_->Exists(); }

Election::Election(Session* session, std::string name)
    : candidate_(std::make_unique<Candidate>(session, std::move(name))) {}
Election::~Election() { candidate_->Leave().IgnoreError(); }
absl::Status Election::Campaign(std::string_view value, absl::Time deadline) {
  return candidate_->Enter(value, deadline);
}
absl::Status Election::Proclaim(std::string_view value) { return candidate_->Put(value); }
absl::Status Election::Resign() { return candidate_->Leave(); }
void Election::Cancel() { candidate_->Cancel(); }
const std::string& Election::key() const { return candidate_->key(); }
int64_t Election::fencing_token() const { return candidate_->created(); }
Compare Election::IsLeader() const { return candidate_->Exists(); }

class LeaderObserver::Impl {
 public:
  Impl(Client* client, std::string name) : client_(*client), all_(CandidatesOf(name)) {}

  absl::StatusOr<LeaderResult> Next(MonotonicTime deadline) {
    for (;;) {
      if (!pending_.empty()) {
        LeaderResult next = std::move(pending_.front());
        pending_.erase(pending_.begin());
        return next;
      }
      if (cancel_.stop_requested()) return absl::CancelledError("the observer was cancelled");
      if (Now() >= deadline) return absl::DeadlineExceededError("the leader has not changed");
      absl::Status status = !found_               ? Find(deadline)
                            : watcher_ == nullptr ? StartWatch(deadline)
                                                  : Follow(deadline);
      if (absl::IsOutOfRange(status)) {  // the history was compacted: read again
        FindAgain();
      } else if (!status.ok()) {
        return status;
      }
    }
  }
  void Cancel() { cancel_.request_stop(); }

 private:
  struct Found {
    Keys watched;  // the leader's key or, if nobody leads, all candidates
    bool leads;    // whether somebody leads
    int64_t revision;
  };

  CallOptions Call(MonotonicTime deadline) const {
    return {.deadline = ToWallClock(deadline), .cancel = cancel_.get_token()};
  }

  // Reads who leads. The result is kept, so that a call of Next continues where an earlier call has
  // ended because of its deadline.
  absl::Status Find(MonotonicTime deadline) {
    const auto first = client_.Call(RangeRequest(all_, kFirstCandidate), Call(deadline));
    if (!first.ok()) return first.status();
    const bool leads = !first->kvs.empty();
    found_ = {leads ? Keys(first->kvs[0].key) : all_, leads, first->header.revision};
    if (leads) Add(first->header, first->kvs[0]);
    return absl::OkStatus();
  }

  absl::Status StartWatch(MonotonicTime deadline) {
    auto watcher = client_.Watch(found_->watched,
                                 {.start_revision = found_->revision + 1, .deletes = found_->leads},
                                 Call(deadline));
    if (!watcher.ok()) return watcher.status();
    watcher_ = *std::move(watcher);
    return absl::OkStatus();
  }

  // Waits for events. When the leader's key is deleted, or the first candidate comes, Find follows.
  absl::Status Follow(MonotonicTime deadline) {
    const absl::Duration wait = std::min(kWaitPoll, deadline - Now());
    const auto batch = watcher_->Next(absl::Now() + wait);
    if (absl::IsDeadlineExceeded(batch.status())) return absl::OkStatus();
    if (!batch.ok()) return batch.status();
    for (const Event& event : batch->events) {
      if (!found_->leads || event.type == Event::Type::kDelete) {
        FindAgain();
        return absl::OkStatus();
      }
      Add(batch->header, event.kv);
    }
    return absl::OkStatus();
  }

  // After a compaction, Find may read what was added already.
  void Add(const Header& header, const KeyValue& leader) {
    const auto change = std::pair(leader.key, leader.mod_revision);
    if (std::exchange(last_, change) != change) pending_.push_back({header, leader});
  }

  void FindAgain() {
    watcher_.reset();
    found_.reset();
  }

  Client& client_;
  const Keys all_;
  std::vector<LeaderResult> pending_;  // not returned yet: at most the events of one batch
  std::optional<std::pair<std::string, int64_t>> last_;  // added: the key and its mod_revision
  std::optional<Found> found_;
  std::unique_ptr<Watcher> watcher_;  // of found_->watched; null: not started yet
  std::stop_source cancel_;
};

LeaderObserver::LeaderObserver(Client* client, std::string name)
    : impl_(std::make_unique<Impl>(client, std::move(name))) {}
LeaderObserver::~LeaderObserver() = default;
absl::StatusOr<LeaderResult> LeaderObserver::Next(absl::Time deadline) {
  return impl_->Next(FromWallClock(deadline));
}
void LeaderObserver::Cancel() { impl_->Cancel(); }

}  // namespace raftkv::client
