#ifndef RAFTKV_STORAGE_MVCC_HISTORY_H_
#define RAFTKV_STORAGE_MVCC_HISTORY_H_

// What a compaction at revision C leaves, said twice: as what the store must answer (HashHistory),
// and as what is taken off the disk, step by step, some time later (CompactSome).
//
// Logically there remain, of each key, the newest version at or below C unless it is a tombstone,
// and every version above C. Physically also the tombstone at C itself and every event from C on,
// because a watch may begin at C; the next compaction takes those.
//
// Taking away goes by the events, in order, for each names the one version that it made obsolete:
// for an event at r <= C, the version before it; if it is a deletion at r < C, its own tombstone;
// if r < C, the event. An older version can never come to light again: by the time a tombstone
// goes, the events before it have taken every older version of its key. All that one event takes,
// goes in one batch.

#include "storage/engine/engine.h"
#include "storage/mvcc/budget.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/writer.h"

namespace raftkv::mvcc {

// Adds to the batch what goes next, a millisecond or two of it, of at most `*events_left` events
// (at least 1), and takes them from there. `next` is the first event that was not dealt with, and
// is moved on; it must be saved in the same batch. Doing an event twice is harmless. True at the
// end; then `next` is where the next compaction begins. The batch is the writer's, empty so far;
// the writer is told which keys were dead until now.
bool CompactSome(const Engine& engine, Revision compacted, int64_t* events_left, EventId* next,
                 WriteBatch* batch, Writer* writer);

// A checksum over what remains logically, and is not newer than `revision`, in the order of keys:
// it never depends on how far CompactSome has come. Means nothing when the budget is over.
uint32_t HashHistory(const View& view, Revision compacted, Revision revision, Budget* budget);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_HISTORY_H_
