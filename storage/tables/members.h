#ifndef RAFTKV_STORAGE_TABLES_MEMBERS_H_
#define RAFTKV_STORAGE_TABLES_MEMBERS_H_

// The table of the cluster's members (storage/rules/members.h), and of the ids of removed ones. The
// command ChangeMembers changes it. tables.h explains the functions of a table.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/command.pb.h"
#include "storage/rules/members.h"
#include "storage/rules/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

class MemberTable {
 public:
  static constexpr char kLetter = 'M';  // M ‖ member id: a member, or a removed one

  explicit MemberTable(Shared* shared) : shared_(*shared) {}

  absl::Status Load();
  // InvalidArgument: the command has no configuration. A leader has checked everything else before
  // it proposed the entry (Members::Check), because the configuration is in force when the entry is
  // appended, before it is applied.
  absl::Status Check(const proto::Command& command, Meter* meter);
  void Apply(const proto::Command& command, proto::CommandResponse* response);
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out);

  const Members& members() const { return members_; }

  // How the table is stored: the key of a member's record, one record, which is added to
  // `members`, and all records. DataLoss: one is damaged.
  static std::string EngineKey(raft::MemberId id);
  static absl::Status ReadRow(std::string_view key, std::string_view record, Members* members);
  static absl::StatusOr<Members> Read(const View& view);

 private:
  Shared& shared_;
  Members members_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_MEMBERS_H_
