#ifndef RAFTKV_STORAGE_TABLES_STATE_H_
#define RAFTKV_STORAGE_TABLES_STATE_H_

// The numbers of the state machine that stand beside its tables, and what the tables share while
// they change: one batch and one digest.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "storage/engine/engine.h"
#include "storage/log/entry.h"
#include "storage/mvcc/layout.h"
#include "storage/version.h"

namespace raftkv {

struct State {
  raft::EntryId applied;
  Revision revision = 1;    // of an empty store, as in etcd
  Revision compacted = -1;  // the oldest that can be read; -1: never compacted, as in etcd
  uint64_t digest = 0;
  // How far physical compaction has come. Local: members differ in it.
  Revision compaction_done = -1;
  mvcc::EventId compaction_next;  // everything before it has been processed
  // Not in the state record but in a table of its own (cluster_versions.h).
  ClusterVersion cluster_version = kFirstVersion;
};

// The state record, which is saved with every batch: a format number, the numbers above, a
// checksum. The format is 3; it is 4, with the same contents, once the cluster version was raised,
// so that programs that know no cluster versions do not open the store.
std::string EncodeState(const State& state);
// Of the cluster version it only tells whether it was raised: above kFirstVersion or not. DataLoss
// when damaged, FailedPrecondition for another format.
absl::Status DecodeState(std::string_view record, State* state);

// What all tables use. Owned by the state machine, which writes `batch` now and then.
struct Shared {
  std::unique_ptr<Engine> engine;
  // The rules of a version; another function than RulesOf where limits must be small (tests).
  const Rules& (*rules_of)(ClusterVersion) = RulesOf;
  ClusterVersion newest_version = kNewestVersion;  // that this program knows
  int64_t block_keys = 0;                          // mvcc/counts.h
  State state;
  WriteBatch batch;

  // In force at the entry that is applied.
  const Rules& rules() const;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_STATE_H_
