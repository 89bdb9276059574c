#ifndef RAFTKV_STORAGE_MVCC_TXN_H_
#define RAFTKV_STORAGE_MVCC_TXN_H_

// KV.Put, DeleteRange and Txn by etcd's rules (etcd 3.6). A single put or deletion is a transaction
// of one operation. An error means that nothing was changed, so there are three passes:
//   choose   the compares of the whole tree, against the state before the transaction, decide which
//            branches are taken;
//   measure  what the taken operations ask for is checked: first every put (its key exists if it
//            keeps a part of it, its lease exists), then every range (its revision can be read),
//            then the rules of the cluster version (version.h), for which what they read is read;
//   execute  in order; each operation sees what the ones before it changed.
//
// One implementation for both uses: within the log, with a Writer, and read-only on a pinned state.
// Within the log the answer is a part of the replicated state: it never depends on what physical
// compaction has left, nor on a limit of this process.

#include <string>
#include <variant>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/meter.h"
#include "storage/mvcc/range.h"
#include "storage/mvcc/writer.h"

namespace raftkv::mvcc {

// For one request, which must have passed mvcc::Check and outlive this: Check, and if that is OK
// Execute with the same request. Sets only revisions in headers, and none in the header of a
// transaction: neither of a nested one nor of the outermost, which the caller completes.
class Transaction {
 public:
  // `writer` null: nothing in the request may change anything (IsReadOnly). Else it has begun the
  // entry, `before.view` is its view, and `meter` has begun the entry too.
  Transaction(const ReadState& before, Writer* writer, Meter* meter)
      : before_(before), writer_(writer), meter_(meter) {}

  // InvalidArgument, NotFound, OutOfRange as etcd; the meter's status when it is over.
  absl::Status Check(const etcdserverpb::PutRequest& request);
  absl::Status Check(const etcdserverpb::DeleteRangeRequest& request);
  absl::Status Check(const etcdserverpb::TxnRequest& request);

  // Cannot fail with a writer. Read-only: as Range, and then `response` is to be dropped.
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

  // As the operation that runs now sees it.
  Revision RevisionNow() const {
    return before_.revision + (writer_ != nullptr && writer_->changed() ? 1 : 0);
  }

  const ReadState before_;
  Writer* const writer_;
  Meter* const meter_;
  bool alone_ = false;  // one operation without a transaction around it
  // Whether each transaction of the taken tree succeeded, in the order of a walk from its root.
  std::vector<bool> path_;
  size_t executed_ = 0;                      // of path_
  absl::InlinedVector<Operation, 1> taken_;  // every operation that will run
  int values_ = 0;                           // of single keys that were measured or could have been
};

// A transaction that only reads, on a pinned state. Sets the header's revision too.
absl::Status ReadOnlyTxn(const ReadState& state, const etcdserverpb::TxnRequest& request,
                         Meter* meter, etcdserverpb::TxnResponse* response);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_TXN_H_
