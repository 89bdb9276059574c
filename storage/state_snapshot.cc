#include "storage/state_snapshot.h"

#include <optional>
#include <string>
#include <utility>

#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/history.h"
#include "storage/mvcc/leases.h"
#include "storage/mvcc/txn.h"
#include "storage/tables/tables.h"

namespace raftkv {

StateSnapshot::StateSnapshot(std::shared_ptr<const View> view, const State& state,
                             int64_t block_keys)
    : view_(std::move(view)), state_(state), block_keys_(block_keys) {}

absl::Status StateSnapshot::Range(const etcdserverpb::RangeRequest& request, const Limits& limits,
                                  etcdserverpb::RangeResponse* response) const {
  Meter meter(limits);
  return mvcc::Range(read_state(), request, &meter, response);
}

absl::Status StateSnapshot::NextPart(mvcc::RangeParts* parts, int64_t bytes_max,
                                     const Limits& limits,
                                     etcdserverpb::RangeResponse* part) const {
  Meter meter(limits);
  return parts->Next(read_state(), bytes_max, &meter, part);
}

absl::Status StateSnapshot::Txn(const etcdserverpb::TxnRequest& request, const Limits& limits,
                                etcdserverpb::TxnResponse* response) const {
  if (absl::Status s = mvcc::Check(request, INT64_MAX); !s.ok()) return s;
  CHECK(mvcc::IsReadOnly(request)) << "a transaction that may change something needs the log";
  Meter meter(limits);
  return mvcc::ReadOnlyTxn(read_state(), request, &meter, response);
}

absl::Status StateSnapshot::LeaseTimeToLive(const etcdserverpb::LeaseTimeToLiveRequest& request,
                                            const Limits& limits,
                                            etcdserverpb::LeaseTimeToLiveResponse* response) const {
  response->set_id(request.id());
  response->mutable_header()->set_revision(state_.revision);
  mvcc::Lease lease;
  const std::optional<std::string> record = view_->Get(mvcc::LeaseKey(request.id()));
  if (!record) {
    response->set_ttl(-1);
    return absl::OkStatus();
  }
  CHECK(mvcc::DecodeLease(*record, &lease)) << "the record of a lease is malformed";
  response->set_grantedttl(lease.ttl);
  if (!request.keys()) return absl::OkStatus();
  Meter meter(limits);
  const std::string end = mvcc::AttachedEnd(request.id());
  const std::unique_ptr<Iterator> it = view_->NewIterator(end, meter.skips_left());
  for (it->Seek(mvcc::AttachedPrefix(request.id())); it->valid(); it->Next()) {
    const std::string_view key = mvcc::AttachedKey(it->key());
    if (!meter.Step(key.size()) || !meter.Answer(static_cast<int64_t>(key.size()))) break;
    response->add_keys(key.data(), key.size());
  }
  return meter.over() ? meter.status() : absl::OkStatus();
}

absl::Status StateSnapshot::LeaseLeases(const etcdserverpb::LeaseLeasesRequest&,
                                        const Limits& limits,
                                        etcdserverpb::LeaseLeasesResponse* response) const {
  response->mutable_header()->set_revision(state_.revision);
  Meter meter(limits);
  const std::unique_ptr<Iterator> it =
      view_->NewIterator(mvcc::TableEnd(mvcc::kLeaseTable), meter.skips_left());
  for (it->Seek(std::string(1, mvcc::kLeaseTable)); it->valid(); it->Next()) {
    if (!meter.Step() || !meter.Answer(sizeof(int64_t))) break;
    response->add_leases()->set_id(mvcc::LeaseId(it->key()));
  }
  return meter.over() ? meter.status() : absl::OkStatus();
}

absl::StatusOr<Members> StateSnapshot::ReadMembers() const { return MemberTable::Read(*view_); }

absl::StatusOr<Alarms> StateSnapshot::ReadAlarms() const { return AlarmTable::Read(*view_); }

absl::StatusOr<StateSnapshot::KvHash> StateSnapshot::HashKv(
    Revision revision, const std::function<bool()>& give_up) const {
  if (absl::Status s = mvcc::CheckRevision(read_state(), revision); !s.ok()) return s;
  if (revision <= 0) revision = state_.revision;
  Meter meter({.give_up = give_up});
  const Revision left_by = state_.cluster_version < kHashKvVersion ? state_.compacted : revision;
  const uint32_t hash = mvcc::HashHistory(*view_, left_by, revision, &meter);
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
