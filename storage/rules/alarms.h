#ifndef RAFTKV_STORAGE_RULES_ALARMS_H_
#define RAFTKV_STORAGE_RULES_ALARMS_H_

// The alarms of the cluster, as in etcd. An alarm has a type and names a member. A type is in force
// for the whole cluster as long as there is at least one alarm of it:
//   NOSPACE  the disk of the member is nearly full, or its data exceeds the quota. Nothing that
//            adds data is accepted: puts, transactions that contain a put, grants of leases. Reads
//            go on, and so do deletions, compactions and the ends of leases, because they free
//            space.
//   CORRUPT  the member's data differs from the others'. Ranges and transactions are rejected, and
//            every command that changes keys or leases, except that leases are renewed and expire.
// The command ChangeAlarm raises and ends alarms. The verdict on an entry follows the alarms in
// force at that entry (tables/alarms.h), so it is the same on every member.

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "storage/log/entry.h"

namespace raftkv {

// The types of which there is at least one alarm.
struct AlarmsInForce {
  bool no_space = false;
  bool corrupt = false;

  // OK, or why the alarms deny the command: ResourceExhausted or DataLoss, with etcd's text.
  absl::Status Permit(const proto::Command& command) const;
  // The same for a read of keys.
  absl::Status PermitRead() const;
};

class Alarms {
 public:
  struct Id {
    etcdserverpb::AlarmType type = etcdserverpb::NONE;
    raft::MemberId member = raft::kNobody;  // as the request named it; clients may name any number
    friend auto operator<=>(const Id&, const Id&) = default;
  };
  struct Alarm {
    bool by_member = false;  // raised by the member itself (ChangeAlarm::by_member)
    friend bool operator==(const Alarm&, const Alarm&) = default;
  };

  const std::map<Id, Alarm>& all() const { return all_; }
  const Alarm* Find(const Id& id) const;  // null: there is no such alarm
  AlarmsInForce in_force() const;
  size_t raised_by_clients() const;

  // What the command changes: the alarm that it raises or ends; nothing if `changed` is false.
  // `answered`: the response lists the alarm. ACTIVATE lists it even if it was raised before, as in
  // etcd.
  struct Change {
    Id id;
    bool answered = false;
    bool changed = false;
    bool raised = false;
  };
  Change ChangeOf(const proto::ChangeAlarm& command) const;
  void Apply(const Change& change, bool by_member);
  void Restore(const Id& id, const Alarm& alarm) { all_[id] = alarm; }  // one that was stored

  friend bool operator==(const Alarms&, const Alarms&) = default;

 private:
  std::map<Id, Alarm> all_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_RULES_ALARMS_H_
