#ifndef RAFTKV_STORAGE_LOG_LOG_STORE_H_
#define RAFTKV_STORAGE_LOG_LOG_STORE_H_

// The Raft log and hard state on disk: one synced batch per turn with the truncation, the entries
// and {term, vote, commit, first_index}. Owned and written by the replica; the core reads through
// raft::LogReader.
//
// Layout: big-endian index ‖ kind. Under kind 0 the entry; under kind 1 the state as of a batch
// that ended at that index: hard state, first_index, last entry, chain hash. The greatest state is
// the current one. So keys only grow, and RocksDB moves finished files down without rewriting the
// log.
//
// Each record carries a magic number, version, type, term, index, length, a CRC32C and the chain
// hash of everything before it, so that any damage between first_index and last_index is seen at
// Open. RocksDB alone cannot tell a shortened log from a clean one (docs/decisions/0002), hence the
// sidecar file WATERMARK (watermark.h): a log that does not reach it with the same hash and term is
// damaged.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/engine/engine.h"
#include "storage/log/entry.h"
#include "storage/log/log_reader.h"
#include "storage/log/watermark.h"

namespace raftkv {

class LogStore final : public raft::LogReader {
 public:
  // Verifies every record. `watermark` may be null (the simulator's engine loses nothing synced).
  // DataLoss: damaged, with the index range and what is wrong.
  static absl::StatusOr<std::unique_ptr<LogStore>> Open(std::unique_ptr<Engine> engine,
                                                        std::unique_ptr<Watermark> watermark);
  ~LogStore() override;

  // Appends `entries` (contiguous; what the log holds from the first of them on is removed in the
  // same batch) and saves `hard_state`, synced. Returns when it has survived.
  void Save(const std::optional<raft::HardState>& hard_state,
            const std::vector<raft::Entry>& entries);

  // Forgets entries below `first_index`; the caller knows that a flushed state machine or a
  // verified snapshot covers them. Cuts are coarse (storage rule 1).
  void Cut(raft::Index first_index);

  raft::HardState hard_state() const override { return hard_state_; }
  raft::Index first_index() const override { return base_.id.index + 1; }
  raft::Index last_index() const override { return last_.id.index; }
  raft::Term TermAt(raft::Index index) const override;
  std::vector<raft::Entry> Entries(raft::Index first, raft::Index last,
                                   size_t bytes_max) const override;

  // Chain hash of everything up to and including `index` (first_index - 1 <= index <= last_index).
  uint64_t ChainHash(raft::Index index) const;

  // Whether this log may stand behind a vote. False in a log that was just created: the member may
  // have forgotten its promises (a wiped disk). The replica calls AllowVoting once it knows better;
  // it is synced before it returns and survives. The first start of a sole voter calls it too.
  bool may_vote() const { return may_vote_; }
  void AllowVoting();

  uint64_t synced_batches() const { return synced_batches_; }  // since Open
  uint64_t DiskBytes() const { return engine_->DiskBytes(); }

 private:
  // An entry and the hash of the log that ends with it.
  struct Tip {
    raft::EntryId id;
    uint64_t chain_hash = 0;
  };
  struct TermRun {  // entries from `first` on, up to the next run, are of `term`
    raft::Index first;
    raft::Term term;
  };

  LogStore(std::unique_ptr<Engine> engine, std::unique_ptr<Watermark> watermark);

  absl::Status Load();
  absl::Status CheckWatermark() const;
  void NoteSize(uint64_t more);
  void WriteState();  // adds the state record to batch_ and writes it, synced
  void RecordMark(bool sync);
  void LowerWatermark(raft::Index last);
  void NoteTerm(raft::Index index, raft::Term term);
  std::string EncodeState() const;
  void DecodeState(std::string_view record, Tip* last);
  std::string ReadRecord(raft::Index index) const;

  const std::unique_ptr<Engine> engine_;
  const std::unique_ptr<Watermark> watermark_;

  raft::HardState hard_state_;
  Tip base_;  // the entry before first_index
  Tip last_;
  std::vector<TermRun> terms_;  // ascending; covers [base_.index, last_.index]
  bool may_vote_ = false;
  uint64_t synced_batches_ = 0;
  uint64_t size_ = 0;  // roughly; only to warn once
  WriteBatch batch_;   // reused
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_LOG_LOG_STORE_H_
