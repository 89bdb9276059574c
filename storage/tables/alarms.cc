#include "storage/tables/alarms.h"

#include "absl/strings/str_cat.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"

namespace raftkv {

absl::Status AlarmTable::Load() {
  absl::Status status = alarms_.LoadAll(*shared_.engine->NewView());
  if (!RAFTKV_MUTANT("alarms-forgotten-at-restart")) shared_.state.alarms = alarms_.in_force();
  return status;
}

absl::Status AlarmTable::Check(const proto::Command& command, Meter*) {
  const proto::ChangeAlarm& change = command.change_alarm();
  const bool adds = change.request().action() == etcdserverpb::AlarmRequest::ACTIVATE &&
                    !change.by_member() && alarms_.ChangeOf(change).changed;
  const size_t alarms_max = shared_.rules().alarms;
  if (!adds || alarms_.raised_by_clients() < alarms_max) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("there are ", alarms_max, " alarms, and no more are possible; disarm some"));
}

void AlarmTable::Apply(const proto::Command& command, proto::CommandResponse* response) {
  const bool by_member = command.change_alarm().by_member();
  const Alarms::Change change = alarms_.ChangeOf(command.change_alarm());
  etcdserverpb::AlarmResponse* answer = response->mutable_change_alarm();
  if (change.answered) {
    etcdserverpb::AlarmMember* alarm = answer->add_alarms();
    alarm->set_alarm(change.id.type);
    alarm->set_memberid(change.id.member);
  }
  if (!change.changed) return;
  alarms_.Apply(change, by_member);
  shared_.state.alarms = alarms_.in_force();
  const std::string key = Alarms::EngineKey(change.id);
  if (change.raised) {
    shared_.batch.Put(key, Alarms::Record({.by_member = by_member}));
  } else {
    shared_.batch.Delete(key);
  }
  uint64_t& digest = shared_.state.digest;
  digest = HashMix(Hash64(key, digest), change.raised ? 1 + uint64_t{by_member} : 0);
}

absl::Status AlarmTable::Hash(const View& view, const State&, Meter* meter, std::string* out) {
  return HashRecords(view, mvcc::kAlarmTable, meter, out);
}

}  // namespace raftkv
