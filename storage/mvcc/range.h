#ifndef RAFTKV_STORAGE_MVCC_RANGE_H_
#define RAFTKV_STORAGE_MVCC_RANGE_H_

// Reading versions: a cursor over the live keys of a range at one revision, and KV.Range by etcd's
// rules on top of it. Works on any View: a pinned engine, or an engine with a batch laid over it.

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/engine.h"
#include "storage/mvcc/layout.h"

namespace raftkv {

// How much one read may do before it must stop (design: inline budget). The defaults are "no
// limit".
struct ReadBudget {
  int64_t visited_keys_max = INT64_MAX;
  int64_t bytes_max = INT64_MAX;
};

namespace mvcc {

// Walks the keys of `range` in order, each at its newest version at or below `revision`; deleted
// keys are passed over. Starts before the first:  while (cursor.Next()) use(cursor.key(), ...);
// Ends early after `visited_max` keys, deleted ones counted too; then exhausted() is true.
class VersionCursor {
 public:
  VersionCursor(const View& view, KeyRange range, Revision revision,
                int64_t visited_max = INT64_MAX);

  bool Next();
  std::string key() const { return UserKey(prefix_); }
  const std::string& prefix() const { return prefix_; }
  const Head& head() const { return head_; }
  std::string_view value() const { return value_; }
  bool exhausted() const { return exhausted_; }
  int64_t visits_left() const { return visits_left_; }

 private:
  void PassKey();

  const KeyRange range_;
  const Revision revision_;
  const std::unique_ptr<Iterator> it_;
  bool started_ = false;
  bool exhausted_ = false;
  int64_t visits_left_;
  std::string prefix_;  // of the current key
  std::string seek_;    // reused
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

// The errors of reading: the first two OutOfRange as etcd, the others ResourceExhausted.
absl::Status Compacted();
absl::Status FutureRevision();
absl::Status ReadBudgetExhausted();
absl::Status AnswerTooLarge();  // of an entry of the log: limits.h

// Compacted, FutureRevision or OK. Zero and below is the newest.
absl::Status CheckRevision(const ReadState& state, Revision revision);

// KV.Range. InvalidArgument, OutOfRange as etcd. ResourceExhausted "read budget": see
// state_machine.h. Takes what it used from the budget. Sets only the revision in the header.
absl::Status Range(const ReadState& state, const etcdserverpb::RangeRequest& request,
                   ReadBudget* left, etcdserverpb::RangeResponse* response);
// The same for one key at the newest revision, where its state is known: null for no such key.
void AnswerPoint(Revision revision, const etcdserverpb::RangeRequest& request,
                 const mvccpb::KeyValue* kv, etcdserverpb::RangeResponse* response);

}  // namespace mvcc
}  // namespace raftkv

#endif  // RAFTKV_STORAGE_MVCC_RANGE_H_
