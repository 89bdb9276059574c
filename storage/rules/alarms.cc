#include "storage/rules/alarms.h"

#include <algorithm>

#include "storage/base/mutant.h"

namespace raftkv {

namespace {

using etcdserverpb::AlarmRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using proto::Command;

absl::Status NoSpace() { return absl::ResourceExhaustedError("mvcc: database space exceeded"); }

absl::Status Corrupt() { return absl::DataLossError("corrupt cluster"); }

// Looks into both branches, at any depth, because the result must not depend on the stored keys.
// The depth is limited (proto/parse_command.h).
bool ContainsPut(const TxnRequest& txn) {
  const auto puts = [](const RequestOp& op) {
    return op.has_request_put() || (op.has_request_txn() && ContainsPut(op.request_txn()));
  };
  return std::any_of(txn.success().begin(), txn.success().end(), puts) ||
         std::any_of(txn.failure().begin(), txn.failure().end(), puts);
}

// What a command does with keys and leases.
enum class Effect {
  kNone,     // nothing; or leases are renewed or expire
  kChanges,  // changes them, and adds no data
  kAdds,     // may add data
};

// A command that is not named here does not compile (-Werror=switch).
Effect EffectOf(const Command& command) {
  switch (command.op_case()) {
    case Command::kPut:
    case Command::kLeaseGrant:
      return Effect::kAdds;
    case Command::kTxn:
      return ContainsPut(command.txn()) ? Effect::kAdds : Effect::kChanges;
    case Command::kLeaseRevoke:
      return RAFTKV_MUTANT("no-space-denies-revocations") ? Effect::kAdds : Effect::kChanges;
    case Command::kDeleteRange:
    case Command::kCompaction:
      return Effect::kChanges;
    case Command::kRecordStoreId:
    case Command::kSetClusterVersion:
    case Command::kRenewLeases:
    case Command::kExpireLeases:
    case Command::kChangeMembers:
    case Command::kChangeAlarm:
    case Command::kBumpRevision:
    case Command::OP_NOT_SET:
      break;
  }
  return Effect::kNone;
}

}  // namespace

absl::Status AlarmsInForce::Permit(const Command& command) const {
  if (!corrupt && !no_space) return absl::OkStatus();
  const Effect effect = EffectOf(command);
  if (corrupt && effect != Effect::kNone) return Corrupt();
  if (no_space && effect == Effect::kAdds) return NoSpace();
  return absl::OkStatus();
}

absl::Status AlarmsInForce::PermitRead() const { return corrupt ? Corrupt() : absl::OkStatus(); }

const Alarms::Alarm* Alarms::Find(const Id& id) const {
  const auto found = all_.find(id);
  return found == all_.end() ? nullptr : &found->second;
}

AlarmsInForce Alarms::in_force() const {
  AlarmsInForce in_force;
  for (const auto& [id, alarm] : all_) {
    in_force.no_space |= id.type == etcdserverpb::NOSPACE;
    in_force.corrupt |= id.type == etcdserverpb::CORRUPT;
  }
  return in_force;
}

size_t Alarms::raised_by_clients() const {
  return static_cast<size_t>(std::count_if(
      all_.begin(), all_.end(), [](const auto& alarm) { return !alarm.second.by_member; }));
}

Alarms::Change Alarms::ChangeOf(const proto::ChangeAlarm& command) const {
  const AlarmRequest& request = command.request();
  Change change{.id = {request.alarm(), request.memberid()}};
  if (change.id.type != etcdserverpb::NOSPACE && change.id.type != etcdserverpb::CORRUPT) {
    return change;
  }
  const Alarm* found = Find(change.id);
  if (request.action() == AlarmRequest::ACTIVATE) {
    change.answered = change.raised = true;
    // A client that raises a member's alarm takes it over, so that it does not end by itself.
    change.changed = found == nullptr || (found->by_member && !command.by_member());
  } else if (request.action() == AlarmRequest::DEACTIVATE && found != nullptr) {
    change.changed = change.answered = !command.by_member() || found->by_member;
  }
  return change;
}

void Alarms::Apply(const Change& change, bool by_member) {
  if (!change.changed) return;
  if (change.raised) {
    all_[change.id] = {.by_member = by_member};
  } else {
    all_.erase(change.id);
  }
}

}  // namespace raftkv
