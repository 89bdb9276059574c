#ifndef RAFTKV_STORAGE_MVCC_COUNTS_H_
#define RAFTKV_STORAGE_MVCC_COUNTS_H_

// Counts the live keys of a range without walking all of it. The keys are divided into blocks. For
// each block, table `c` stores where it begins and how many keys it has (docs/decisions/0005):
//
//   c ‖ prefix of the first key (layout.h)  ->  number of live keys up to where the next block
//   begins, number of dead keys (absent: 0), first and last revision (absent: not known)
//
// Programs that know cluster versions up to 4 do not know the two revisions. So they are saved from
// version 5 on.
//
// The sum over all blocks is exact in every view, because a batch that creates or deletes keys also
// writes the new counts. A reader adds up the blocks within its range. Of a block that is partly in
// the range it walks this part, or the others, whatever ends first (CountPart in counts.cc). Reads
// also use the blocks to skip deleted keys (AfterDeadBlocks).
//
// No key of the block existed before its first revision, and none was created or deleted after its
// last one. So for a past revision a reader knows how many live keys many blocks had: none before
// the first revision, and as many as now from the last one on. It walks the other blocks.
//
// A key is dead while its newest version is a tombstone that compaction has not removed. A walk has
// to pass dead keys too. So a block is split when its live and dead keys together are too many, and
// is removed when it has neither. Thus a count walks at most one block at each end, however much
// was deleted. The number of dead keys is too low in records from before dead
// keys were counted, until those keys are compacted. Keys that compaction removed completely are in
// no block, though RocksDB may have to pass them for some more seconds (rocks_engine.cc).
//
// The writer keeps all blocks in memory: some 150 bytes for 180 keys. An overwrite changes no
// block, and a deletion makes none larger. A block is too large if it has more than kBlockKeys
// keys, or if this process has created more than kBlockKeyBytes of keys in it. After each batch a
// few blocks that are too large are split, in a small batch of their own. Where blocks are split is
// local: it differs between members and affects no answer.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "storage/engine/engine.h"
#include "storage/mvcc/layout.h"
#include "storage/rules/meter.h"
#include "storage/rules/version.h"

namespace raftkv::mvcc {

struct ReadState;

// A count over n keys, live or dead, reads about n / 180 blocks (n / 128 if the keys were created
// in order), which cost a step for each four, and walks at most a block at each of its ends. An
// entry is charged n / 1,024 steps for the blocks (Rules::count_block_keys), which is about the
// same.
inline constexpr int64_t kBlockKeys = 256;
inline constexpr size_t kBlockKeyBytes = 4 << 20;

// The table in memory and its changes. Owned by Writer.
class Counts {
 public:
  // A block with more than `block_keys` keys is split. `version`: the cluster version in force.
  Counts(int64_t block_keys, const ClusterVersion* version);
  // DataLoss: a record is damaged.
  absl::Status Load(const Engine& engine);

  // At `revision`, a change of the key with this version prefix changed the numbers of live and
  // dead keys by `keys` and `dead`. Revisions do not go down.
  void Add(std::string_view prefix, Revision revision, int64_t keys, int64_t dead);
  // Adds to the batch the blocks that have changed since the last call.
  void Save(WriteBatch* batch);
  // Splits some blocks that are too large, if there are any. `view` shows all that was saved.
  // It reads a bounded number of keys, dead ones included, and a bounded number of bytes.
  void MaybeSplit(const View& view, WriteBatch* batch);

 private:
  struct Block {
    int64_t keys = 0;
    int64_t dead = 0;
    Revision first = INT64_MAX;
    Revision last = 0;
    size_t key_bytes = 0;     // of keys created since this process started or the block was split
    int64_t split_above = 0;  // the limit of live and dead keys together
    bool changed = false;

    int64_t size() const { return keys + dead; }
    bool large() const { return size() > split_above || key_bytes > kBlockKeyBytes; }
  };
  using BlockMap = std::map<std::string, Block, std::less<>>;
  void Touch(BlockMap::iterator block);
  // False: the block was not split, because the keys that one split may read contain no place to
  // divide it.
  bool Split(const View& view, BlockMap::iterator block, size_t* bytes_left);

  const int64_t block_keys_;
  const ClusterVersion& version_;
  BlockMap blocks_;           // by where they begin; the first one is never removed
  BlockMap::iterator found_;  // the block of the last Add; the next Add often needs the same one
  std::vector<BlockMap::iterator> changed_;
  std::vector<std::string> large_;  // blocks that were too large; some may be gone or smaller now
};

// Adds the live keys of a block, a record of the table, to `keys`. False: the record is damaged.
bool AddLiveKeys(std::string_view record, int64_t* keys);

// Where the first block that may have live keys at `revision` begins, if it is after `prefix`. If
// the block with `prefix` may have live keys, or if the meter is over: `prefix`. If all blocks from
// there on have none: the end of the table of versions. Only for a settled view (range.h), because
// during an entry the saved counts do not contain its changes yet.
std::string AfterDeadBlocks(const View& view, const std::string& prefix, Revision revision,
                            Meter* meter);

// The number of live keys of the range at `revision`, which is at most the state's and can be read.
// It costs at most about three times the steps of a walk. Returns nullopt if the meter is over.
// What an entry is charged depends on its rules only (rules/version.h), not on how the count is
// computed.
std::optional<int64_t> CountLive(const ReadState& state, const KeyRange& range, Revision revision,
                                 Meter* meter);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_COUNTS_H_
