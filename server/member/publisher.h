#ifndef RAFTKV_SERVER_MEMBER_PUBLISHER_H_
#define RAFTKV_SERVER_MEMBER_PUBLISHER_H_

// A member publishes its name and client URLs through the log, at its first start and when they
// have changed, as in etcd.
//
// Owned by the replica; used on the thread of the turns.

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "proto/command.pb.h"
#include "storage/base/monotonic_time.h"
#include "storage/rules/members.h"

namespace raftkv {

class Publisher {
 public:
  // `self`: the member's id, name and client URLs; without a name it publishes nothing (tests).
  // If the command is not applied within `retry`, it is proposed again.
  Publisher(etcdserverpb::Member self, absl::Duration retry)
      : self_(std::move(self)), retry_(retry) {}

  // The command to propose now; none if the members have this member's name and URLs, or do not
  // have this member. When it is proposed, call OnProposed.
  std::optional<proto::Command> CommandToPublish(const Members& members, MonotonicTime now) const {
    const Members::Member* known = members.Find(self_.id());
    if (known == nullptr || self_.name().empty() || now < next_) return std::nullopt;
    const auto &urls = self_.clienturls(), &known_urls = known->info.clienturls();
    if (known->started && known->info.name() == self_.name() &&
        std::equal(urls.begin(), urls.end(), known_urls.begin(), known_urls.end())) {
      return std::nullopt;
    }
    proto::Command command;
    *command.mutable_change_members()->mutable_publish() = self_;
    return command;
  }
  void OnProposed(MonotonicTime now) { next_ = now + retry_; }

 private:
  const etcdserverpb::Member self_;
  const absl::Duration retry_;
  MonotonicTime next_ = MonotonicTime::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_PUBLISHER_H_
