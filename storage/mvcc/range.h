#ifndef RAFTKV_STORAGE_MVCC_RANGE_H_
#define RAFTKV_STORAGE_MVCC_RANGE_H_

// Reading versions: a cursor over the live keys of a range at one revision, and KV.Range by etcd's
// rules on top of it. Works on any View: a pinned engine, or an engine overlaid with a batch.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/engine/engine.h"
#include "storage/mvcc/counts.h"
#include "storage/mvcc/layout.h"
#include "storage/rules/meter.h"

namespace raftkv::mvcc {

// The store as one reader sees it.
struct ReadState {
  const View& view;
  Revision revision;     // the newest
  Revision compacted;    // the oldest that can be read; -1: all can
  bool settled = false;  // the view is of an engine that has only complete batches, so the counts
                         // match its keys
  int64_t block_keys = kBlockKeys;  // of the state machine
};

// Walks the keys of `range` in order, each at its newest version at or below `revision`. Skips
// deleted keys. It starts before the first key:  while (cursor.Next()) use(cursor.key(), ...);
// It ends early when the meter is over, so the caller must check the meter. A null meter has no
// limit.
class VersionCursor {
 public:
  // kYes: if the meter measures an entry, the entry is charged for the walk by its rules, except
  // for the range of one key. kNo: only the meter's local limits are charged.
  enum class Charged { kYes, kNo };

  VersionCursor(const View& view, KeyRange range, Revision revision, Meter* meter = nullptr,
                Charged charged = Charged::kYes);

  // After some keys in a row that did not exist at the revision, the cursor then skips blocks
  // (counts.h) of which the same is known. Only if the state is settled, with a meter, and if the
  // walk is not charged.
  void SkipDeadBlocks(const ReadState& state);
  // Then only head().exists() says something of a key. This is cheaper for past revisions of keys
  // that are often rewritten. Only if the walk is not charged.
  void ShowExistenceOnly() { existence_only_ = true; }
  bool Next();
  // Moves to the next key, even if it was deleted. If so, head().exists() is false.
  bool NextOrDead();
  std::string key() const { return UserKey(prefix_); }
  const std::string& prefix() const { return prefix_; }
  const Head& head() const { return head_; }
  std::string_view value() const { return value_; }
  // The revision of the oldest version that the cursor has passed; 0 if it has skipped any.
  Revision oldest() const { return oldest_; }

 private:
  void PassKey();
  void PassVersions(Revision revision);
  void CountDead();

  const KeyRange range_;
  const Revision revision_;
  const bool one_key_;  // stop after its newest version, because many deleted keys may follow
  Meter* const meter_;
  const bool charged_;  // the walk is charged to an entry
  const View& view_;
  const std::unique_ptr<Iterator> it_;
  bool started_ = false;
  bool existence_only_ = false;
  Revision skips_blocks_at_ = -1;  // -1: it skips none
  int64_t dead_before_skip_ = 0;
  int64_t dead_ = 0;       // keys in a row that did not exist at the revision
  int64_t next_skip_ = 0;  // look for such blocks at this number of them
  Revision oldest_ = INT64_MAX;
  std::string prefix_;        // of the current key
  std::string seek_;          // reused
  bool key_charged_ = false;  // the current key was charged
  Head head_;
  std::string_view value_;
};

// What a key and its value are charged in an answer, in bytes.
int64_t AnswerBytes(size_t key_and_value);
mvccpb::KeyValue ToKeyValue(std::string key, const Head& head, std::string_view value);

// The errors of reading, besides Meter::status(): OutOfRange with etcd's texts.
absl::Status Compacted();
absl::Status FutureRevision();

// Returns Compacted, FutureRevision or OK. A revision of zero or less means the newest one.
absl::Status CheckRevision(const ReadState& state, Revision revision);

// KV.Range. Errors: InvalidArgument and OutOfRange as etcd; the meter's status if it is over. Sets
// only the revision in the header.
absl::Status Range(const ReadState& state, const etcdserverpb::RangeRequest& request, Meter* meter,
                   etcdserverpb::RangeResponse* response);
// Answers a range of one key at the newest revision. `kv` is the key's state; null: the key does
// not exist.
void AnswerPoint(Revision revision, const etcdserverpb::RangeRequest& request,
                 const mvccpb::KeyValue* kv, etcdserverpb::RangeResponse* response);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_RANGE_H_
