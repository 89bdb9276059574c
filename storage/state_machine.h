#ifndef RAFTKV_STORAGE_STATE_MACHINE_H_
#define RAFTKV_STORAGE_STATE_MACHINE_H_

// The replicated state: a set of tables (tables/tables.h) that share one batch and one digest. It
// is a pure function of the committed log: no clock, random number, locale or setting may influence
// it. The rules by which an entry is judged are those of the cluster version in force (version.h).
//
// Owned and written by the applier, one call at a time, on whatever thread that runs. Data,
// revision, applied index, term and the running digest go into the engine in one batch, without a
// write-ahead log: the Raft log takes that role. After a crash the engine reopens at some earlier
// applied index, and the log is replayed through the same Apply; entries at or below applied() are
// skipped.
//
// Reading: Snapshot() pins a state which any thread may read. It, DiskBytes() and StartDefragment()
// may be called from any thread at any time, also during Apply, and never wait for a running write
// of the engine. Everything else is for the owner.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/command.pb.h"
#include "storage/engine/engine.h"
#include "storage/log/entry.h"
#include "storage/meter.h"  // Limits
#include "storage/mvcc/counts.h"
#include "storage/mvcc/layout.h"  // Revision
#include "storage/state_snapshot.h"
#include "storage/version.h"

namespace raftkv {

// What applying one entry answers to the client that proposed it. Errors are verdicts of the store
// (absl codes; texts are etcd's without the "etcdserver: " prefix), equal on every member.
// The response's header carries only the revision; the API layer fills in ids and term.
struct ApplyResult {
  proto::Origin origin;  // of a command that was applied now; else all zero
  absl::Status status;
  Revision revision = 0;  // the store's, right after this entry
  proto::CommandResponse response;
};

// Logs the line as an error and ends the process with exit code 2.
void ExitForANewerServer(const std::string& line);

// Defaults are the product's; tests and the simulator choose others.
struct StateMachineOptions {
  // The newest cluster version that this program knows. Tests choose an older one.
  ClusterVersion newest_version = kNewestVersion;
  // The rules of a version up to that one.
  const Rules& (*rules_of)(ClusterVersion) = RulesOf;
  int64_t block_keys = mvcc::kBlockKeys;  // mvcc/counts.h
  // Called by Apply when it meets an entry that this program cannot understand, before anything of
  // that entry is written, with one line that names the remedy. If it returns, Apply stops before
  // that entry, and so will every later call.
  std::function<void(const std::string& line)> not_understood = ExitForANewerServer;
};

class StateMachine {
 public:
  // DataLoss when what is stored contradicts itself. FailedPrecondition when the store has a format
  // or a cluster version that this program does not know.
  static absl::StatusOr<std::unique_ptr<StateMachine>> Open(std::unique_ptr<Engine> engine,
                                                            StateMachineOptions options = {});
  ~StateMachine();

  // Applies committed entries, contiguous; one result each (entries at or below applied(), no-ops
  // and configurations answer OK without a response). Payloads of kCommand entries are encoded
  // proto::Command. An entry that cannot be decoded ends the process: it was validated before it
  // was proposed.
  //
  // There may be fewer results than entries: Apply stops before an entry that would exceed the
  // limits together with the ones before it, and after one with which the answers exceed some
  // megabytes. If there are no results, the first entry alone exceeds the limits: apply it without
  // limits, on a thread that may take long. An entry costs at least the 4 KiB pages of its payload,
  // then what its check reads (meter.h); executing it costs about as much again.
  std::vector<ApplyResult> Apply(absl::Span<const raft::Entry> entries,
                                 const Limits& limits = Limits());

  raft::EntryId applied() const;
  // Survives a crash: the value captured before the last completed flush, or the one read by Open.
  raft::EntryId persisted_applied() const;
  Revision revision() const;
  // In force after the last applied entry.
  ClusterVersion cluster_version() const;

  // The state as of the last batch that was written. From any thread.
  std::shared_ptr<const StateSnapshot> Snapshot() const;

  // A running hash over applied effects, never over physical layout: equal on all members at equal
  // applied index.
  uint64_t digest() const;

  // store_ids()[m] is the data directory that member m is known to have (16 bytes).
  std::map<raft::MemberId, std::string> store_ids() const;

  // Begins to persist when due (16 MiB, 10,000 entries) and returns at once; persisted_applied()
  // tells when it is done. The caller adds a clock of 30 s and calls StartFlush. Flush waits.
  void MaybeFlush();
  void StartFlush();
  void Flush();

  // Physical compaction follows the logical one (an applied CompactionRequest) in steps that the
  // owner runs between entries; its progress is saved with the data. Readers never notice.
  Revision compacted_revision() const;
  Revision compaction_done() const;  // nothing that this revision made obsolete is stored any more
  bool compacting() const { return compaction_done() < compacted_revision(); }
  // Does twice the work, in events and their bytes (Meter's steps), that was written since the step
  // before, so that it keeps up with any load as long as there is a step for what is written
  // between two of them; but at least 256 and at most 4,096 steps (some 20 ms), and no more than
  // `steps_max` (for tests: many small steps). No effect when there is nothing to do.
  void CompactStep(int64_t steps_max = INT64_MAX);

  // Gives the space of what was deleted back to the disk in the background; returns at once. Both
  // from any thread.
  void StartDefragment();
  uint64_t DiskBytes() const;

  bool WouldStall() const;

 private:
  struct Rep;
  explicit StateMachine(std::unique_ptr<Rep> rep);
  const std::unique_ptr<Rep> rep_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_STATE_MACHINE_H_
