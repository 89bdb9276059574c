#ifndef RAFTKV_STORAGE_MVCC_RANGE_H_
#define RAFTKV_STORAGE_MVCC_RANGE_H_

// Reading versions: a cursor over the live keys of a range at one revision, and KV.Range by etcd's
// rules on top of it. Works on any View: a pinned engine, or an engine overlaid with a batch.

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/engine/engine.h"
#include "storage/meter.h"
#include "storage/mvcc/layout.h"

namespace raftkv::mvcc {

// Walks the keys of `range` in order, each at its newest version at or below `revision`; deleted
// keys are passed over. Starts before the first:  while (cursor.Next()) use(cursor.key(), ...);
// Ends early when the meter is over, which the caller must then check; null: no limit.
class VersionCursor {
 public:
  // Whether the entry that is being checked, if any, is charged for the walk by its rules. It never
  // is for the range of one key. kNo: only local steps count.
  enum class Charged { kYes, kNo };

  VersionCursor(const View& view, KeyRange range, Revision revision, Meter* meter = nullptr,
                Charged charged = Charged::kYes);

  bool Next();
  // Moves to the next key even if it was deleted: its head does not exist then.
  bool NextOrDead();
  std::string key() const { return UserKey(prefix_); }
  const std::string& prefix() const { return prefix_; }
  const Head& head() const { return head_; }
  std::string_view value() const { return value_; }

 private:
  void PassKey();

  const KeyRange range_;
  const Revision revision_;
  const bool one_key_;  // never read past it: its old versions may all be there, deleted
  Meter* const meter_;
  const bool charged_;  // meter_ is an entry's, which pays for the walk
  const std::unique_ptr<Iterator> it_;
  bool started_ = false;
  std::string prefix_;        // of the current key
  std::string seek_;          // reused
  bool key_charged_ = false;  // the current key
  Head head_;
  std::string_view value_;
};

// The store as one reader sees it.
struct ReadState {
  const View& view;
  Revision revision;   // the newest
  Revision compacted;  // the oldest that can be read; -1: all can
};

mvccpb::KeyValue ToKeyValue(std::string key, const Head& head, std::string_view value);

// Errors of reading besides Meter::status: OutOfRange, as etcd.
absl::Status Compacted();
absl::Status FutureRevision();

// Compacted, FutureRevision or OK. Zero and below is the newest.
absl::Status CheckRevision(const ReadState& state, Revision revision);

// KV.Range. InvalidArgument, OutOfRange as etcd; the meter's status when it is over. Sets only the
// revision in the header.
absl::Status Range(const ReadState& state, const etcdserverpb::RangeRequest& request, Meter* meter,
                   etcdserverpb::RangeResponse* response);
// The same for one key at the newest revision whose state is known; null: there is no such key.
void AnswerPoint(Revision revision, const etcdserverpb::RangeRequest& request,
                 const mvccpb::KeyValue* kv, etcdserverpb::RangeResponse* response);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_RANGE_H_
