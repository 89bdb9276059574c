#ifndef RAFTKV_STORAGE_STATE_MACHINE_H_
#define RAFTKV_STORAGE_STATE_MACHINE_H_

// The replicated state: the multi-version key-value store (storage/mvcc) and the tables beside it
// (store ids of members; later leases, auth, alarms, sessions). A pure function of the committed
// log: no clock, random number, locale or setting may influence it (storage rule 7).
//
// Owned and written by the applier, one call at a time, on whatever thread it runs. Data, revision,
// applied index, term and the running digest go into the engine in one batch, without a write-ahead
// log: the Raft log is its WAL. After a crash the engine comes back at some earlier applied index
// and the log is replayed through the same Apply; entries at or below applied() are skipped.
//
// Reading: Snapshot() pins a state which any thread may read. It, DiskBytes() and StartDefragment()
// may be called from any thread at any time, also in the middle of Apply, and never wait for a
// running write of the engine. Everything else is the owner's, Open to destruction.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/command.pb.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/engine/engine.h"
#include "storage/log/entry.h"
#include "storage/mvcc/budget.h"  // ReadBudget
#include "storage/mvcc/layout.h"  // Revision

namespace raftkv {

// What applying one entry answers to whoever proposed it. Errors are verdicts of the store
// (absl codes; texts are etcd's without the "etcdserver: " prefix), equal on every member.
// The response's header carries only the revision; the edge fills in ids and term.
struct ApplyResult {
  proto::Origin origin;  // of a command that was applied now; else all zero
  absl::Status status;
  Revision revision = 0;  // the store's, right after this entry
  proto::CommandResponse response;
};

// A pinned state. Thread-safe, immutable.
class StateSnapshot {
 public:
  virtual ~StateSnapshot() = default;
  virtual Revision revision() const = 0;
  virtual Revision compacted_revision() const = 0;  // the oldest that can be read; -1: all can
  virtual raft::EntryId applied() const = 0;

  // KV.Range by etcd's rules. InvalidArgument/OutOfRange as etcd. ResourceExhausted with the text
  // "read budget" when the budget ran out: nothing useful is in `response`, run it again elsewhere
  // without one. Cancelled when the budget's give_up said so.
  virtual absl::Status Range(const etcdserverpb::RangeRequest& request, const ReadBudget& budget,
                             etcdserverpb::RangeResponse* response) const = 0;

  // A transaction that only reads (mvcc::IsReadOnly), without the log. Errors as Range; one budget
  // for all of it.
  virtual absl::Status Txn(const etcdserverpb::TxnRequest& request, const ReadBudget& budget,
                           etcdserverpb::TxnResponse* response) const = 0;

  // Of the history in (compact_revision, hash_revision] and of what was kept from before it:
  // logical, so equal on all members at equal revisions, however far their physical compaction is.
  // `revision` 0 is the newest. OutOfRange as Range; Cancelled when `give_up` said so, asked as
  // ReadBudget's. Walks everything: for a worker.
  struct KvHash {
    uint32_t hash = 0;
    Revision compact_revision = 0;
    Revision hash_revision = 0;
  };
  virtual absl::StatusOr<KvHash> HashKv(Revision revision,
                                        const std::function<bool()>& give_up = {}) const = 0;
  // Of everything replicated, keys and the tables beside them; not of the applied index. Cancelled
  // as HashKv.
  virtual absl::StatusOr<uint32_t> Hash(const std::function<bool()>& give_up = {}) const = 0;
};

class StateMachine {
 public:
  // DataLoss when what is stored contradicts itself.
  static absl::StatusOr<std::unique_ptr<StateMachine>> Open(std::unique_ptr<Engine> engine);
  ~StateMachine();

  // Applies committed entries, contiguous; one result each (entries at or below applied(), no-ops
  // and configurations answer OK without a response). Payloads of kCommand entries are encoded
  // proto::Command. An entry that cannot be decoded ends the process: it was validated before it
  // was proposed.
  //
  // Stops before an entry with which more than `visited_keys_max` keys would be visited, large
  // values counted for more, or very many deleted ones passed that the engine still holds
  // (mvcc/budget.h), and after an entry with which the answers are more than some megabytes: so
  // there may be fewer results than entries. If there are none, the first is large: apply it where
  // time is no matter.
  std::vector<ApplyResult> Apply(absl::Span<const raft::Entry> entries,
                                 int64_t visited_keys_max = INT64_MAX);

  raft::EntryId applied() const;
  // Survives a crash: the value captured before the last flush that is done, or read back at Open.
  raft::EntryId persisted_applied() const;
  Revision revision() const;

  // The state as of the last batch that was written. From any thread.
  std::shared_ptr<const StateSnapshot> Snapshot() const;

  // A running chain over applied effects, never over physical layout: equal on all members at equal
  // applied index.
  uint64_t digest() const;

  // store_ids[m] is the data directory that member m is known to have (16 bytes).
  std::map<raft::MemberId, std::string> store_ids() const;

  // Begins to persist when due (16 MiB, 10,000 entries) and returns at once; persisted_applied()
  // tells when it is done. The caller adds the 30 s clock by calling StartFlush. Flush waits.
  void MaybeFlush();
  void StartFlush();
  void Flush();

  // Physical compaction follows the logical one (an applied CompactionRequest) in steps that the
  // owner runs between entries; where it stands is saved with the data. Readers never notice.
  Revision compacted_revision() const;
  Revision compaction_done() const;  // nothing that this revision made obsolete is stored any more
  bool compacting() const { return compaction_done() < compacted_revision(); }
  // Twice as many events as were written since the step before, so that it keeps up with any load
  // as long as there is a step for what is written between two of them, but at least 256 and at
  // most 4,096 (some 20 ms), and no more than `events_max` (for tests: many small steps). No effect
  // when there is nothing to do.
  void CompactStep(int64_t events_max = INT64_MAX);

  // Gives the space of what was deleted back to the disk, beside everything else; returns at once.
  // From any thread, both.
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
