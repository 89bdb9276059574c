#include "storage/mvcc/txn.h"

#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "storage/base/mutant.h"

namespace raftkv::mvcc {
namespace {

using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::DeleteRangeResponse;
using etcdserverpb::PutRequest;
using etcdserverpb::PutResponse;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::RequestOp;
using etcdserverpb::ResponseOp;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;
using PbCompare = etcdserverpb::Compare;
using Ops = google::protobuf::RepeatedPtrField<RequestOp>;

// --- compares

int ThreeWay(int64_t a, int64_t b) { return a < b ? -1 : a > b; }

// Whether one key satisfies the compare. As in etcd, a target_union of another kind than the target
// is treated as unset, an unknown target as equal, and an unknown result as satisfied.
bool Satisfies(const PbCompare& c, const Head& head, std::string_view value) {
  int order = 0;
  switch (c.target()) {
    case PbCompare::VERSION:
      order = ThreeWay(head.version, c.version());
      break;
    case PbCompare::CREATE:
      order = ThreeWay(head.create_revision, c.create_revision());
      break;
    case PbCompare::MOD:
      order = ThreeWay(head.mod_revision, c.mod_revision());
      break;
    case PbCompare::VALUE:
      order = value.compare(c.value());
      break;
    case PbCompare::LEASE:
      order = ThreeWay(head.lease, c.lease());
      break;
    default:
      break;
  }
  switch (c.result()) {
    case PbCompare::EQUAL:
      return order == 0;
    case PbCompare::NOT_EQUAL:
      return order != 0;
    case PbCompare::GREATER:
      return order > 0;
    case PbCompare::LESS:
      return order < 0;
    default:
      return true;
  }
}

// Whether a key that does not exist satisfies the compare: its numbers are 0, and no compare of its
// value is satisfied.
bool SatisfiedByNone(const PbCompare& c) {
  if (RAFTKV_MUTANT("missing-value-is-empty")) return Satisfies(c, Head(), {});
  return c.target() != PbCompare::VALUE && Satisfies(c, Head(), {});
}

// --- measuring

// The first values of an entry, up to this number, are not charged to local limits, because reading
// or copying them takes very little time.
constexpr int kValuesUncharged = 4;

bool KeepsAPart(const PutRequest& put) { return put.ignore_value() || put.ignore_lease(); }
bool ReadsTheValue(const PutRequest& put) { return put.prev_kv() || put.ignore_value(); }

template <typename Request>
const Request* As(const auto& operation) {
  const auto* request = std::get_if<const Request*>(&operation);
  return request == nullptr ? nullptr : *request;
}

}  // namespace

absl::Status Transaction::Check(const PutRequest& request) {
  alone_ = true;
  taken_.emplace_back(&request);
  return Measure();
}

absl::Status Transaction::Check(const DeleteRangeRequest& request) {
  alone_ = true;
  taken_.emplace_back(&request);
  return Measure();
}

absl::Status Transaction::Check(const TxnRequest& request) {
  if (absl::Status status = Choose(request); !status.ok()) return status;
  return Measure();
}

absl::Status Transaction::Choose(const TxnRequest& request) {
  bool succeeded = true;
  for (const PbCompare& compare : request.compare()) {
    if (!meter_->Step()) return meter_->status();
    if (absl::Status status = Holds(compare, &succeeded); !status.ok()) return status;
    if (!succeeded) break;
  }
  path_.push_back(succeeded);
  for (const RequestOp& op : succeeded ? request.success() : request.failure()) {
    if (op.has_request_put()) {
      taken_.emplace_back(&op.request_put());
    } else if (op.has_request_range()) {
      taken_.emplace_back(&op.request_range());
    } else if (op.has_request_delete_range()) {
      taken_.emplace_back(&op.request_delete_range());
    } else if (RAFTKV_MUTANT("compares-see-earlier-writes")) {
      continue;  // the mutant chooses it when it is executed
    } else if (absl::Status status = Choose(op.request_txn()); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Transaction::Holds(const PbCompare& compare, bool* holds) {
  if (writer_ != nullptr && compare.range_end().empty()) {
    const Head head = writer_->HeadOf(compare.key(), meter_);
    if (meter_->over()) return meter_->status();
    if (!head.exists()) {
      *holds = SatisfiedByNone(compare);
    } else if (compare.target() == PbCompare::VALUE) {
      const mvccpb::KeyValue kv = writer_->Load(compare.key(), head);
      meter_->Bytes(kv.value().size());
      *holds = Satisfies(compare, head, kv.value());
    } else {
      *holds = Satisfies(compare, head, {});
    }
    return absl::OkStatus();
  }
  VersionCursor cursor(before_.view, VersionRange(compare.key(), compare.range_end()),
                       before_.revision, meter_);
  bool any = false;
  *holds = true;
  while (*holds && cursor.Next()) {
    any = true;
    *holds = Satisfies(compare, cursor.head(), cursor.value());
  }
  if (meter_->over()) return meter_->status();
  if (!any) *holds = SatisfiedByNone(compare);
  return absl::OkStatus();
}

// The order of the checks decides which error is returned, so it never changes: first those of etcd
// in etcd's order, then the rules in the order of the first release.
absl::Status Transaction::Measure() {
  for (const Operation& operation : taken_) {
    const auto* put = As<PutRequest>(operation);
    if (put == nullptr) continue;
    if (absl::Status status = CheckPut(*put); !status.ok()) return status;
  }
  for (const Operation& operation : taken_) {
    const auto* range = As<RangeRequest>(operation);
    if (range == nullptr) continue;
    if (absl::Status status = CheckRevision(*range); !status.ok()) return status;
  }
  return writer_ == nullptr ? absl::OkStatus() : CheckRules();
}

absl::Status Transaction::CheckPut(const PutRequest& request) {
  // As in etcd: a single put checks its lease first, a put in a transaction checks it last.
  if (alone_) {
    if (absl::Status status = CheckLease(request); !status.ok()) return status;
  }
  if (KeepsAPart(request)) {
    const Head head = writer_->HeadOf(request.key(), meter_);
    if (meter_->over()) return meter_->status();
    if (!head.exists()) return absl::InvalidArgumentError("key not found");
  }
  return alone_ ? absl::OkStatus() : CheckLease(request);
}

// The lease must exist, and the keys that the transaction attaches to it must be within its limits.
// Deletions of the same transaction are not subtracted.
absl::Status Transaction::CheckLease(const PutRequest& request) {
  if (request.lease() == 0) return absl::OkStatus();
  const Lease* lease = writer_->leases().Find(request.lease());
  if (lease == nullptr) return LeaseNotFound();
  const Head head = writer_->HeadOf(request.key(), meter_);
  if (meter_->over()) return meter_->status();
  if (head.lease == request.lease()) return absl::OkStatus();
  LeaseKeys& attached = attached_[request.lease()];
  ++attached.keys;
  attached.key_bytes += static_cast<int64_t>(request.key().size());
  return Leases::CheckRoom(*lease, attached.keys, attached.key_bytes, meter_->rules());
}

absl::Status Transaction::CheckRevision(const RangeRequest& request) {
  // As in etcd: unlike a single Range, a transaction does not treat every negative revision as the
  // newest one.
  const Revision revision = request.revision();
  if (absl::Status status = mvcc::CheckRevision(before_, revision); !status.ok()) return status;
  return revision < 0 && revision < before_.compacted ? Compacted() : absl::OkStatus();
}

// Checks single keys, then ranges, then deletions of ranges.
absl::Status Transaction::CheckRules() {
  if (!MeasureValues()) return meter_->status();
  int64_t ranges = 0;
  for (const Operation& operation : taken_) {
    const auto* range = As<RangeRequest>(operation);
    if (range == nullptr) continue;
    if (absl::Status status = MeasureRange(*range); !status.ok()) return status;
    if (!range->range_end().empty()) ++ranges;
  }
  for (const Operation& operation : taken_) {
    if (const auto* request = As<DeleteRangeRequest>(operation)) {
      absl::Status status = MeasureDelete(*request, /*later_ranges=*/ranges);
      if (!status.ok()) return status;
    } else if (const auto* range = As<RangeRequest>(operation)) {
      if (!range->range_end().empty()) --ranges;
    }
  }
  return absl::OkStatus();
}

// Charges what puts and deletions of single keys read and answer. False: over.
bool Transaction::MeasureValues() {
  int64_t put_bytes = 0, reads = 0;
  for (const Operation& operation : taken_) {
    if (As<RangeRequest>(operation) != nullptr) {
      ++reads;
      continue;
    }
    if (!meter_->Step()) return false;
    if (const auto* put = As<PutRequest>(operation)) {
      put_bytes += static_cast<int64_t>(put->key().size() + put->value().size());
      MeasureKey(put->key(), ReadsTheValue(*put));
    } else {
      const auto& request = *std::get<const DeleteRangeRequest*>(operation);
      if (request.range_end().empty()) MeasureKey(request.key(), request.prev_kv());
    }
    if (meter_->over()) return false;
  }
  if (!MeasuresValues()) return true;
  // Each range may return all keys and values that this transaction puts.
  return meter_->Answer(put_bytes * reads);
}

// Charges the read of one key at the newest revision, and of its value if `value`. Executing will
// read them anyway, so nothing is read here if the result would not be used.
void Transaction::MeasureKey(const std::string& key, bool value) {
  const bool answer = value && MeasuresValues();
  if (!answer && !meter_->limited()) return;
  const Head head = writer_->HeadOf(key, meter_);
  if (!value || meter_->over() || !head.exists()) return;
  if (!answer && ++values_ <= kValuesUncharged) return;
  const mvccpb::KeyValue kv = writer_->Load(key, head);
  meter_->Bytes(kv.value().size());
  if (answer) meter_->Answer(static_cast<int64_t>(kv.ByteSizeLong()));
}

// Runs the range and discards the answer, to charge the answer's bytes and the keys that it walks.
absl::Status Transaction::MeasureRange(const RangeRequest& request) {
  if (!meter_->Step()) return meter_->status();
  if (request.range_end().empty() && !MeasuresValues()) {
    if (request.revision() <= 0) {
      MeasureKey(request.key(), /*value=*/true);
    } else if (meter_->limited()) {
      VersionCursor cursor(before_.view, VersionRange(request.key(), {}), request.revision(),
                           meter_);
      cursor.Next();
    }
    return meter_->over() ? meter_->status() : absl::OkStatus();
  }
  // Earlier entries of the batch may have changed the counts of keys, which the range reads.
  writer_->CompleteBatch();
  RangeResponse dropped;
  return mvcc::Range(before_, request, meter_, &dropped);
}

absl::Status Transaction::MeasureDelete(const DeleteRangeRequest& request, int64_t later_ranges) {
  const int64_t before = meter_->deleted_steps();
  if (absl::Status status = writer_->CheckDelete(request, meter_); !status.ok()) return status;
  // Later ranges may have to pass the tombstones.
  if (meter_->Walk(later_ranges * (meter_->deleted_steps() - before))) return absl::OkStatus();
  return meter_->status();
}

// --- executing

template <typename Request, typename Response>
absl::Status Transaction::ExecuteWithHeader(const Request& request, Response* response) {
  if (absl::Status status = Execute(request, response); !status.ok()) return status;
  response->mutable_header()->set_revision(RevisionNow());
  return absl::OkStatus();
}

absl::Status Transaction::Execute(const PutRequest& request, PutResponse* response) {
  writer_->Put(request, response);
  return absl::OkStatus();
}

absl::Status Transaction::Execute(const DeleteRangeRequest& request,
                                  DeleteRangeResponse* response) {
  writer_->DeleteRange(request, response);
  return absl::OkStatus();
}

absl::Status Transaction::Execute(const TxnRequest& request, TxnResponse* response) {
  response->mutable_header();
  if (RAFTKV_MUTANT("compares-see-earlier-writes") && executed_ == path_.size()) {
    if (absl::Status s = Choose(request); !s.ok()) return s;
  }
  const bool succeeded = path_[executed_++];
  response->set_succeeded(succeeded);
  const Ops& ops = succeeded ? request.success() : request.failure();
  response->mutable_responses()->Reserve(ops.size());
  for (const RequestOp& op : ops) {
    if (absl::Status s = Execute(op, response->add_responses()); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status Transaction::Execute(const RequestOp& op, ResponseOp* out) {
  if (writer_ == nullptr && !meter_->Step()) return meter_->status();
  switch (op.request_case()) {
    case RequestOp::kRequestTxn:
      return Execute(op.request_txn(), out->mutable_response_txn());
    case RequestOp::kRequestRange:
      return Execute(op.request_range(), out->mutable_response_range());
    case RequestOp::kRequestPut:
      return ExecuteWithHeader(op.request_put(), out->mutable_response_put());
    case RequestOp::kRequestDeleteRange:
      return ExecuteWithHeader(op.request_delete_range(), out->mutable_response_delete_range());
    case RequestOp::REQUEST_NOT_SET:
      break;
  }
  LOG(FATAL) << "an operation without a kind passed the checks";
}

absl::Status Transaction::Execute(const RangeRequest& request, RangeResponse* response) {
  if (writer_ == nullptr) return mvcc::Range(before_, request, meter_, response);
  if (request.range_end().empty() && request.revision() <= 0) {
    const Head head = writer_->HeadOf(request.key());
    mvccpb::KeyValue kv;
    if (head.exists()) kv = writer_->Load(request.key(), head);
    AnswerPoint(RevisionNow(), request, head.exists() ? &kv : nullptr, response);
    return absl::OkStatus();
  }
  Meter unlimited;  // the range was measured before
  // Counts must include what this transaction has created and deleted.
  if (!RAFTKV_MUTANT("txn-counts-the-state-before")) writer_->CompleteBatch();
  const absl::Status status = mvcc::Range(
      {before_.view, RAFTKV_MUTANT("txn-reads-the-state-before") ? before_.revision : RevisionNow(),
       before_.compacted},
      request, &unlimited, response);
  CHECK(status.ok()) << "a range that was checked fails: " << status;
  return status;
}

absl::Status ReadOnlyTxn(const ReadState& state, const TxnRequest& request, Meter* meter,
                         TxnResponse* response) {
  Transaction transaction(state, /*writer=*/nullptr, meter);
  absl::Status status = transaction.Check(request);
  if (status.ok()) status = transaction.Execute(request, response);
  if (status.ok()) response->mutable_header()->set_revision(state.revision);
  return status;
}

}  // namespace raftkv::mvcc
