#ifndef RAFTKV_STORAGE_RULES_VERSION_H_
#define RAFTKV_STORAGE_RULES_VERSION_H_

// The cluster version: a replicated number that decides what a log entry means.
//
// Members that run different binaries must come to the same verdict on every entry, during a
// rolling upgrade and at a replay years later. So every rule that decides a verdict is a function
// of the cluster version in force at that entry, never of the binary alone. The version is a part
// of the replicated state. An empty store is at version 1. A leader raises it with the command
// SetClusterVersion once all members know the next one, and it never goes down.
//
//   1  the rules of the first release: the bytes of keys cost nothing
//   2  the bytes of keys cost steps (Rules::walked_steps)
//   3  leases, and their rules below; changes of the members (members.h); alarms (alarms.h);
//      digests are kept (tables/digests.h); logs are cut, and a member that needs an entry that
//      was cut gets a snapshot (server/member/log_tail.h)
//   4  commands may belong to a session (tables/sessions.h)
//   5  the rules are those of version 4; members save more about their blocks of keys
//      (mvcc/counts.h)
//
// To change a rule: add a version here, with its rules in RulesOf, and teach tests/model the same.
// To add a field to a command: add a version, and a row for the field to FieldVersions
// (version.cc). Rules of an earlier version never change: tests/storage/recorded contains a log
// with which a test checks this.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "proto/command.pb.h"

namespace raftkv {

using ClusterVersion = uint64_t;
inline constexpr ClusterVersion kFirstVersion = 1;
inline constexpr ClusterVersion kNewestVersion = 5;  // the newest version that this program knows

// The versions that code asks for by name. What is true from each one on:
inline constexpr ClusterVersion kMembersVersion = 3;  // there is the command ChangeMembers
inline constexpr ClusterVersion kAlarmsVersion = 3;   // there is the command ChangeAlarm
// Every member knows what a snapshot is, so logs may be cut.
inline constexpr ClusterVersion kSnapshotVersion = 3;
// Every member keeps its last digests (tables/digests.h).
inline constexpr ClusterVersion kDigestsVersion = 3;
// StateSnapshot::HashKv hashes what a compaction at its revision would leave, so that compaction
// does not change the hash. Below this version it hashes all versions since the last compaction.
inline constexpr ClusterVersion kHashKvVersion = 3;
inline constexpr ClusterVersion kSessionsVersion = 4;  // there is the field Command.session
// A member that knows it declines a forwarded proposal that is meant for another term
// (ForwardedProposal::term). So this one need not be in force.
inline constexpr ClusterVersion kProposalTermVersion = 4;
// Every member knows the first and last revision of a block of keys (mvcc/counts.h).
inline constexpr ClusterVersion kBlockRevisionsVersion = 5;

// What the bytes of a record cost, in steps. A step is about a microsecond. Reading a record (a
// key, version, event or block of counts) costs one step, and one more for each full
// `key_bytes_per_step` bytes of its key and for each full `value_bytes_per_step` bytes of its
// value.
struct Costs {
  int64_t key_bytes_per_step = 4096;  // 0: the bytes of keys cost nothing
  int64_t value_bytes_per_step = 4096;

