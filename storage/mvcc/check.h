#ifndef RAFTKV_STORAGE_MVCC_CHECK_H_
#define RAFTKV_STORAGE_MVCC_CHECK_H_

// Whether a KV request is well formed, as far as that does not depend on the store. The API checks
// requests before it reads or proposes; the state machine checks again, so that it never trusts the
// form of an entry. Errors are InvalidArgument with etcd's texts (etcd-compatible, without the
// "etcdserver: " prefix).

#include <cstdint>

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"

namespace raftkv::mvcc {

absl::Status Check(const etcdserverpb::RangeRequest& request);
absl::Status Check(const etcdserverpb::PutRequest& request);
absl::Status Check(const etcdserverpb::DeleteRangeRequest& request);

// Transactions nest at most this deep; the outermost is 1. More counts as too many operations. For
// an entry it is Rules::txn_depth_max.
inline constexpr int kTxnDepthMax = 32;
// All lists of a transaction together hold at most so many times what the outermost may. etcd has
// no such limit, and a small request could keep every member busy for minutes.
inline constexpr int64_t kTxnLevelsFull = 8;

// At each level the longest of the three lists counts against `ops_max`, and the rest is the limit
// of the nested transactions. One branch may put a key only once, and may not both put and delete
// it, unless a nested transaction puts it and a later nested transaction deletes it (as in etcd).
absl::Status Check(const etcdserverpb::TxnRequest& request, int64_t ops_max,
                   int depth_max = kTxnDepthMax);

// Whether no branch of it can change anything, so that it needs no log entry.
bool IsReadOnly(const etcdserverpb::TxnRequest& request);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_CHECK_H_
