#ifndef RAFTKV_STORAGE_STATE_MACHINE_H_
#define RAFTKV_STORAGE_STATE_MACHINE_H_

// The replicated state: a set of tables (tables/tables.h) that share one batch and one digest. It
// is a pure function of the committed log: no clock, random number, locale or setting may influence
// it. Whether an entry succeeds depends on the rules of the version in force (rules/version.h).
//
// The applier calls Apply, one call at a time, on the thread that applies. Data, revision, applied
// index, term and the running digest are written to the engine in one batch. The engine has no
// write-ahead log, because the Raft log takes that role. After a crash the engine opens at some
// earlier applied index, and the log is replayed through the same Apply. Entries at or below
// applied() are skipped.
//
// Reading: Snapshot() pins a state that any thread may read.
//
// Threads: Snapshot(), DiskBytes(), Usage() and StartDefragment() may be called from any thread at
// any time, also during Apply, and never wait for a running write of the engine. Checkpoint() may
// be called from any thread, and waits for the disk. The other functions may be called only by the
// thread that applies.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/command.pb.h"
#include "storage/base/for_any_thread.h"
#include "storage/base/parallel_reads.h"
#include "storage/engine/engine.h"
#include "storage/log/entry.h"
#include "storage/mvcc/counts.h"
#include "storage/rules/alarms.h"
#include "storage/rules/members.h"
#include "storage/rules/meter.h"  // Limits
#include "storage/rules/revision.h"
#include "storage/rules/version.h"
#include "storage/state_snapshot.h"
#include "storage/tables/digests.h"

namespace raftkv {

// The result of one entry, for the client that proposed it. `status` is the entry's verdict, equal
// on every member. Its codes are absl's; its texts are etcd's without the prefix "etcdserver: ".
// The response's header contains only the revision; the API fills in ids and term.
struct ApplyResult {
  proto::Origin origin;  // of the command, if this call applied it; else all zero
  absl::Status status;
  // The store's, right after this entry. If the response is that of an earlier entry of the same
  // session and number, right after that one.
  Revision revision = 0;
  proto::CommandResponse response;
};

// Logs the line as an error and ends the process with exit code 2.
void ExitForANewerServer(const std::string& line);

// The server uses the defaults; tests and the simulator choose other values.
struct StateMachineOptions {
  // The newest cluster version that this program knows. Tests choose an older one.
  ClusterVersion newest_version = kNewestVersion;
  // Returns the rules of a version, which is at most newest_version.
  const Rules& (*rules_of)(ClusterVersion) = RulesOf;
  int64_t block_keys = mvcc::kBlockKeys;          // mvcc/counts.h
  raft::Index digest_interval = kDigestInterval;  // tables/digests.h
  // Called by Apply when an entry has a command or version that this program does not know, before
  // anything of that entry is written. `line` names the remedy. If it returns, Apply stops before
  // that entry, and so does every later call.
  std::function<void(const std::string& line)> not_understood = ExitForANewerServer;
};

class StateMachine {
 public:
  // DataLoss: the stored data is damaged. FailedPrecondition: the store has a format or a cluster
  // version that this program does not know.
  static absl::StatusOr<std::unique_ptr<StateMachine>> Open(std::unique_ptr<Engine> engine,
                                                            StateMachineOptions options = {});
  ~StateMachine();

  // Applies contiguous committed entries, as many as the limits allow, and returns one result for
  // each applied entry. The result of a no-op and of an entry at or below applied() is OK without a
  // response. The payload of the other entries is an encoded proto::Command. An entry that cannot
  // be decoded ends the process, because every entry was validated before it was proposed.
  //
  // There may be fewer results than entries. Apply stops before an entry that, together with those
  // before it, would exceed the limits. It stops after an entry with which the answers exceed 8
  // MiB. If there are no results, the first entry alone exceeds the limits: apply it without
  // limits, on a thread that may block. An entry costs a step for each 4 KiB of its payload, plus
  // what its check reads (rules/meter.h). Executing the entry takes about as long as its check.
  std::vector<ApplyResult> Apply(absl::Span<const raft::Entry> entries,
                                 const Limits& limits = Limits());

  // Reads the heads that Apply of these entries will need, several at the same time, and returns
  // how many of the entries to apply before the next call: at least one if there is one. It ends
  // early if it exceeds the limits; then Apply reads what is left. Answers and effects do not
  // depend on it.
  size_t FetchHeads(absl::Span<const raft::Entry> entries, const Limits& limits,
                    ParallelReads* reads);

  raft::EntryId applied() const;
  // The last entry whose effects survive a crash: the value of applied() when the last completed
  // flush began, or the value that Open read.
  raft::EntryId persisted_applied() const;
  Revision revision() const;
  // The cluster version in force after the last applied entry.
  ClusterVersion cluster_version() const;

  // The state after the last batch that was written. May be called from any thread.
  std::shared_ptr<const StateSnapshot> Snapshot() const;

  // A running hash over the effects of all applied entries, independent of the physical layout. It
  // is equal on all members at equal applied index.
  uint64_t digest() const;
  // The last digests that are kept (tables/digests.h), oldest first.
  const std::deque<StateDigest>& digests() const;

  // The changes of leases since the last call; after Open, all leases. Call it after each Apply, so
  // that they do not accumulate.
  LeaseChanges TakeLeaseChanges();

  // The members of the cluster, and the configuration that is in force after the applied entries.
  const Members& members() const;

  // The alarms of the cluster, after the applied entries.
  const Alarms& alarms() const;

  // store_ids()[m] is the data directory that member m is known to have (16 bytes).
  std::map<raft::MemberId, std::string> store_ids() const;

  // MaybeFlush starts a flush after 15 MiB of changes, or 32 MiB or 100,000 entries. The member
  // also calls StartFlush every 30 s. Both return at once; persisted_applied() shows when the flush
  // is done. Flush waits.
  void MaybeFlush();
  void StartFlush();
  void Flush();

  // After a logical compaction (an applied CompactionRequest), the owner runs the physical one in
  // steps, between entries. Its progress is saved with the data. It changes no answer.
  Revision compacted_revision() const;
  Revision compaction_done() const;  // all versions obsolete at this revision were removed
  bool compacting() const { return compaction_done() < compacted_revision(); }
  // Runs one step of the physical compaction. No effect if there is nothing to compact. The step
  // may cost twice as much as the writes since the last call, so that the compaction keeps up with
  // the writes; but at least 256 and at most 4,096 steps of Meter (20 to 40 ms), counted for events
  // and their bytes. Tests set a lower limit: `steps_max`.
  void CompactStep(int64_t steps_max = INT64_MAX);

  // Starts to free the disk space of deleted data in the background, and returns at once.
  // StartDefragment, DiskBytes and Usage may be called from any thread.
  void StartDefragment();
  uint64_t DiskBytes() const;
  EngineUsage Usage() const;

  // Makes a copy of the state, as of now or later, in the new directory `dir` (Engine::Checkpoint).
  // From any thread; waits for the disk.
  absl::Status Checkpoint(const std::string& dir) const;

  // Whether the engine would make the next write wait for its compactions.
  bool WouldStall() const;

  // Replaces this state by the state of `other`, a snapshot that a peer sent. Readers keep what
  // they pinned; the old engine is closed when the last of them has ended.
  void Install(std::unique_ptr<StateMachine> other);

 private:
  struct Rep;
  explicit StateMachine(std::shared_ptr<Rep> rep);

  std::shared_ptr<Rep> rep_;          // used by the thread that applies
  ForAnyThread<Rep> for_any_thread_;  // the same Rep, for functions that any thread may call
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_STATE_MACHINE_H_
