#ifndef RAFTKV_STORAGE_TABLES_STATE_H_
#define RAFTKV_STORAGE_TABLES_STATE_H_

// The state machine's own numbers, and what all tables share while they change: one batch and one
// digest.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "storage/engine/engine.h"
#include "storage/log/entry.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/leases.h"
#include "storage/rules/alarms.h"
#include "storage/rules/meter.h"
#include "storage/rules/version.h"

namespace raftkv {

struct State {
  raft::EntryId applied;
  Revision revision = 1;    // an empty store has revision 1, as in etcd
  Revision compacted = -1;  // the oldest revision that can be read; -1: never compacted, as in etcd
  uint64_t digest = 0;
  // The progress of the physical compaction. It is local: it differs between members.
  Revision compaction_done = -1;
  mvcc::EventId compaction_next;  // all events before it have been processed
  // Stored in a table of its own (cluster_versions.h), not in the state record.
  ClusterVersion cluster_version = kFirstVersion;
  AlarmsInForce alarms;  // likewise (rules/alarms.h)
};

// The engine key of the state record.
inline constexpr char kStateKey[] = "m";

// The state record is saved with every batch: a format number, the numbers above, a checksum. The
// format is 3. Once the cluster version was raised, the format is 4, with the same contents, so
// that the first release, which knows no cluster versions, does not open the store.
std::string EncodeState(const State& state);
// The record only says whether the cluster version is above kFirstVersion. DataLoss: the record is
// damaged. FailedPrecondition: it has another format.
absl::Status DecodeState(std::string_view record, State* state);

// A change of a lease. The member needs the changes to measure the time of leases.
struct LeaseChange {
  int64_t id = 0;
  int64_t ttl = 0;  // in seconds, as granted or renewed; 0: the lease has ended
  raft::Index renewed = 0;
};
struct LeaseChanges {
  bool all = false;  // `changes` lists all leases that exist; all others have ended
  std::vector<LeaseChange> changes;
};

class Keys;
class SessionTable;

// What all tables use. Owned by the state machine, which writes `batch` after some entries.
struct Shared {
  std::unique_ptr<Engine> engine;
  // Returns the rules of a version. Tests that need small limits use another function than RulesOf.
  const Rules& (*rules_of)(ClusterVersion) = RulesOf;
  ClusterVersion newest_version = kNewestVersion;  // the newest one that this program knows
  int64_t block_keys = 0;                          // mvcc/counts.h
  State state;
  WriteBatch batch;
  raft::EntryId entry;  // the one that is being applied
  mvcc::Leases leases;
  LeaseChanges lease_changes;        // since the state machine's caller took them last
  Keys* keys = nullptr;              // the table of keys, through which other tables change keys
  SessionTable* sessions = nullptr;  // which must end with their leases

  // The rules in force at the entry that is being applied.
  const Rules& rules() const;
};

// Hashes the records of a table and appends the hash. Appends nothing if there is no record.
// Returns the meter's status if the meter is over.
absl::Status HashRecords(const View& view, char table, Meter* meter, std::string* out);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_STATE_H_
