#ifndef RAFTKV_STORAGE_TABLES_STORE_IDS_H_
#define RAFTKV_STORAGE_TABLES_STORE_IDS_H_

// The store id of each member's data directory, as a leader recorded it first (RecordStoreId). A
// member that later sends another store id has lost its directory. tables.h explains the functions
// of a table.

#include <map>
#include <string>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "storage/rules/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

class StoreIdTable {
 public:
  static constexpr char kLetter = 's';  // s ‖ member id: the store id of a member

  explicit StoreIdTable(Shared* shared) : shared_(*shared) {}

  absl::Status Load();
  // FailedPrecondition: another store id is recorded for the member.
  absl::Status Check(const proto::Command& command, Meter* meter);
  void Apply(const proto::Command& command, proto::CommandResponse* response);
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out);

  const std::map<raft::MemberId, std::string>& all() const { return ids_; }

 private:
  Shared& shared_;
  std::map<raft::MemberId, std::string> ids_;  // 16 bytes each
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_STORE_IDS_H_
