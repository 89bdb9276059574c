#ifndef RAFTKV_STORAGE_MVCC_CHECK_H_
#define RAFTKV_STORAGE_MVCC_CHECK_H_

// Whether a KV request is well formed: what can be said without looking at the store. The edge asks
// before it reads or proposes; the state machine asks again, so that an entry is never trusted for
// its shape. Errors are InvalidArgument with etcd's texts (etcd-compatible, without the
// "etcdserver: " prefix).

#include <cstdint>

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"

namespace raftkv::mvcc {

absl::Status Check(const etcdserverpb::RangeRequest& request);
absl::Status Check(const etcdserverpb::PutRequest& request);
absl::Status Check(const etcdserverpb::DeleteRangeRequest& request);

// Transactions nest at most this deep; the outermost is 1. More counts as too many operations.
inline constexpr int kTxnDepthMax = 32;
// And the lists of all of them together hold at most as much as this many of the outermost may:
// etcd knows no such limit, and a small request could keep every member busy for minutes.
inline constexpr int64_t kTxnLevelsFull = 8;

// At each level the longest of the three lists counts against `ops_max`, and what is left is the
// limit of the transactions within. A key may be put once in what one branch may execute, and not
// where the same branch deletes, unless a transaction within puts it and a later one beside that
// deletes it (as in etcd).
absl::Status Check(const etcdserverpb::TxnRequest& request, int64_t ops_max);

// Whether no path through it can change anything, so that it needs no log entry.
bool IsReadOnly(const etcdserverpb::TxnRequest& request);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_CHECK_H_
