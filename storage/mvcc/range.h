#ifndef RAFTKV_STORAGE_MVCC_RANGE_H_
#define RAFTKV_STORAGE_MVCC_RANGE_H_

// Reading versions: a cursor over the live keys of a range at one revision, and KV.Range by etcd's
// rules on top of it. Works on any View: a pinned engine, or an engine with a batch laid over it.

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/engine/engine.h"
#include "storage/mvcc/budget.h"
#include "storage/mvcc/layout.h"

namespace raftkv::mvcc {

// Walks the keys of `range` in order, each at its newest version at or below `revision`; deleted
// keys are passed over. Starts before the first:  while (cursor.Next()) use(cursor.key(), ...);
// Ends early when the budget is over, which its owner must then ask; none: no limit.
class VersionCursor {
 public:
  VersionCursor(const View& view, KeyRange range, Revision revision, Budget* budget = nullptr);

  bool Next();
  // To the next key even if it was deleted: its head does not exist then.
  bool NextOrDead();
  std::string key() const { return UserKey(prefix_); }
  const std::string& prefix() const { return prefix_; }
  const Head& head() const { return head_; }
  std::string_view value() const { return value_; }

 private:
  void PassKey();

  const KeyRange range_;
  const Revision revision_;
  const bool single_key_;  // never look behind it: its old versions may all be there, deleted
  Budget* const budget_;
  const std::unique_ptr<Iterator> it_;
  bool started_ = false;
  std::string prefix_;    // of the current key
  std::string seek_;      // reused
  bool charged_ = false;  // the current key
  Head head_;
  std::string_view value_;
};

// The store as one reader sees it.
struct ReadState {
  const View& view;
  Revision revision;   // the newest
  Revision compacted;  // the oldest that can be read; -1: all
};

mvccpb::KeyValue ToKeyValue(std::string key, const Head& head, std::string_view value);

// The errors of reading besides Budget::status: the first two OutOfRange as etcd, the other one
// ResourceExhausted.
absl::Status Compacted();
absl::Status FutureRevision();
absl::Status AnswerTooLarge();  // of an entry of the log: limits.h

// Compacted, FutureRevision or OK. Zero and below is the newest.
absl::Status CheckRevision(const ReadState& state, Revision revision);

// KV.Range. InvalidArgument, OutOfRange as etcd; the budget's when that is over. Sets only the
// revision in the header.
absl::Status Range(const ReadState& state, const etcdserverpb::RangeRequest& request,
                   Budget* budget, etcdserverpb::RangeResponse* response);
// The same for one key at the newest revision, where its state is known: null for no such key.
void AnswerPoint(Revision revision, const etcdserverpb::RangeRequest& request,
                 const mvccpb::KeyValue* kv, etcdserverpb::RangeResponse* response);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_RANGE_H_
