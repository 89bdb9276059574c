#ifndef RAFTKV_STORAGE_MVCC_CHECK_H_
#define RAFTKV_STORAGE_MVCC_CHECK_H_

// Checks whether a KV request is well formed, as far as that does not depend on the store. The API
// checks requests before it reads or proposes. The state machine checks again, because it does not
// trust the form of an entry. Errors are InvalidArgument with etcd's texts, without the
// "etcdserver: " prefix.

#include <cstdint>

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"

namespace raftkv::mvcc {

absl::Status Check(const etcdserverpb::RangeRequest& request);
absl::Status Check(const etcdserverpb::PutRequest& request);
absl::Status Check(const etcdserverpb::DeleteRangeRequest& request);

// The maximum depth of nested transactions; the outermost has depth 1. A deeper one is rejected as
// too many operations. For an entry the maximum is Rules::txn_depth_max.
inline constexpr int kTxnDepthMax = 32;
// All levels of a transaction together may have at most kTxnLevelsFull * `ops_max` operations. etcd
// has no such limit, so there a small request can keep every member busy for minutes.
inline constexpr int64_t kTxnLevelsFull = 8;

// At each level, the longest of the three lists (compares, success, failure) may have `ops_max`
// elements; what is left is the limit of the transactions nested in it. One branch may put a key
// only once, and may not both put and delete it. One exception, as in etcd: a nested transaction
// may put a key, and a later nested transaction may delete it.
absl::Status Check(const etcdserverpb::TxnRequest& request, int64_t ops_max,
                   int depth_max = kTxnDepthMax);

// Whether no branch of the transaction can change anything, so that it needs no log entry.
bool IsReadOnly(const etcdserverpb::TxnRequest& request);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_CHECK_H_
