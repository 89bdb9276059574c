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
#include "storage/version.h"

namespace raftkv {

struct State {
  raft::EntryId applied;
  Revision revision = 1;    // an empty store has revision 1, as in etcd
  Revision compacted = -1;  // the oldest that can be read; -1: never compacted, as in etcd
  uint64_t digest = 0;
  // How far physical compaction has come. It is local: members differ in it.
  Revision compaction_done = -1;
  mvcc::EventId compaction_next;  // all events before it have been processed
  // Stored in a table of its own (cluster_versions.h), not in the state record.
  ClusterVersion cluster_version = kFirstVersion;
};

// The state record is saved with every batch: a format number, the numbers above, a checksum. The
// format is 3. Once the cluster version was raised it is 4, with the same contents, so that the
// first release, which knows no cluster versions, does not open the store.
std::string EncodeState(const State& state);
// Of the cluster version it only tells whether it was raised: above kFirstVersion or not. DataLoss
// when damaged, FailedPrecondition for another format.
absl::Status DecodeState(std::string_view record, State* state);

// What happened to leases, for the member, which measures their time.
struct LeaseChange {
  int64_t id = 0;
  int64_t ttl = 0;  // granted or renewed, in seconds; 0: the lease is gone
  raft::Index renewed = 0;
};
struct LeaseChanges {
  bool all = false;  // the changes are all leases that exist; others are gone
  std::vector<LeaseChange> changes;
};

class Keys;

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
  LeaseChanges lease_changes;  // since they were taken
  Keys* keys = nullptr;        // the table of keys, through which other tables change keys

  // The rules in force at the entry that is being applied.
  const Rules& rules() const;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_STATE_H_
