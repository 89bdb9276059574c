#ifndef RAFTKV_STORAGE_MVCC_TXN_H_
#define RAFTKV_STORAGE_MVCC_TXN_H_

// KV.Txn by etcd's rules (etcd 3.6), in three passes, so that an error means that nothing
// happened:
//   choose   the compares of the whole tree, against the state before the transaction, say which
//            branches are taken;
//   check    what the taken operations ask for: first every put (its key exists if it keeps a part
//            of it, its lease exists), then every range (its revision can be read), then our own
//            limits (limits.h);
//   execute  in order; each operation sees what the ones before it changed.
//
// One implementation for both uses: within the log, with a Writer, and read-only on a pinned state.
// Within the log the answer is a part of the replicated state: it never depends on what physical
// compaction has left over, nor on a budget that a setting could change.

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/mvcc/range.h"
#include "storage/mvcc/writer.h"

namespace raftkv::mvcc {

// Both: the request passed Check (check.h). Set only revisions in headers, and none in the header
// of a nested transaction. After an error `response` holds nothing useful.

// Within an entry that `writer` has begun. `before.view` is writer->view(). InvalidArgument,
// NotFound, OutOfRange as etcd; ResourceExhausted beyond limits.h.
absl::Status Txn(const ReadState& before, Writer* writer, const etcdserverpb::TxnRequest& request,
                 etcdserverpb::TxnResponse* response);

// Nothing in the request may change anything (IsReadOnly). ResourceExhausted as Range.
absl::Status ReadOnlyTxn(const ReadState& state, const etcdserverpb::TxnRequest& request,
                         Budget* budget, etcdserverpb::TxnResponse* response);

// Visits every key that the request may, and one more for each operation and compare, and large
// values but for a few; heads that it needs are known to the writer then. False when the budget is
// over.
bool Visit(Writer* writer, const etcdserverpb::TxnRequest& request, Budget* budget);
bool Visit(Writer* writer, const etcdserverpb::DeleteRangeRequest& request, Budget* budget);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_TXN_H_
