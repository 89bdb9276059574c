#ifndef RAFTKV_STORAGE_VERSION_H_
#define RAFTKV_STORAGE_VERSION_H_

// The cluster version: what the members of a cluster have agreed that a log entry means.
//
// Members that run different binaries must come to the same verdict on every entry, during a
// rolling upgrade and at a replay years later. So every rule that decides a verdict is a function
// of the cluster version in force at that entry, never of the binary alone. The version is a part
// of the replicated state. An empty store is at version 1. A leader raises it with the command
// SetClusterVersion once all members know the next one, and it never goes down.
//
//   1  the rules of the first release: the bytes of keys cost nothing
//   2  the bytes of keys are charged to the limit of walked keys
//
// To change a rule: add a version here, with its rules in RulesOf, and teach tests/model the same.
// Rules of an earlier version never change: tests/storage/recorded holds a log to show that.

#include <cstddef>
#include <cstdint>

#include "proto/command.pb.h"

namespace raftkv {

using ClusterVersion = uint64_t;
inline constexpr ClusterVersion kFirstVersion = 1;
inline constexpr ClusterVersion kNewestVersion = 2;  // that this program knows

// What reading one record costs, in steps. A step is about a microsecond: one key, version, event
// or block of counts, and so many of its bytes. Remainders are dropped.
struct Costs {
  int64_t key_bytes_per_step = 4096;  // 0: the bytes of keys cost nothing
  int64_t value_bytes_per_step = 4096;

  int64_t OfKey(size_t bytes) const {
    return key_bytes_per_step == 0 ? 0 : static_cast<int64_t>(bytes) / key_bytes_per_step;
  }
  int64_t OfValue(size_t bytes) const { return static_cast<int64_t>(bytes) / value_bytes_per_step; }
};

// How much one entry of the log may do. Beyond it the entry fails with ResourceExhausted and
// changes nothing. Only what is replicated is counted: keys and values, never what physical
// compaction has left or where blocks of counts are cut. etcd has no such limits: there a huge
// request takes all memory, or every other request waits.
//
// Walked steps, charged before the entry changes anything:
//   - 1, and the bytes of the key by `costs`, for each key in its ranges, compares of ranges and
//     deletions of ranges that every member holds: it exists at the revision that is read, or it
//     has changed at the compacted revision or later. A zero byte of a key counts twice, as it is
//     stored. Older tombstones are free, because a member may have removed them (history.h). So are
//     the older versions of a key, of which a walk passes few (range.cc);
//   - the bytes of the value, by `costs`, of a key that exists;
//   - for keys that are only counted (count_only, or behind an answer that is complete): at a past
//     revision the same as a walk; at the newest revision count_block_keys + n / count_block_keys
//     for n existing keys, but at most n, since blocks of keys are added up (counts.h);
//   - for a deletion of a range, each deleted key (1 and its bytes) once more for each later range
//     of the same transaction, which may have to pass the tombstone.
// Executing the entry then costs as much again. Operations on single keys are free.
struct Rules {
  int64_t walked_steps = 1 << 20;  // a second or two, and as much again
  int64_t count_block_keys = 1024;
  Costs costs;
  // A deleted key costs some 0.35 KiB of memory and 12 us of CPU on every member (decisions/0005),
  // which answers no other request meanwhile: as many as fit into a few seconds. Its bytes are held
  // several times (batch, RocksDB's batch, write buffer).
  int64_t deleted_keys = 1 << 18;
  int64_t deleted_key_bytes = 64 << 20;
  // Of all answers of the entry together. Every member builds them, though only one sends them.
  int64_t answer_bytes = 64 << 20;
  // Single-key values of an entry with at most so many operations are not charged to answer_bytes:
  // they fit however large they are.
  size_t values_unmeasured = 32;
  int txn_depth_max = 32;
};

inline constexpr Rules kRulesOfVersion1{.costs = {.key_bytes_per_step = 0}};
inline constexpr Rules kRulesOfVersion2{};

// `version` is one that this program knows.
inline const Rules& RulesOf(ClusterVersion version) {
  return version == 1 ? kRulesOfVersion1 : kRulesOfVersion2;
}

// The lowest version that defines everything in `command`, its operation and its fields. Above
// kNewestVersion: this program does not know the operation. A command may be proposed when the
// cluster version is at least this.
ClusterVersion Needs(const proto::Command& command);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_VERSION_H_
