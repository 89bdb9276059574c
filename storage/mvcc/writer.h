#ifndef RAFTKV_STORAGE_MVCC_WRITER_H_
#define RAFTKV_STORAGE_MVCC_WRITER_H_

// Changes keys, in one batch at a time. Owned by the table of keys (tables/keys.h), which begins
// each entry and makes its changes. After some entries the state machine writes the batch.
//
// Each entry that changes something gets one main revision, which all its changes share. The
// changes get sub-revisions 0, 1, 2... in order. An entry changes a key at most once, except that
// it may put the key and then delete it (layout.h).
//
// A put must know the key's head: whether the key exists, its create revision and its version.
// Heads of recently written keys are cached, so that an overwrite reads nothing. Answers never
// depend on the cache. Heads that puts made in the current batch are never removed from it, so
// entries of one batch see each other's changes. Operations that need more than heads read through
// an Overlay.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "proto/etcd/kv.pb.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/base/parallel_reads.h"
#include "storage/base/seeded_hash.h"
#include "storage/engine/engine.h"
#include "storage/mvcc/counts.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/leases.h"
#include "storage/mvcc/overlay.h"
#include "storage/rules/meter.h"

namespace raftkv::mvcc {

// A cache of heads by key, in two generations. When the young one is full, it becomes the old one,
// and the heads of the previous old one that were not used since are forgotten. The hash maps are
// never iterated, so no result depends on their order. The hash is seeded, because clients choose
// the keys.
class HeadCache {
 public:
  explicit HeadCache(size_t bytes_max) : bytes_max_(bytes_max) {}

  const Head* Find(std::string_view key);
  void Set(std::string_view key, const Head& head);
  bool SetIfKnown(std::string_view key, const Head& head);
  void MaybeForget();  // call it between batches

 private:
  struct KeyHash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return SeededHash(key); }
  };
  using Generation = absl::flat_hash_map<std::string, Head, KeyHash, std::equal_to<>>;
  const size_t bytes_max_;
  size_t young_bytes_ = 0;
  Generation young_;
  Generation old_;
};

class Writer {
 public:
  // `batch` receives the changes. Each change is mixed into `digest`. `leases` learns which keys
  // are attached to leases. `block_keys` and `version`: see Counts.
  Writer(const Engine& engine, WriteBatch* batch, uint64_t* digest, Leases* leases,
         int64_t block_keys, const ClusterVersion* version);
  absl::Status Load() { return counts_.Load(engine_); }

  // `revision` is the main revision that the entry gets if it changes anything.
  void BeginEntry(Revision revision);
  bool changed() const { return sub_ > 0; }
  uint32_t changes() const { return sub_; }
  // Call CompleteBatch before the batch is written: it adds the counts of keys. Call EndBatch after
  // the batch was written and cleared: it adds local changes (splits of blocks of counts) to the
  // empty batch, which must then be written too.
  void CompleteBatch() { counts_.Save(batch_); }
  void EndBatch();

  // The store with all changes made so far. An iterator shows it as of the iterator's creation. It
  // shows the counts of keys as of the last CompleteBatch, which may be called at any time.
  const View& view() const { return overlay_; }

  // Returns the key's head. If there is a meter and it is over afterwards, discard the result. The
  // head is cached at least until the entry ends, so it is read only once. Charges bytes, but no
  // step.
  Head HeadOf(std::string_view key, Meter* meter = nullptr);
  // Reads the heads of these keys that are not cached, several at the same time, and caches them.
  // Stops early if it exceeds the limits; then HeadOf reads the others. The batch must be empty.
  void FetchHeads(std::vector<std::string_view> keys, const Limits& limits, ParallelReads* reads);
  // Returns the key with its current value. `head` is its head, and must exist.
  mvccpb::KeyValue Load(std::string_view key, const Head& head) const;
  // The bytes of all records that Load has read since the last call.
  size_t TakeLoadedBytes() { return std::exchange(loaded_bytes_, 0); }

  // The request must have been checked, so the key exists if its value or lease is kept. Sets all
  // of the response except its header.
  void Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);

  // Charges what deleting the range costs, by the rules of the entry. Returns the meter's status if
  // it is over. The deletion of one key is free.
  absl::Status CheckDelete(const etcdserverpb::DeleteRangeRequest& request, Meter* meter) const;
  // The request must have been checked. Sets all of the response except its header.
  void DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                   etcdserverpb::DeleteRangeResponse* response);

  // Returns the keys that are attached to these leases: lease after lease, and in the order of the
  // keys. Each lease must exist. Charges only the meter's local limits, with the rows that it
  // reads; the rules cannot be exceeded (Rules::lease_keys). If the meter is over afterwards,
  // discard the result.
  std::vector<Attached> FindAttached(absl::Span<const int64_t> leases, Meter* meter) const;
  // Deletes these keys, which FindAttached must have returned in this entry.
  void DeleteAttached(absl::Span<const Attached> keys);
  const Leases& leases() const { return leases_; }

  // Call it when compaction removes the newest version of the key, a tombstone, in this batch.
  void ForgetTombstone(std::string_view key);

 private:
  Head ReadHead(std::string_view key, Meter* meter);
  void Put(std::string_view key, const Head& before, std::string_view value, int64_t lease);
  // `replaced`: if this entry also wrote the version `before`, the value of that version.
  void Change(std::string_view key, const Head& before, const Head& after, std::string_view value,
              std::string_view replaced = {});

  const Engine& engine_;
  WriteBatch* const batch_;
  uint64_t* const digest_;
  Leases& leases_;
  Overlay overlay_;
  HeadCache heads_;
  Counts counts_;
  bool all_heads_known_ = true;         // heads_ has the head of every key that this batch changed
  absl::flat_hash_set<int64_t> moved_;  // the leases whose attached keys this batch changed
  Revision batch_revision_ = 0;  // the store's revision before this batch; 0: no entry has begun
  Revision revision_ = 0;
  uint32_t sub_ = 0;
  mutable size_t loaded_bytes_ = 0;
  std::string key_buffer_, record_buffer_, replaced_buffer_;  // reused
};

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_WRITER_H_
