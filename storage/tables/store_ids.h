#ifndef RAFTKV_STORAGE_TABLES_STORE_IDS_H_
#define RAFTKV_STORAGE_TABLES_STORE_IDS_H_

// The data directory of each member, as first seen by a leader (RecordStoreId). A member that
// answers with another store id has lost its directory. See tables.h for the functions of a table.

#include <map>
#include <string>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "storage/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

class StoreIds {
 public:
  explicit StoreIds(Shared* shared) : shared_(*shared) {}

  absl::Status Load();
  // FailedPrecondition: the member is known with another store id.
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
