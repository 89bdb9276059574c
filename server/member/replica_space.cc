// The methods of Replica about the space on the disk (space.h), the alarms that follow from it
// (storage/alarms.h), and the compactions that a leader proposes by itself (auto_compaction.h).

#include <utility>

#include "server/member/replica.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

// A change of an alarm that is not applied within this time is proposed again. A second proposal is
// harmless.
constexpr absl::Duration kAlarmRetry = absl::Seconds(1);

}  // namespace

void Replica::OnState(const Alarms& alarms, Revision revision) {
  revision_ = revision;
  if (alarms == alarms_) return;
  alarms_ = alarms;
  outbox_->Report(AlarmsChanged{&alarms_});
}

void Replica::Handle(const SpaceReport& report) { space_.OnReport(report); }

void Replica::NoteSpace() {
  const bool was_full = disk_full();
  if (!space_.Update(now_)) return;
  next_alarm_ = now_;
  raft_.SetOutOfSpace(disk_full());
  if (disk_full() && !was_full) {
    full_since_ = now_;
    HandOverLeadership();
  }
  outbox_->Report(SpaceChanged{&space_});
}

// Another member must lead. If none takes over within an election timeout, this member steps down
// nevertheless, because a leader writes to its disk.
void Replica::MakeWayIfFull() {
  if (!disk_full() || raft_.role() != raft::Role::kLeader) return;
  const absl::Duration election_timeout = options_.tick * options_.raft.election_timeout_ticks;
  if (now_ - full_since_ < election_timeout) return;
  outbox_->Report(MadeWay{raft_.term(), absl::ZeroDuration()});
  raft_.StepDown();
}

// Each member raises and ends the alarm of its own disk. The leader ends the alarms of members that
// were removed.
void Replica::MaybeChangeAlarm() {
  using etcdserverpb::AlarmRequest;
  if (versions_.in_force() < kAlarmsVersion || now_ < next_alarm_) return;
  const Alarms::Id own{etcdserverpb::NOSPACE, options_.raft.id};
  const Alarms::Alarm* const raised = alarms_.Find(own);
  const bool wanted = space_.level() != Space::Level::kEnough;
  if (wanted && raised == nullptr) {
    ProposeAlarm(own, AlarmRequest::ACTIVATE);
  } else if (!wanted && raised != nullptr && raised->by_member &&
             !RAFTKV_MUTANT("alarm-never-ends")) {
    ProposeAlarm(own, AlarmRequest::DEACTIVATE);
  }
  if (raft_.role() != raft::Role::kLeader) return;
  for (const auto& [id, alarm] : alarms_.all()) {
    if (alarm.by_member && members_.removed(id.member)) ProposeAlarm(id, AlarmRequest::DEACTIVATE);
  }
}

void Replica::ProposeAlarm(const Alarms::Id& id, etcdserverpb::AlarmRequest::AlarmAction action) {
  next_alarm_ = now_ + kAlarmRetry;
  proto::Command command;
  proto::ChangeAlarm& change = *command.mutable_change_alarm();
  change.set_by_member(true);
  change.mutable_request()->set_action(action);
  change.mutable_request()->set_alarm(id.type);
  change.mutable_request()->set_memberid(id.member);
  Handle(ProposeRequest{.command = command.SerializeAsString(),
                        .done = [](Fate, const ApplyResult&) {},
                        .needs = Needs(command)});
}

// The entry carries this leader's term and no origin, because nobody waits for it.
void Replica::MaybeCompact() {
  const bool leads = raft_.role() == raft::Role::kLeader && !disk_full();
  const std::optional<Revision> revision = auto_compaction_.Due(now_, revision_, leads);
  if (!revision) return;
  proto::Command command;
  command.mutable_compaction()->set_revision(*revision);
  if (raft_.Propose(raft::Payload(command.SerializeAsString())) == raft::ProposeResult::kAccepted) {
    auto_compaction_.OnProposed(now_, *revision);
    outbox_->Report(CompactionProposed{*revision});
  }
}

}  // namespace raftkv
