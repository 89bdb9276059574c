#ifndef RAFTKV_STORAGE_MVCC_LIMITS_H_
#define RAFTKV_STORAGE_MVCC_LIMITS_H_

// How much one entry of the log may do. Every member must come to the same verdict, today and when
// it replays the entry, so these are constants and count only what is replicated: keys and their
// bytes, never what compaction has left over or how keys are cut into blocks. etcd has no such
// limits: there a huge request ends in memory, or everybody waits.
//
// What an entry walks over is counted before it changes anything:
//   - each key of its ranges, compares of ranges and deletions of ranges that every member holds:
//     it lives at the revision that is read, or has changed since the compacted one, that included.
//     Older tombstones may be there or not (history.h), and are free; so are the older versions of
//     a key, of which a walk passes few (range.cc);
//   - one more for each 4 KiB of a value that lives;
//   - of the keys that are only counted, behind an answer that is complete: at a past revision all,
//     as in a walk; at the newest, where blocks are added up (counts.h), kBlockKeys and one of so
//     many, but no more than there are. Tombstones there are free: blocks hold them too, so that a
//     count passes at most the two blocks' at its ends;
//   - for a deletion, what it deletes once more for each later range of the same transaction, which
//     may have to pass the tombstones.
// Executing the entry then costs as much again. Operations on single keys are free.

#include <cstdint>

namespace raftkv::mvcc {

// Where bugs are planted (storage/base/mutant.h), small enough for the few keys of the simulator.
#ifdef RAFTKV_MUTANTS
inline constexpr int64_t kBlockKeys = 4;
inline constexpr int64_t kWalkedKeysMax = 8;
#else
// A count over n keys, live or dead, adds up n / 700 blocks and walks 700 keys at its ends; at a
// million keys the two cost about the same.
inline constexpr int64_t kBlockKeys = 1024;
// A second or two, at a microsecond a key, and as much again.
inline constexpr int64_t kWalkedKeysMax = 1 << 20;
#endif

struct EntryBudget {
  // A deleted key costs some 0.35 KiB of memory and 12 us of CPU on every member (decisions/0005),
  // which answers no other request meanwhile: as many as fit a few seconds. Its name is held
  // several times (batch, engine's batch, write buffer).
  int64_t deleted_keys = 1 << 18;
  int64_t deleted_key_bytes = 64 << 20;
  // What its reads answer, and its puts and deletions about the keys before: all members build the
  // answer, though only one sends it. Counted before the entry changes anything.
  int64_t answer_bytes = 64 << 20;
  int64_t walked_keys = kWalkedKeysMax;
};

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_LIMITS_H_
