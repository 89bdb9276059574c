#ifndef RAFTKV_STORAGE_MVCC_COUNTS_H_
#define RAFTKV_STORAGE_MVCC_COUNTS_H_

// How many live keys a range has, without walking it. The keys are divided into blocks; table `c`
// holds for each block where it begins and how many keys it has (docs/decisions/0005):
//
//   c ‖ prefix of the first key (layout.h)  ->  number of live keys up to where the next block
//   begins, number of dead ones (absent: 0)
//
// The sum over all blocks is exact in every view, because a batch that creates or deletes keys
// holds the new counts too. A reader adds up the blocks within its range and walks the two ends.
//
// A key is dead while its newest version is a tombstone that compaction has not removed; a walk has
// to pass it too. So a block is cut by the number of its live and dead keys together, and is
// removed when it has neither: an end of a count is at most one block, however much was deleted.
// The number of dead keys decides nothing else. It is too low where a record was written when dead
// keys were not counted, until those are compacted. Keys of which nothing is left are in no block,
// though RocksDB may have to pass them for some seconds more (rocks_engine.cc).
//
// The writer keeps all blocks in memory, some 130 bytes for 500 keys. An overwrite changes none,
// and a deletion makes none larger. A block that has more than kBlockKeys keys, or more than
// kBlockKeyBytes of keys as far as this process has seen them created, is cut: a few after each
// batch, in a small batch of their own. Where blocks are cut is local: members differ in it, and
// answers never show it.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "storage/engine/engine.h"
#include "storage/meter.h"
#include "storage/mvcc/layout.h"

namespace raftkv::mvcc {

// A count over n keys, live or dead, adds up n / 700 blocks and walks 700 keys at its ends; at a
// million keys the two cost about the same.
inline constexpr int64_t kBlockKeys = 1024;
inline constexpr size_t kBlockKeyBytes = 4 << 20;

// The table in memory and its changes. Owned by Writer.
class Counts {
 public:
  // A block is cut when it has more than `block_keys`.
  explicit Counts(int64_t block_keys);
  // DataLoss when a record cannot be read.
  absl::Status Load(const Engine& engine);

  // By how much a key with this version prefix changed the numbers of live and dead keys.
  void Add(std::string_view prefix, int64_t keys, int64_t dead);
  // Adds what has changed since the last call to the batch.
  void Save(WriteBatch* batch);
  // Cuts some blocks that are too large, if there are any; `view` is the state with all that was
  // saved. Reads a bounded number of keys, dead ones too, and of their bytes.
  void MaybeCut(const View& view, WriteBatch* batch);

 private:
  struct Block {
    int64_t keys = 0;
    int64_t dead = 0;
    size_t key_bytes = 0;   // of keys created since this process started or the block was cut
    int64_t cut_above = 0;  // live and dead keys together
    bool changed = false;

    int64_t size() const { return keys + dead; }
    bool large() const { return size() > cut_above || key_bytes > kBlockKeyBytes; }
  };
  using Blocks = std::map<std::string, Block, std::less<>>;
  void Touch(Blocks::iterator block);
  // False: there was nothing to cut at, within what one cut may read.
  bool Cut(const View& view, Blocks::iterator block, size_t* bytes_left);

  const int64_t block_keys_;
  Blocks blocks_;           // by where they begin; the first one, of everything, is never dropped
  Blocks::iterator found_;  // by the last Add: the next one is often close by
  std::vector<Blocks::iterator> changed_;
  std::vector<std::string> large_;  // may be gone or smaller by now
};

// The live keys of the range at `revision`, which is `newest` or earlier and can be read. Reads
// keys, blocks and events, fewer than three times as many as a walk would; none when the meter is
// over. An entry is charged by its rules (version.h), the same whichever way was taken.
std::optional<int64_t> CountLive(const View& view, const KeyRange& range, Revision revision,
                                 Revision newest, Meter* meter);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_COUNTS_H_
