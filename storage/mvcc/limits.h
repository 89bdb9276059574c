#ifndef RAFTKV_STORAGE_MVCC_LIMITS_H_
#define RAFTKV_STORAGE_MVCC_LIMITS_H_

// How much one entry of the log may do. Every member must come to the same verdict, today and when
// it replays the entry, so these are constants and count only what is replicated: live keys and
// their bytes, never tombstones or what compaction has left over. etcd has no such limits: there a
// huge request ends in memory.

#include <cstdint>

namespace raftkv::mvcc {

struct EntryBudget {
  // A deleted key costs some 0.35 KiB of memory on every member until the entry is written (batch,
  // engine's batch, write buffer), and 12 us of CPU (decisions/0005). A million keys must go; much
  // more must not.
  int64_t deleted_keys = 1 << 20;
  // What its ranges answer, and what its deletions answer about the keys before: all members build
  // the answer, though only one sends it. Counted before the entry changes anything.
  int64_t answer_bytes = 64 << 20;
};

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_LIMITS_H_
