#ifndef RAFTKV_SERVER_MEMBER_RENEWALS_H_
#define RAFTKV_SERVER_MEMBER_RENEWALS_H_

// Keep-alives that wait to be proposed. A renewal is an entry of the log. So keep-alives that
// arrive within kInterval share entries: then 100,000 leases need few entries more than one lease.
//
// Owned by the replica; used on the thread that runs the turns.

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "proto/command.pb.h"
#include "server/member/requests.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

class Renewals {
 public:
  static constexpr absl::Duration kInterval = absl::Milliseconds(50);
  static constexpr size_t kWaitingMax = 1 << 17;
  static constexpr size_t kTogetherMax = 1000;

  // If kWaitingMax keep-alives wait, the request is answered kTooManyRequests.
  void Add(RenewRequest request) {
    if (waiting_.size() < kWaitingMax) {
      waiting_.push_back(std::move(request));
    } else {
      request.done(Fate::kTooManyRequests, {});
    }
  }

  // The next proposal that is due now. Call it repeatedly until it returns nullopt.
  std::optional<ProposeRequest> TakeDue(MonotonicTime now) {
    if (waiting_.empty() || now < next_) return std::nullopt;
    auto together = std::make_shared<std::vector<RenewRequest>>();
    proto::Command command;
    for (size_t left = std::min(waiting_.size(), kTogetherMax); left > 0; --left) {
      command.mutable_renew_leases()->add_ids(waiting_.front().id);
      together->push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    if (waiting_.empty()) next_ = now + kInterval;
    return ProposeRequest{
        .command = command.SerializeAsString(),
        .done =
            [together](Fate fate, const ApplyResult& result) {
              for (size_t i = 0; i < together->size(); ++i) {
                const bool renewed = fate == Fate::kApplied && result.status.ok();
                (*together)[i].done(
                    fate,
                    {.ttl = renewed ? result.response.renew_leases().ttls(static_cast<int>(i)) : 0,
                     .revision = result.revision});
              }
            },
        .needs = Needs(command)};
  }

  void Stop() {
    for (RenewRequest& request : std::exchange(waiting_, {})) {
      request.done(Fate::kStoppedUnproposed, {});
    }
  }

 private:
  std::deque<RenewRequest> waiting_;
  MonotonicTime next_ = MonotonicTime::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_RENEWALS_H_
