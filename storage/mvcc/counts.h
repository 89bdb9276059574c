#ifndef RAFTKV_STORAGE_MVCC_COUNTS_H_
#define RAFTKV_STORAGE_MVCC_COUNTS_H_

// How many live keys a range has, without walking it. The keys are cut into blocks; table `c` holds
// for each block where it begins and how many keys it has (docs/decisions/0005):
//
//   c ‖ prefix of the first key (layout.h)  ->  number of live keys up to where the next block
//   begins, number of dead ones (none: 0)
//
// The live ones sum to those of every view, because a batch that creates or deletes keys holds the
// new counts too. A reader adds up the blocks that lie within its range and walks the two ends.
//
// A key is dead while its newest version is a tombstone that compaction has not removed; a walk has
// to pass it too. So blocks are cut by live and dead keys together, and go when they have neither:
// an end of a count is at most a block of kBlockKeys, however much was deleted. The number of dead
// keys decides nothing else. It is too low where a record was written when they were not counted,
// until those are compacted. Keys of which nothing is left are in no block, though RocksDB may have
// to pass them for some seconds more (rocks_engine.cc).
//
// The writer keeps all blocks in memory, some 130 bytes for 500 keys; an overwrite touches none,
// and a deletion makes none larger. A block that grew past kBlockKeys is cut, a few after each
// batch, with a small batch of its own. Where blocks are cut is local: members differ in it, and
// answers never show it.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "storage/engine/engine.h"
#include "storage/mvcc/budget.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/limits.h"

namespace raftkv::mvcc {

// Of the writer.
class Counts {
 public:
  Counts();
  // DataLoss when a record cannot be read.
  absl::Status Load(const Engine& engine);

  // By how much a key with this version prefix changed the live and the dead ones.
  void Add(std::string_view prefix, int64_t keys, int64_t dead);
  // What has changed since the last call, into the batch.
  void Save(WriteBatch* batch);
  // Cuts some blocks that are too large, if there are any; `view` is the state with all that was
  // saved. Visits a bounded number of keys, dead ones too.
  void MaybeCut(const View& view, WriteBatch* batch);

 private:
  struct Block {
    int64_t keys = 0;
    int64_t dead = 0;
    int64_t cut_above = kBlockKeys;  // of both together
    bool changed = false;

    int64_t size() const { return keys + dead; }
  };
  using Blocks = std::map<std::string, Block, std::less<>>;
  void Touch(Blocks::iterator block);

  Blocks blocks_;           // by where they begin; the first one, of everything, is never dropped
  Blocks::iterator found_;  // by the last Add: the next one is often close by
  std::vector<Blocks::iterator> changed_;
  std::vector<std::string> large_;  // may be gone or smaller by now
};

// The live keys of the range at `revision`, which is `newest` or earlier and can be read. Visits
// keys, blocks and events, fewer than twice as many as a walk would; none when the budget is over.
// A budget that charges walks is charged the same whatever way was taken (limits.h).
std::optional<int64_t> CountLive(const View& view, const KeyRange& range, Revision revision,
                                 Revision newest, Budget* budget);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_COUNTS_H_
