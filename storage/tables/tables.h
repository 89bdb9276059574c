#ifndef RAFTKV_STORAGE_TABLES_TABLES_H_
#define RAFTKV_STORAGE_TABLES_TABLES_H_

// The list of tables that make up the replicated state. Each table is a class in its own pair of
// files, with these functions:
//
//   explicit Table(Shared*);
//   absl::Status Load();
//       Called at Open. DataLoss: the stored data is damaged.
//   absl::Status Check(const proto::Command&, Meter*);
//       Returns the verdict on a command of this table. Changes nothing that is replicated. If the
//       meter is interrupted, the verdict is discarded, and the entry is checked again later. A
//       Check that finds what Apply needs returns absl::StatusOr<T> instead.
//   void Apply(const proto::Command&, proto::CommandResponse*);
//       Called directly after Check of the same command returned OK; with the T, moved, as second
//       argument if Check returned one. Adds the changes to the shared batch and mixes them into
//       the shared digest.
//   static absl::Status Hash(const View&, const State&, Meter*, std::string* out);
//       Appends a hash of the replicated contents. Called on any thread. Returns the meter's status
//       if the meter is over.
//
// To add a table or a command: docs/architecture.md, "To add a table of the replicated state".

#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "storage/tables/alarms.h"
#include "storage/tables/cluster_versions.h"
#include "storage/tables/digests.h"
#include "storage/tables/keys.h"
#include "storage/tables/leases.h"
#include "storage/tables/members.h"
#include "storage/tables/sessions.h"
#include "storage/tables/state.h"
#include "storage/tables/store_ids.h"

namespace raftkv {

// The letters with which the engine keys of a table begin. Each table says what follows its letter;
// for keys and leases, mvcc/layout.h does. `a` is reserved for auth.
template <char... kLetters>
struct Letters {
  static constexpr int Count(char letter) { return (0 + ... + int{letter == kLetters}); }
};

// A table, its letters and the commands that it applies. A table without commands has no Check and
// Apply.
template <typename T, typename L, proto::Command::OpCase... kCommands>
struct TableRow {
  using Table = T;
  using TableLetters = L;
  static constexpr bool kApplies = sizeof...(kCommands) > 0;
  static constexpr bool Applies(proto::Command::OpCase op) { return ((op == kCommands) || ...); }
};

template <typename... Rows>
class TableList {
 public:
  explicit TableList(Shared* shared) : tables_((static_cast<void>(sizeof(Rows)), shared)...) {}

  template <typename Table>
  Table& Get() {
    return std::get<Table>(tables_);
  }

  // How many rows have the command.
  static constexpr int RowsOf(proto::Command::OpCase op) {
    return (0 + ... + static_cast<int>(Rows::Applies(op)));
  }

  // How many tables have keys that begin with the letter.
  static constexpr int TablesOf(char letter) {
    return (0 + ... + Rows::TableLetters::Count(letter));
  }

  absl::Status Load() {
    absl::Status status;
    ((status = Get<typename Rows::Table>().Load(), status.ok()) && ...);
    return status;
  }
  // Checks the command, which must belong to a table. Applies it if the verdict is OK. Returns the
  // verdict; if the meter is interrupted, it has no meaning, and nothing was changed.
  absl::Status Execute(const proto::Command& command, Meter* meter,
                       proto::CommandResponse* response) {
    absl::Status status;
    (ExecuteIn<Rows>(command, meter, response, &status) || ...);
    return status;
  }
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out) {
    absl::Status status;
    ((status = Rows::Table::Hash(view, state, meter, out), status.ok()) && ...);
    return status;
  }

 private:
  // Returns whether the command is one of the row's.
  template <typename Row>
  bool ExecuteIn(const proto::Command& command, Meter* meter, proto::CommandResponse* response,
                 absl::Status* status) {
    if constexpr (Row::kApplies) {
      if (!Row::Applies(command.op_case())) return false;
      auto& table = Get<typename Row::Table>();
      auto checked = table.Check(command, meter);
      if constexpr (std::is_same_v<decltype(checked), absl::Status>) {
        *status = std::move(checked);
        if (status->ok() && !meter->interrupted()) table.Apply(command, response);
      } else {
        *status = checked.status();
        if (status->ok() && !meter->interrupted()) {
          table.Apply(command, *std::move(checked), response);
        }
      }
      return true;
    }
    return false;
  }

  std::tuple<typename Rows::Table...> tables_;
};

// Hash depends on the order of the rows, so a new row goes to the end.
using Tables = TableList<
    TableRow<Keys, Letters<mvcc::kVersionTable, mvcc::kEventTable, mvcc::kCountTable>,
             proto::Command::kPut, proto::Command::kDeleteRange, proto::Command::kTxn,
             proto::Command::kCompaction, proto::Command::kBumpRevision>,
    TableRow<StoreIdTable, Letters<StoreIdTable::kLetter>, proto::Command::kRecordStoreId>,
    TableRow<ClusterVersionTable, Letters<ClusterVersionTable::kKey[0]>,
             proto::Command::kSetClusterVersion>,
    TableRow<LeaseTable, Letters<mvcc::kLeaseTable, mvcc::kAttachedTable>,
             proto::Command::kLeaseGrant, proto::Command::kLeaseRevoke,
             proto::Command::kRenewLeases, proto::Command::kExpireLeases>,
    TableRow<MemberTable, Letters<MemberTable::kLetter>, proto::Command::kChangeMembers>,
    TableRow<AlarmTable, Letters<AlarmTable::kLetter>, proto::Command::kChangeAlarm>,
    TableRow<SessionTable, Letters<SessionTable::kLetter>>>;

// How many tables have engine keys that begin with the letter; or 1 for those of the state machine.
constexpr int OwnersOf(char letter) {
  return (letter == kStateKey[0]) + (letter == Digests::kKey[0]) + Tables::TablesOf(letter);
}
constexpr bool LettersDiffer() {
  for (char letter = 0; letter < 127; ++letter) {
    if (OwnersOf(letter) > 1) return false;
  }
  return true;
}
static_assert(LettersDiffer(), "two tables have the same letter");

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_TABLES_H_
