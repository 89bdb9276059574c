#ifndef RAFTKV_STORAGE_MVCC_TXN_H_
#define RAFTKV_STORAGE_MVCC_TXN_H_

// Implements KV.Put, DeleteRange and Txn by the rules of etcd 3.6. A single put or deletion is a
// transaction of one operation. After an error nothing is changed. So there are three passes:
//   choose   evaluates the compares of the whole tree of nested transactions, against the state
//            before the transaction, to decide which branches are taken;
//   measure  checks the operations of the taken branches: first every put (the key must exist if
//            the put keeps its value or lease; the put's lease must exist), then every range (its
//            revision must be readable), then the rules of the cluster version (rules/version.h).
//            To compute the cost, this pass reads what the operations will read;
//   execute  executes the taken operations in order; each sees the changes of those before it.
//
// The class is used for entries of the log, with a Writer, and for read-only transactions on a
// pinned state, without one. The answer to an entry must be the same on every member. So it never
// depends on the progress of the physical compaction, or on a local limit.

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/mvcc/range.h"
#include "storage/mvcc/writer.h"
#include "storage/rules/meter.h"

namespace raftkv::mvcc {

// Serves one request, which must have passed mvcc::Check and must outlive this object. Call Check
// and, if it returns OK, Execute with the same request. Execute sets only the revision in headers.
// It leaves the headers of transactions empty; the caller fills in the outermost one.
class Transaction {
 public:
  // With a null `writer` the request must be read-only (IsReadOnly). Otherwise `writer` and `meter`
  // must have begun the entry, and `before.view` must be the writer's view.
  Transaction(const ReadState& before, Writer* writer, Meter* meter)
      : before_(before), writer_(writer), meter_(meter) {}

  // Errors: etcd's InvalidArgument, NotFound and OutOfRange; the status of a meter that is over().
  absl::Status Check(const etcdserverpb::PutRequest& request);
  absl::Status Check(const etcdserverpb::DeleteRangeRequest& request);
  absl::Status Check(const etcdserverpb::TxnRequest& request);

  // With a writer, Execute cannot fail. Without one, its errors are those of mvcc::Range; discard
  // `response` after an error.
  absl::Status Execute(const etcdserverpb::PutRequest& request,
                       etcdserverpb::PutResponse* response);
  absl::Status Execute(const etcdserverpb::DeleteRangeRequest& request,
                       etcdserverpb::DeleteRangeResponse* response);
  absl::Status Execute(const etcdserverpb::TxnRequest& request,
                       etcdserverpb::TxnResponse* response);

 private:
  using Operation = std::variant<const etcdserverpb::PutRequest*, const etcdserverpb::RangeRequest*,
                                 const etcdserverpb::DeleteRangeRequest*>;

  absl::Status Choose(const etcdserverpb::TxnRequest& request);
  absl::Status Holds(const etcdserverpb::Compare& compare, bool* holds);

  absl::Status Measure();
  absl::Status CheckPut(const etcdserverpb::PutRequest& request);
  absl::Status CheckLease(const etcdserverpb::PutRequest& request);
  absl::Status CheckRevision(const etcdserverpb::RangeRequest& request);
  absl::Status CheckRules();
  bool MeasureValues();
  bool MeasuresValues() const { return taken_.size() > meter_->rules().values_unmeasured; }
  void MeasureKey(const std::string& key, bool value);
  absl::Status MeasureRange(const etcdserverpb::RangeRequest& request);
  absl::Status MeasureDelete(const etcdserverpb::DeleteRangeRequest& request, int64_t later_ranges);

  absl::Status Execute(const etcdserverpb::RequestOp& op, etcdserverpb::ResponseOp* out);
  absl::Status Execute(const etcdserverpb::RangeRequest& request,
                       etcdserverpb::RangeResponse* response);
  template <typename Request, typename Response>
  absl::Status ExecuteWithHeader(const Request& request, Response* response);

  // The store's revision for the operation that runs now.
  Revision RevisionNow() const {
    return before_.revision + (writer_ != nullptr && writer_->changed() ? 1 : 0);
  }

  const ReadState before_;
  Writer* const writer_;
  Meter* const meter_;
  bool alone_ = false;  // a single put or deletion, not in a transaction
  // Whether each taken transaction of the tree succeeded, in pre-order.
  std::vector<bool> path_;
  size_t executed_ = 0;                      // how many elements of path_ were executed
  absl::InlinedVector<Operation, 1> taken_;  // every operation that will run
  struct LeaseKeys {
    int64_t keys = 0;
    int64_t key_bytes = 0;
  };
  std::map<int64_t, LeaseKeys> attached_;  // what CheckLease has counted, by lease
  int values_ = 0;                         // values of single keys, counted by MeasureKey
};

// Runs a transaction that only reads, on a pinned state. Also sets the header's revision.
absl::Status ReadOnlyTxn(const ReadState& state, const etcdserverpb::TxnRequest& request,
                         Meter* meter, etcdserverpb::TxnResponse* response);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_TXN_H_
