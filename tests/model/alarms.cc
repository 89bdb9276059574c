// The model's alarms.

#include <algorithm>
#include <string>

#include "tests/model/model.h"

namespace raftkv {

namespace {

bool HasPut(const etcdserverpb::TxnRequest& txn) {
  for (const auto* ops : {&txn.success(), &txn.failure()}) {
    for (const etcdserverpb::RequestOp& op : *ops) {
      if (op.has_request_put() || HasPut(op.request_txn())) return true;
    }
  }
  return false;
}

}  // namespace

absl::Status Model::CheckAlarms(const proto::Command& command) const {
  const auto in_force = [this](int type) {
    return std::any_of(alarms_.begin(), alarms_.end(),
                       [type](const auto& alarm) { return alarm.first.first == type; });
  };
  const bool adds = command.has_put() || command.has_lease_grant() || HasPut(command.txn());
  const bool concerned = adds || command.has_txn() || command.has_delete_range() ||
                         command.has_compaction() || command.has_lease_revoke();
  if (in_force(etcdserverpb::CORRUPT) && concerned) return absl::DataLossError("corrupt cluster");
  if (in_force(etcdserverpb::NOSPACE) && adds) {
    return absl::ResourceExhaustedError("mvcc: database space exceeded");
  }
  return absl::OkStatus();
}

absl::Status Model::ChangeAlarm(const proto::ChangeAlarm& change,
                                etcdserverpb::AlarmResponse* response) {
  const etcdserverpb::AlarmRequest& request = change.request();
  if (request.alarm() != etcdserverpb::NOSPACE && request.alarm() != etcdserverpb::CORRUPT) {
    return absl::OkStatus();
  }
  const std::pair<int, uint64_t> id(request.alarm(), request.memberid());
  const auto found = alarms_.find(id);
  if (request.action() == etcdserverpb::AlarmRequest::ACTIVATE) {
    const auto by_clients = std::count_if(alarms_.begin(), alarms_.end(),
                                          [](const auto& alarm) { return !alarm.second; });
    const bool adds = !change.by_member() && (found == alarms_.end() || found->second);
    if (adds && static_cast<size_t>(by_clients) >= rules().alarms) {
      return absl::ResourceExhaustedError("there are " + std::to_string(rules().alarms) +
                                          " alarms, and no more are possible; disarm some");
    }
    if (adds || found == alarms_.end()) alarms_[id] = change.by_member();
  } else if (request.action() == etcdserverpb::AlarmRequest::DEACTIVATE) {
    if (found == alarms_.end() || (change.by_member() && !found->second)) return absl::OkStatus();
    alarms_.erase(found);
  } else {
    return absl::OkStatus();
  }
  etcdserverpb::AlarmMember& alarm = *response->add_alarms();
  alarm.set_alarm(request.alarm());
  alarm.set_memberid(request.memberid());
  return absl::OkStatus();
}

}  // namespace raftkv
