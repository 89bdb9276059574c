#include "storage/state_snapshot.h"

#include <string>
#include <utility>

#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/history.h"
#include "storage/mvcc/txn.h"
#include "storage/tables/tables.h"

namespace raftkv {

StateSnapshot::StateSnapshot(std::shared_ptr<const View> view, const State& state)
    : view_(std::move(view)), state_(state) {}

absl::Status StateSnapshot::Range(const etcdserverpb::RangeRequest& request, const Limits& limits,
                                  etcdserverpb::RangeResponse* response) const {
  Meter meter(limits);
  return mvcc::Range(read_state(), request, &meter, response);
}

absl::Status StateSnapshot::Txn(const etcdserverpb::TxnRequest& request, const Limits& limits,
                                etcdserverpb::TxnResponse* response) const {
  if (absl::Status s = mvcc::Check(request, INT64_MAX); !s.ok()) return s;
  CHECK(mvcc::IsReadOnly(request)) << "a transaction that may change something needs the log";
  Meter meter(limits);
  return mvcc::ReadOnlyTxn(read_state(), request, &meter, response);
}

absl::StatusOr<StateSnapshot::KvHash> StateSnapshot::HashKv(
    Revision revision, const std::function<bool()>& give_up) const {
  if (absl::Status s = mvcc::CheckRevision(read_state(), revision); !s.ok()) return s;
  if (revision <= 0) revision = state_.revision;
  Meter meter({.give_up = give_up});
  const uint32_t hash = mvcc::HashHistory(*view_, state_.compacted, revision, &meter);
  if (meter.over()) return meter.status();
  return KvHash{.hash = hash, .compact_revision = state_.compacted, .hash_revision = revision};
}

absl::StatusOr<uint32_t> StateSnapshot::Hash(const std::function<bool()>& give_up) const {
  Meter meter({.give_up = give_up});
  std::string all;
  if (absl::Status s = Tables::Hash(*view_, state_, &meter, &all); !s.ok()) return s;
  return Crc32c(all);
}

}  // namespace raftkv
