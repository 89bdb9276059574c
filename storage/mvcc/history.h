#ifndef RAFTKV_STORAGE_MVCC_HISTORY_H_
#define RAFTKV_STORAGE_MVCC_HISTORY_H_

// What a compaction at revision C leaves, in two senses: what the store must still answer
// (HashHistory), and what is removed from the disk in steps, some time later (CompactSome).
//
// Logically there remain, of each key, the newest version at or below C unless it is a tombstone,
// and every version above C. Physically also the tombstone at C itself and every event from C on,
// because a watch may begin at C; the next compaction takes those.
//
// Events are processed in order, since each names the one version that it made obsolete. For an
// event at r <= C, the version before it is removed; if it is a deletion at r < C, its own
// tombstone; if r < C, the event. An older version can never reappear: by the time a tombstone is
// removed, the events before it have removed every older version of its key. All that one event
// removes is in one batch.

#include "storage/engine/engine.h"
#include "storage/meter.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/writer.h"

namespace raftkv::mvcc {

// Adds to the batch what is removed next, a millisecond or two of work, as far as the meter goes: a
// step for each event, and more for its bytes. `next` is the first event that was not processed; it
// is moved on and must be saved in the same batch. Processing an event twice is harmless. True at
// the end; then `next` is where the next compaction begins. The batch is the writer's, empty so
// far; the writer is told which keys are no longer dead.
bool CompactSome(const Engine& engine, Revision compacted, Meter* meter, EventId* next,
                 WriteBatch* batch, Writer* writer);

// A checksum over what remains logically and is not newer than `revision`, in the order of keys. It
// never depends on how far CompactSome has come. To be dropped when the meter is over.
uint32_t HashHistory(const View& view, Revision compacted, Revision revision, Meter* meter);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_HISTORY_H_
