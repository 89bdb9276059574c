#ifndef RAFTKV_STORAGE_LOG_LOG_STORE_H_
#define RAFTKV_STORAGE_LOG_LOG_STORE_H_

// The Raft log and hard state on disk. Each Save writes one synced batch: the truncation if there
// is one, the new entries, and a state record. DataDir owns the store. Only the member's replica
// writes to it; the Raft core reads it through raft::LogReader.
//
// A key is a big-endian index followed by one byte, the kind. Kind 0 holds the entry of that index.
// Kind 1 holds the state record of a batch after which the log ends at that index: hard state, base
// (the entry before first_index), last entry, chain hashes, how far the log has ever come. The
// state record with the largest key is the current one. New keys are usually the largest, so
// RocksDB can move finished files to lower levels without rewriting them.
//
// The log is cut at its front when the state machine no longer needs its oldest entries. The state
// record says where it starts. Records before that are never read; the engine removes whole files
// of them. No deletions are written, because each would make RocksDB rewrite the files that remain.
//
// Each entry record has a magic number, format version, type, term, index, length, a CRC32C, and
// the chain hash of all entries before it. So Open finds any damage between first_index and
// last_index. RocksDB alone does not detect that the end of the log is missing
// (docs/decisions/0002). Therefore the file WATERMARK beside the log (watermark.h) records the last
// synced entry, the mark. A log that ends before the mark has lost its end (lost()). The member may
// have acknowledged what is missing. So it does not vote until the log has come as far as the mark
// again, and a leader has caught the member up (docs/decisions/0022). Until the log has come as
// far, the mark is not moved, so that a second start detects the loss too.

#include <cstdint>
#include <deque>
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
  // Reads the state record, and verifies every entry from first_index on. `watermark` may be null
  // in tests, where the engine never loses what was synced. DataLoss: the log is damaged; the
  // message has the index range and the reason. A log that has lost its end is no error. If the
  // current term or the vote is lost, it is taken from the watermark, which always has both.
  static absl::StatusOr<std::unique_ptr<LogStore>> Open(std::unique_ptr<Engine> engine,
                                                        std::unique_ptr<Watermark> watermark);
  ~LogStore() override;

  // Appends `entries`, which must be contiguous, and saves `hard_state`, in one synced batch. The
  // batch first removes all entries of the log from the index of the first new entry on.
  // When Save returns, everything is on disk.
  void Save(const std::optional<raft::HardState>& hard_state,
            const std::vector<raft::Entry>& entries);

  // An entry, and the chain hash of all entries up to and including it.
  struct Tip {
    raft::EntryId id;
    uint64_t chain_hash = 0;
    friend bool operator==(const Tip&, const Tip&) = default;
  };

  // Removes the entries below `first_index`. The caller must know that a flushed state machine
  // covers them. Remove many entries with one call: each call writes a synced batch and changes
  // RocksDB's list of files.
  void Cut(raft::Index first_index);

  // Replaces the whole log by an empty one that continues after `base`, in one synced batch. The
  // caller has a state machine on disk that contains everything up to `base`, which is at or above
  // the first index. If the term of `base` is above the saved one, it becomes the current term,
  // without a vote.
  void Reset(const Tip& base);
  bool Contains(const Tip& tip) const;

  raft::Reached reached() const { return {hard_state_.current_term, reached_index_}; }

  // The entries that the log had saved before, and that were missing at Open. None as soon as the
  // log ends with `last`, or is more up-to-date than a log that ends there (§5.4.1): then it has
  // every lost entry that was committed.
  struct Lost {
    raft::Index first = 0;
    raft::EntryId last;
  };
  const std::optional<Lost>& lost() const { return lost_; }
  // Call it if entries are lost. The state machine has applied everything up to `applied`. If the
  // log has lost this entry, it continues after it, as after a snapshot: what is applied is
  // committed. The member may not vote until AllowVoting is called. False: `applied` is lost and is
  // not the last entry that was saved, so its chain hash is not known.
  bool ContinueAfter(const raft::EntryId& applied);

  raft::HardState hard_state() const override { return hard_state_; }
  raft::Index first_index() const override { return base_.id.index + 1; }
  raft::Index last_index() const override { return last_.id.index; }
  raft::Term TermAt(raft::Index index) const override;
  uint64_t ChainHash(raft::Index index) const override;
  std::vector<raft::Entry> Entries(raft::Index first, raft::Index last,
                                   size_t bytes_max) const override;

  // The bytes of the records from `first` to the end. The result may be too large by up to
  // kSizeStep bytes.
  uint64_t BytesFrom(raft::Index first) const;
  // The first index such that the records from it to the end of the log have at most `bytes_max`
  // bytes; the last index if even the last record is larger. The result may be too high, by records
  // of up to kSizeStep bytes.
  raft::Index FirstWithin(uint64_t bytes_max) const;
  static constexpr uint64_t kSizeStep = 4096;

  // Whether the member may vote. False in a new log: if the disk was wiped, the member may have
  // forgotten votes and acknowledgements. Also false while entries are lost(), and afterwards until
  // AllowVoting. The replica calls AllowVoting when voting is safe (docs/decisions/0003, 0022).
  // AllowVoting returns after the permission is synced.
  bool may_vote() const { return may_vote_ && !lost_; }
  void AllowVoting();

  uint64_t synced_batches() const { return synced_batches_; }  // since Open
  uint64_t DiskBytes() const { return engine_->DiskBytes(); }
  EngineUsage Usage() const { return engine_->Usage(); }
  bool WouldStall() const { return engine_->WouldStall(); }

 private:
  struct TermRun {  // all entries from `first` to before the next run's first have this term
    raft::Index first;
    raft::Term term;
  };

  LogStore(std::unique_ptr<Engine> engine, std::unique_ptr<Watermark> watermark);

  absl::Status Load();
  absl::Status CompareWithMark();
  absl::Status AdoptHardState(const Watermark::Mark& mark);
  void WriteState();  // adds the state record to batch_ and writes it, synced
  void RecordMark(bool sync);
  void LowerWatermark(raft::Index last);
  void NoteTerm(raft::Index index, raft::Term term);
  void NoteBytes(raft::Index index, size_t bytes);
  void ForgetBefore(const Tip& base);
  void ForgetAfter(raft::Index last);
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
  std::optional<Lost> lost_;
  raft::Index reached_index_ = 0;  // of raft::Reached, in the current term
  uint64_t synced_batches_ = 0;
  // Where the bytes are: one mark for each kSizeStep bytes, and one at the base.
  struct SizeMark {
    raft::Index last;
    uint64_t bytes;  // of all records up to `last`, counted from an arbitrary start
  };
  std::deque<SizeMark> sizes_;
  uint64_t bytes_ = 0;  // as in SizeMark, up to the end of the log
  WriteBatch batch_;    // kept to reuse its memory
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_LOG_LOG_STORE_H_
