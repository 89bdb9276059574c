#ifndef RAFTKV_SERVER_MEMBER_STORE_IDS_H_
#define RAFTKV_SERVER_MEMBER_STORE_IDS_H_

// Which data directory each member is known by. A leader records each member's store id (16 random
// bytes, made with the directory) through the log when it first hears of it. A message from another
// directory under the same name is rejected from then on: that directory may have forgotten votes
// and acknowledgements of the first one.
//
// Owned by the replica, on the thread of the turns.

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "proto/command.pb.h"
#include "storage/log/entry.h"

namespace raftkv {

class StoreIds {
 public:
  using Map = std::map<raft::MemberId, std::string>;

  explicit StoreIds(Map applied) : recorded_(std::move(applied)) {}

  // Whether the member is known by another directory than this one.
  bool Differs(raft::MemberId member, const std::string& store_id) const {
    return DiffersIn(recorded_, member, store_id) || DiffersIn(proposed_, member, store_id);
  }

  // The command that a leader proposes to record this id; nothing if it is not needed. Once it is
  // accepted, the leader calls OnProposed.
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
  // The first one stands.
  void OnCommitted(const proto::RecordStoreId& record) {
    recorded_.emplace(record.member_id(), record.store_id());
  }
  // The leader or the term changed: what was proposed may be lost.
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