  int64_t OfKey(size_t bytes) const {
    return key_bytes_per_step == 0 ? 0 : static_cast<int64_t>(bytes) / key_bytes_per_step;
  }
  int64_t OfValue(size_t bytes) const { return static_cast<int64_t>(bytes) / value_bytes_per_step; }
};

// How much one entry of the log may do. An entry that exceeds a rule fails with ResourceExhausted
// and changes nothing. Only replicated data is charged: keys and values. Two things differ between
// members, so they cost nothing: what physical compaction has not removed yet, and where the blocks
// of counts begin and end. etcd has no such limits: in etcd a huge request may take all memory, or
// make all other requests wait.
//
// Walked steps are charged before the entry changes anything:
//   - For each key that a range read, a range compare or a range deletion visits: one step, and the
//     steps for the bytes of the key (Costs). This applies to keys that every member stores: keys
//     that exist at the revision that is read, and keys that changed at the compacted revision or
//     later. A zero byte of a key is two bytes here, because it is stored as two. Older tombstones
//     are free, because a member may have removed them (history.h). Older versions of a key are
//     free, because a walk passes few of them (range.cc).
//   - For each key that exists: the steps for the bytes of its value (Costs).
//   - For keys that are only counted (count_only, or beyond the limit): at a past revision, the
//     same as a walk. At the newest revision, for n existing keys, count_block_keys +
//     n / count_block_keys, but at most n, because blocks of keys are added up (counts.h).
//   - For each range that comes after range deletions in the same transaction: the steps of all
//     keys that they delete (1 and the key's bytes each) again, because the range may have to pass
//     the tombstones.
// Executing the entry then takes about the same time again. Operations on single keys cost no
// steps.
struct Rules {
  int64_t walked_steps = 1 << 20;  // a second or two to check, and as long to execute
  int64_t count_block_keys = 1024;
  Costs costs;
  // A deleted key costs some 0.35 KiB of memory and 12 us of CPU on every member
  // (docs/decisions/0005), and other requests wait meanwhile. Deleting this number of keys takes a
  // few seconds. The bytes are limited too, because each key is in memory several times (batch,
  // RocksDB's batch, write buffer).
  int64_t deleted_keys = 1 << 18;
  int64_t deleted_key_bytes = 64 << 20;
  // The limit of all answers of the entry together. Every member builds them, though only one sends
  // them.
  int64_t answer_bytes = 64 << 20;
  // In an entry with at most this number of operations, the values of single-key operations are not
  // charged to answer_bytes, because they always fit.
  size_t values_unmeasured = 32;
  int txn_depth_max = 32;
  int64_t lease_ttl = 9'000'000'000;  // the longest TTL, in seconds: etcd's
  int64_t leases = 1 << 20;           // each takes some 0.25 to 0.4 KiB of memory on every member
  // The limits of the keys that are attached to one lease. When a lease ends, one entry deletes all
  // its keys, so that watchers see one revision. So these limits must not exceed deleted_keys and
  // deleted_key_bytes.
  int64_t lease_keys = 1 << 18;
  int64_t lease_key_bytes = 64 << 20;
  // An entry that expires several leases stops before the first lease with which it would delete
  // more keys, and answers of sessions, than this number. It may always expire one lease.
  int64_t expired_keys = 512;
  // The number of alarms that clients have raised. Those of members about their own disks are not
  // counted.
  size_t alarms = 1024;
  // The answers that sessions store: of one session, and of all. A command that would add one more
  // is rejected. Each takes some 150 bytes of memory on every member, and the answer itself.
  size_t session_answers = 1000;
  size_t all_session_answers = 1 << 20;
  // The bytes of one stored answer, and of all. A larger one is stored in part.
  size_t session_answer_bytes = 4096;
  size_t all_session_answer_bytes = 64 << 20;
};

inline constexpr Rules kRulesOfVersion1{.costs = {.key_bytes_per_step = 0}};
inline constexpr Rules kRulesOfVersion2{};

// `version` must be one that this program knows.
inline const Rules& RulesOf(ClusterVersion version) {
  return version == 1 ? kRulesOfVersion1 : kRulesOfVersion2;
}

// A field that a version above 1 added to a message of an older version.
struct FieldVersion {
  std::string field;  // the full name: "etcdserverpb.PutRequest.lease"
  ClusterVersion version = kFirstVersion;
};
// The table of such fields, which Needs reads. Only tests change it, before they call Needs on
// another thread.
std::vector<FieldVersion>& FieldVersions();

// The lowest version that defines everything in `command`: the operation, and each field that is
// set, also in nested messages. A field with its default value is not set. If this program does not
// know the operation, the result is above kNewestVersion. Fields that it does not know are ignored
// (they are removed before the command is proposed). A command may be proposed if the cluster
// version is at least the result.
ClusterVersion Needs(const proto::Command& command);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_RULES_VERSION_H_
