#include "storage/tables/alarms.h"

#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

constexpr size_t kAlarmKeyBytes = 1 + 1 + 8;

std::string AlarmKey(const Alarms::Id& id) {
  std::string key(1, AlarmTable::kLetter);
  key.push_back(static_cast<char>(id.type));
  PutBigEndian64(&key, id.member);
  return key;
}

}  // namespace

absl::StatusOr<Alarms> AlarmTable::Read(const View& view) {
  Alarms alarms;
  const std::unique_ptr<Iterator> it = view.NewIterator(mvcc::TableEnd(kLetter));
  for (it->Seek(std::string(1, kLetter)); it->valid(); it->Next()) {
    const std::string_view key = it->key();
    if (key.size() != kAlarmKeyBytes || it->value().size() != 1) {
      return absl::DataLossError("state machine: an alarm is damaged");
    }
    const auto type = static_cast<etcdserverpb::AlarmType>(key[1]);
    alarms.Restore({type, BigEndian64(&key[2])}, {.by_member = it->value()[0] != 0});
  }
  return alarms;
}

absl::Status AlarmTable::Load() {
  absl::StatusOr<Alarms> alarms = Read(*shared_.engine->NewView());
  if (!alarms.ok()) return alarms.status();
  alarms_ = *std::move(alarms);
  if (!RAFTKV_MUTANT("alarms-forgotten-at-restart")) shared_.state.alarms = alarms_.in_force();
  return absl::OkStatus();
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
  const std::string key = AlarmKey(change.id);
  if (change.raised) {
    shared_.batch.Put(key, std::string(1, by_member ? '\1' : '\0'));
  } else {
    shared_.batch.Delete(key);
  }
  uint64_t& digest = shared_.state.digest;
  digest = HashMix(Hash64(key, digest), change.raised ? 1 + uint64_t{by_member} : 0);
}

absl::Status AlarmTable::Hash(const View& view, const State&, Meter* meter, std::string* out) {
  return HashRecords(view, kLetter, meter, out);
}

}  // namespace raftkv
