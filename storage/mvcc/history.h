#ifndef RAFTKV_STORAGE_MVCC_HISTORY_H_
#define RAFTKV_STORAGE_MVCC_HISTORY_H_

// What remains after a compaction at revision C.
//
// Logically (HashHistory), these versions of each key remain: the newest one at or below C unless
// it is a tombstone, and every one above C. Physically, tombstones at C itself and every event from
// C on remain too, because a watch may begin at C. The next compaction removes those.
//
// CompactSome removes the rest from the disk later, in steps. It processes the events in order,
// because each event names the one version that it made obsolete. For an event at revision r <= C,
// it removes
//   - the version of the key before the event;
//   - if r < C, the event itself and, if the event is a deletion, its tombstone.
// One batch contains everything that one event removes. An older version can never reappear: before
// a tombstone is removed, earlier events have removed every older version of its key.

#include "storage/engine/engine.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/writer.h"
#include "storage/rules/meter.h"

namespace raftkv::mvcc {

// Adds the next removals to the batch: a millisecond or two of work, and not more than the meter
// allows. Each event costs a step, and its bytes cost more. `next` is the first event that is not
// processed yet; it is advanced and must be saved in the same batch. Processing an event twice is
// harmless. Returns true at the end; `next` is then where the next compaction begins. `batch` is
// the writer's and must be empty. The writer is told whose tombstones were removed.
bool CompactSome(const Engine& engine, Revision compacted, Meter* meter, EventId* next,
                 WriteBatch* batch, Writer* writer);

// A checksum of what remains logically and is not newer than `revision`, in the order of keys. It
// never depends on how far CompactSome has come. Drop the result if the meter is over.
uint32_t HashHistory(const View& view, Revision compacted, Revision revision, Meter* meter);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_HISTORY_H_
