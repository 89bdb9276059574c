#ifndef RAFTKV_STORAGE_MVCC_RANGE_PARTS_H_
#define RAFTKV_STORAGE_MVCC_RANGE_PARTS_H_

// The answer of KV.Range in parts, for KV.RangeStream. All parts show the same revision, although
// each one may be read in a newer state than the one before. So no state is pinned between two
// parts: if the revision is compacted meanwhile, the next part fails, as in etcd.

#include <cstdint>

#include "absl/status/status.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/range.h"
#include "storage/rules/meter.h"

namespace raftkv::mvcc {

// One answer and how much of it was read. Used by one thread at a time.
class RangeParts {
 public:
  // The answer must be in the order of the keys, without bounds of revisions (min_mod_revision and
  // so on).
  explicit RangeParts(etcdserverpb::RangeRequest request);

  // Reads the next part into `part`, which is empty. Its keys and values have at most `bytes_max`
  // bytes, or it has one key only. If a limit of the meter is reached, the part ends there, and may
  // be empty. The last part has the header's revision, `more` and `count`, too.
  //
  // The first `state` determines the revision; later states must not be older. Errors: OutOfRange
  // as etcd's Range; Cancelled if the reader has given up. Do not call it after an error or when
  // done().
  absl::Status Next(const ReadState& state, int64_t bytes_max, Meter* meter,
                    etcdserverpb::RangeResponse* part);
  // The last part was read.
  bool done() const { return done_; }

 private:
  void ReadKeys(const ReadState& state, int64_t bytes_max, Meter* meter,
                etcdserverpb::RangeResponse* part);

  const etcdserverpb::RangeRequest request_;
  KeyRange rest_;           // what was not read yet
  Revision revision_ = 0;   // the one that is read; 0: no part was read yet
  Revision newest_ = 0;     // of the first state
  int64_t keys_left_;       // of the request's limit
  int64_t keys_ = 0;        // that were read
  bool keys_done_ = false;  // no more keys belong to the answer
  bool more_ = false;       // because of the limit
  bool done_ = false;
};

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_RANGE_PARTS_H_
