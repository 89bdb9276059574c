#ifndef RAFTKV_SERVER_MEMBER_HANDED_OVER_H_
#define RAFTKV_SERVER_MEMBER_HANDED_OVER_H_

// Requests in the hands of the applier, which may be slow and on a thread of its own. Each is
// answered once: by the applier, or at its deadline by the replica, though what it asked for still
// happens.
//
// Owned by the replica and called on its thread; only the continuations that it gives out run on
// the applier's.

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/member/replica.h"

namespace raftkv {

class HandedOver {
 public:
  // What the applier calls instead of `done`.
  ProposalDone Watch(ProposalDone done, absl::Time deadline) {
    return WatchAs(std::move(done), deadline, Fate::kUnknownTimedOut);
  }
  ReadDone Watch(ReadDone done, absl::Time deadline) {
    return WatchAs(std::move(done), deadline, Fate::kTimedOut);
  }

  // With those that the applier has answered since the last Expire.
  size_t size() const { return requests_.size(); }

  // Answers those whose deadline has come, and forgets all that are answered.
  void Expire(absl::Time now) {
    std::erase_if(requests_, [now](const Watched& watched) {
      if (watched.deadline <= now) watched.request->End(watched.late);
      return watched.request->answered.load(std::memory_order_relaxed);
    });
  }

  void Stop() {
    for (const Watched& watched : std::exchange(requests_, {})) {
      watched.request->End(Fate::kStopped);
    }
  }

 private:
  struct Request {
    virtual ~Request() = default;
    virtual void End(Fate fate) = 0;
    std::atomic<bool> answered{false};
  };
  template <typename... Result>
  struct Once final : Request {
    using Done = absl::AnyInvocable<void(Fate, Result...)>;
    explicit Once(Done d) : done(std::move(d)) {}
    void Answer(Fate fate, Result... result) {
      if (!answered.exchange(true)) std::exchange(done, nullptr)(fate, std::move(result)...);
    }
    void End(Fate fate) override { Answer(fate, Result()...); }
    Done done;
  };
  struct Watched {
    std::shared_ptr<Request> request;
    absl::Time deadline;
    Fate late;
  };

  template <typename... Result>
  absl::AnyInvocable<void(Fate, Result...)> WatchAs(absl::AnyInvocable<void(Fate, Result...)> done,
                                                    absl::Time deadline, Fate late) {
    auto request = std::make_shared<Once<Result...>>(std::move(done));
    requests_.push_back({request, deadline, late});
    return [request = std::move(request)](Fate fate, Result... result) {
      request->Answer(fate, std::move(result)...);
    };
  }

  std::vector<Watched> requests_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_HANDED_OVER_H_
