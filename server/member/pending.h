#ifndef RAFTKV_SERVER_MEMBER_PENDING_H_
#define RAFTKV_SERVER_MEMBER_PENDING_H_

// Clients' requests from arrival to answer. Each is answered exactly once: when it is carried out,
// at its deadline, or when the member stops. Only the first answer is given; later ones are
// ignored.
//
// A PendingRequest is shared by the list of all requests (PendingRequests) and by the object that
// holds it now, for example Proposals, Reads or the Applier, which may run on another thread.

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "server/member/requests.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

class PendingRequest {
 public:
  using Done = std::variant<ProposalDone, ReadDone>;

  // `compaction_deadline` is set for a physical compaction: after the write was applied, the answer
  // waits until the compacted versions are removed, or until compaction_deadline. For all other
  // requests it is empty, and `deadline` is the only limit.
  PendingRequest(Done done, MonotonicTime deadline,
                 std::optional<MonotonicTime> compaction_deadline)
      : done_(std::move(done)), deadline_(deadline), compaction_deadline_(compaction_deadline) {}

  // From any thread. Only the first call has an effect.
  void Answer(Fate fate, ApplyResult result = {}) {
    if (answered_.exchange(true)) return;
    if (auto* proposal = std::get_if<ProposalDone>(&done_)) {
      std::exchange(*proposal, nullptr)(fate, std::move(result));
    } else {
      std::exchange(std::get<ReadDone>(done_), nullptr)(fate);
    }
  }
  bool answered() const { return answered_.load(std::memory_order_relaxed); }

  // Whether the write may be in some member's log. Only the thread of the turns sets it.
  void set_proposed(bool proposed) { proposed_ = proposed; }
  bool proposed() const { return proposed_; }

  bool waits_for_compaction() const { return compaction_deadline_.has_value(); }
  // The compaction was applied: from now on compaction_deadline is the request's deadline.
  void AwaitCompaction() { compacting_.store(true, std::memory_order_relaxed); }
  MonotonicTime deadline() const {
    return compacting_.load(std::memory_order_relaxed) ? *compaction_deadline_ : deadline_;
  }

 private:
  Done done_;
  const MonotonicTime deadline_;
  const std::optional<MonotonicTime> compaction_deadline_;
  std::atomic<bool> answered_{false};
  std::atomic<bool> compacting_{false};
  bool proposed_ = false;
};

using PendingRequestPtr = std::shared_ptr<PendingRequest>;

// All requests of one member that are not answered. Owned by the replica, which bounds their
// number; used on the thread of the turns.
class PendingRequests {
 public:
  PendingRequestPtr Add(PendingRequest::Done done, MonotonicTime deadline,
                        std::optional<MonotonicTime> compaction_deadline = std::nullopt) {
    requests_.push_back(
        std::make_shared<PendingRequest>(std::move(done), deadline, compaction_deadline));
    return requests_.back();
  }

  // Includes requests that were answered since the last call of Expire or ForgetAnswered.
  size_t size() const { return requests_.size(); }

  // Answers those whose deadline has come. Returns whether there were any.
  bool Expire(MonotonicTime now) {
    bool any = false;
    std::erase_if(requests_, [now, &any](const PendingRequestPtr& request) {
      if (request->answered()) return true;
      if (request->deadline() > now) return false;
      request->Answer({Fate::Kind::kTimedOut, request->proposed()});
      return any = true;
    });
    return any;
  }
  void ForgetAnswered() {
    std::erase_if(requests_, [](const PendingRequestPtr& request) { return request->answered(); });
  }
  // Answers all of them, because the member stops.
  void Stop() {
    for (const PendingRequestPtr& request : std::exchange(requests_, {})) {
      request->Answer({Fate::Kind::kStopped, request->proposed()});
    }
  }

 private:
  std::vector<PendingRequestPtr> requests_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_PENDING_H_
