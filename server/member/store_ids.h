#ifndef RAFTKV_SERVER_MEMBER_STORE_IDS_H_
#define RAFTKV_SERVER_MEMBER_STORE_IDS_H_

// The data directory that the cluster knows for each member. When a leader first receives a message
// from a member, it records that member's store id (16 random bytes, made with the directory)
// through the log. From then on, a message of that member with another store id is rejected: its
// directory may have forgotten votes and acknowledgements that the first one held.
//
// Owned by the replica; used on the thread of the turns.

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "proto/command.pb.h"
#include "storage/log/entry.h"

namespace raftkv {

class MemberStoreIds {
 public:
  using Map = std::map<raft::MemberId, std::string>;

  explicit MemberStoreIds(Map applied) : recorded_(std::move(applied)) {}

  // Whether another directory than this one is known for the member.
  bool Differs(raft::MemberId member, const std::string& store_id) const {
    return DiffersIn(recorded_, member, store_id) || DiffersIn(proposed_, member, store_id);
  }

  // Whether a committed entry has recorded the member's directory.
  bool Knows(raft::MemberId member) const { return recorded_.contains(member); }

  // The command that a leader proposes to record this id; none if the id is recorded or proposed
  // already. When the proposal is accepted, the leader calls OnProposed.
  std::optional<proto::Command> CommandToRecord(raft::MemberId member,
                                                const std::string& store_id) const {
    if (store_id.empty() || recorded_.contains(member) || proposed_.contains(member)) return {};
    proto::Command command;
    command.mutable_record_store_id()->set_member_id(member);
    command.mutable_record_store_id()->set_store_id(store_id);
    return command;
  }
  void OnProposed(const proto::RecordStoreId& record) {
    proposed_.emplace(record.member_id(), record.store_id());
  }
  // If there are several records for a member, the first one is used.
  void OnCommitted(const proto::RecordStoreId& record) {
    recorded_.emplace(record.member_id(), record.store_id());
  }
  // The leader or the term changed: earlier proposals may be lost.
  void OnNewTerm() { proposed_.clear(); }

 private:
  static bool DiffersIn(const Map& ids, raft::MemberId member, const std::string& store_id) {
    const auto it = ids.find(member);
    return it != ids.end() && it->second != store_id;
  }

  Map recorded_;
  Map proposed_;  // by this member, as the leader of this term
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_STORE_IDS_H_
