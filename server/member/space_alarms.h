#ifndef RAFTKV_SERVER_MEMBER_SPACE_ALARMS_H_
#define RAFTKV_SERVER_MEMBER_SPACE_ALARMS_H_

// Which alarms (storage/rules/alarms.h) follow from the space on the members' disks: each member
// raises and ends the alarm NOSPACE of its own disk. The leader ends the alarms that removed
// members have raised.
//
// Owned by the replica; used on the thread of the turns.

#include <optional>

#include "absl/time/time.h"
#include "proto/command.pb.h"
#include "server/member/space.h"
#include "storage/base/monotonic_time.h"
#include "storage/base/mutant.h"
#include "storage/rules/alarms.h"
#include "storage/rules/members.h"

namespace raftkv {

class SpaceAlarms {
 public:
  explicit SpaceAlarms(raft::MemberId self) : self_(self) {}

  // The command to propose now, if there is one. `raised`: the alarms as of the applied entries.
  // When the command is proposed, call OnProposed.
  std::optional<proto::Command> CommandToChange(Space::Level level, const Alarms& raised,
                                                const Members& members, bool leads,
                                                MonotonicTime now) const {
    using etcdserverpb::AlarmRequest;
    if (now < next_) return std::nullopt;
    const Alarms::Id own{etcdserverpb::NOSPACE, self_};
    const Alarms::Alarm* const alarm = raised.Find(own);
    const bool wanted = level != Space::Level::kEnough;
    // A member whose disk is full takes no entries. So it does not learn that a client has ended
    // its alarm, and raises it again and again.
    const bool may_have_ended = level == Space::Level::kFull;
    if (wanted && (alarm == nullptr || may_have_ended)) {
      return Change(own, AlarmRequest::ACTIVATE);
    }
    if (!wanted && alarm != nullptr && alarm->by_member && !RAFTKV_MUTANT("alarm-never-ends")) {
      return Change(own, AlarmRequest::DEACTIVATE);
    }
    if (!leads) return std::nullopt;
    for (const auto& [id, other] : raised.all()) {
      if (other.by_member && members.removed(id.member)) {
        return Change(id, AlarmRequest::DEACTIVATE);
      }
    }
    return std::nullopt;
  }
  void OnProposed(MonotonicTime now) { next_ = now + kRetry; }
  // The level has changed: do not wait for the retry.
  void OnLevelChanged() { next_ = MonotonicTime::InfinitePast(); }

 private:
  // A change that is not applied within this time is proposed again. A second proposal is harmless.
  static constexpr absl::Duration kRetry = absl::Seconds(1);

  static proto::Command Change(const Alarms::Id& id,
                               etcdserverpb::AlarmRequest::AlarmAction action) {
    proto::Command command;
    proto::ChangeAlarm& change = *command.mutable_change_alarm();
    change.set_by_member(true);
    change.mutable_request()->set_action(action);
    change.mutable_request()->set_alarm(id.type);
    change.mutable_request()->set_memberid(id.member);
    return command;
  }

  const raft::MemberId self_;
  MonotonicTime next_ = MonotonicTime::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_SPACE_ALARMS_H_
