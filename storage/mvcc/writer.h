#ifndef RAFTKV_STORAGE_MVCC_WRITER_H_
#define RAFTKV_STORAGE_MVCC_WRITER_H_

// Changes keys, inside one batch at a time. Owned by the table of keys (tables/keys.h), which
// begins an entry and makes its changes; after some entries the state machine writes the batch.
//
// Each entry that changes something takes one main revision, shared by all its changes, which get
// sub-revisions 0, 1, 2... in order. A key is changed at most once in an entry, except that it may
// be put and then deleted (layout.h).
//
// A put must know the key's head: whether it exists, since when, and its version. Heads of recently
// written keys are kept in memory, so that an overwrite reads nothing; answers never depend on
// that. Heads that puts made in the current batch are never dropped, so entries of one batch see
// each other's changes; what needs more than heads reads through an Overlay.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "proto/etcd/kv.pb.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/base/seeded_hash.h"
#include "storage/engine/engine.h"
#include "storage/meter.h"
#include "storage/mvcc/counts.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/overlay.h"

namespace raftkv::mvcc {

// Heads by key, in two generations: when the young one is full it becomes the old one, and heads of
// the old one that were not used since are forgotten. Looked up only, never iterated, so no order
// depends on the hash. Clients choose the keys, hence the seeded hash.
class HeadCache {
 public:
  explicit HeadCache(size_t bytes_max) : bytes_max_(bytes_max) {}

  const Head* Find(std::string_view key);
  void Set(std::string_view key, const Head& head);
  bool SetIfKnown(std::string_view key, const Head& head);
  void MaybeForget();  // between batches

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
  // `batch` receives the changes; `digest` is the running one, advanced by each change.
  // `block_keys`: see Counts.
  Writer(const Engine& engine, WriteBatch* batch, uint64_t* digest, int64_t block_keys);
  absl::Status Load() { return counts_.Load(engine_); }

  // `revision`: the main revision that the entry gets if it changes anything.
  void BeginEntry(Revision revision);
  bool changed() const { return sub_ > 0; }
  uint32_t changes() const { return sub_; }
  // Before the batch is written: adds the counts of keys. After it was written and cleared: adds
  // local changes that follow (cuts of blocks), to be written as another batch.
  void CompleteBatch() { counts_.Save(batch_); }
  void EndBatch();

  // The store with all changes made so far. Iterators see it as it is when they are made; counts of
  // keys as they are after CompleteBatch, which may be called at any time.
  const View& view() const { return overlay_; }

  // To be dropped if the meter, where there is one, is over then. The head is remembered at least
  // until the entry ends, so that it is read only once. Charges bytes, but no step.
  Head HeadOf(std::string_view key, Meter* meter = nullptr);
  // The key's current value; its head must exist.
  mvccpb::KeyValue Load(std::string_view key, const Head& head) const;
  // Of all records that Load has read since the last call.
  size_t TakeLoadedBytes() { return std::exchange(loaded_bytes_, 0); }

  // The request was checked, so the key exists if a part of it is kept. Sets all of the response
  // except its header.
  void Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);

  // Charges what deleting the range takes, by the rules of the entry. The meter's status when that
  // is over. Deletions of one key are free.
  absl::Status CheckDelete(const etcdserverpb::DeleteRangeRequest& request, Meter* meter) const;
  // The request was checked. Sets all of the response except its header.
  void DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                   etcdserverpb::DeleteRangeResponse* response);

  // Compaction removes the newest version of the key, a tombstone, in this batch.
  void ForgetTombstone(std::string_view key);

 private:
  void Put(std::string_view key, const Head& before, std::string_view value, int64_t lease);
  // `replaced` is the value that `before` had, if both have this revision.
  void Change(std::string_view key, const Head& before, const Head& after, std::string_view value,
              std::string_view replaced = {});

  const Engine& engine_;
  WriteBatch* const batch_;
  uint64_t* const digest_;
  Overlay overlay_;
  HeadCache heads_;
  Counts counts_;
  bool all_heads_known_ = true;  // of the keys changed in this batch
  Revision batch_revision_ = 0;  // the newest before this batch; 0: it is still empty
  Revision revision_ = 0;
  uint32_t sub_ = 0;
  mutable size_t loaded_bytes_ = 0;
  std::string key_buffer_, record_buffer_, replaced_buffer_;  // reused
};

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_WRITER_H_
