#include "storage/mvcc/txn.h"

#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "storage/base/mutant.h"

namespace raftkv::mvcc {
namespace {

using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::PutRequest;
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

// Whether one key satisfies it. A target_union of another kind than the target counts as unset, an
// unknown target as equal, an unknown result as satisfied: as etcd.
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

// No key at all: numbers are 0, and nothing can be said about its value.
bool SatisfiedByNone(const PbCompare& c) {
  if (RAFTKV_MUTANT("missing-value-is-empty")) return Satisfies(c, Head(), {});
  return c.target() != PbCompare::VALUE && Satisfies(c, Head(), {});
}

// --- one transaction

// Values of this many operations are within EntryBudget without a look at them.
constexpr int kValuesUncounted = 32;

class Transaction {
 public:
  Transaction(const ReadState& before, Writer* writer, Budget* budget)
      : before_(before), writer_(writer), budget_(budget) {
    if (writer_ != nullptr) budget_->ChargeWalks(&left_, before_.compacted);
  }

  absl::Status Run(const TxnRequest& request, TxnResponse* response) {
    absl::Status status = Choose(request);
    if (status.ok()) status = CheckTaken();
    if (status.ok()) status = Execute(request, response);
    if (status.ok()) response->mutable_header()->set_revision(RevisionNow());
    return status;
  }

 private:
  absl::Status Choose(const TxnRequest& request);
  absl::Status Holds(const PbCompare& compare, bool* holds);
  absl::Status CheckTaken();
  absl::Status CheckPut(const PutRequest& request);
  absl::Status CheckRange(const RangeRequest& request);
  absl::Status CheckLimits();
  absl::Status CheckValues();
  absl::Status Rehearse(const RangeRequest& request);
  absl::Status CheckDelete(const DeleteRangeRequest& request, int64_t later_ranges);
  absl::Status Execute(const TxnRequest& request, TxnResponse* response);
  absl::Status Execute(const RequestOp& op, ResponseOp* out);
  absl::Status Range(const RangeRequest& request, RangeResponse* response);

  Revision RevisionNow() const {
    return before_.revision + (writer_ != nullptr && writer_->changed() ? 1 : 0);
  }

  const ReadState& before_;
  Writer* const writer_;  // null: read-only
  Budget* const budget_;  // of a read-only one; else of the compares
  EntryBudget left_;
  // Whether each transaction of the taken tree succeeded, in the order of a walk from its root.
  std::vector<bool> path_;
  size_t executed_ = 0;                  // of path_
  std::vector<const RequestOp*> taken_;  // every operation that will run, but the nesting ones
};

absl::Status Transaction::Choose(const TxnRequest& request) {
  bool succeeded = true;
  for (const PbCompare& compare : request.compare()) {
    if (!budget_->Visit()) return budget_->status();
    if (absl::Status status = Holds(compare, &succeeded); !status.ok()) return status;
    if (!succeeded) break;
  }
  path_.push_back(succeeded);
  for (const RequestOp& op : succeeded ? request.success() : request.failure()) {
    if (!op.has_request_txn()) {
      taken_.push_back(&op);
    } else if (RAFTKV_MUTANT("compares-see-earlier-writes")) {
      continue;  // chosen when it is executed
    } else if (absl::Status status = Choose(op.request_txn()); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Transaction::Holds(const PbCompare& compare, bool* holds) {
  if (writer_ != nullptr && compare.range_end().empty()) {
    const Head head = writer_->HeadOf(compare.key());
    if (!head.exists()) {
      *holds = SatisfiedByNone(compare);
    } else if (compare.target() == PbCompare::VALUE) {
      *holds = Satisfies(compare, head, writer_->Load(compare.key(), head).value());
    } else {
      *holds = Satisfies(compare, head, {});
    }
    return absl::OkStatus();
  }
  VersionCursor cursor(before_.view, VersionRange(compare.key(), compare.range_end()),
                       before_.revision, budget_);
  bool any = false;
  *holds = true;
  while (*holds && cursor.Next()) {
    any = true;
    *holds = Satisfies(compare, cursor.head(), cursor.value());
  }
  if (budget_->over()) return budget_->status();
  if (!any) *holds = SatisfiedByNone(compare);
  return absl::OkStatus();
}

absl::Status Transaction::CheckTaken() {
  for (const RequestOp* op : taken_) {
    if (!op->has_request_put()) continue;
    if (absl::Status status = CheckPut(op->request_put()); !status.ok()) return status;
  }
  for (const RequestOp* op : taken_) {
    if (!op->has_request_range()) continue;
    if (absl::Status status = CheckRange(op->request_range()); !status.ok()) return status;
  }
  return writer_ == nullptr ? absl::OkStatus() : CheckLimits();
}

// What it takes, not what it asks for.
absl::Status Transaction::CheckLimits() {
  if (absl::Status status = CheckValues(); !status.ok()) return status;
  int64_t ranges = 0;
  for (const RequestOp* op : taken_) {
    if (!op->has_request_range()) continue;
    if (absl::Status status = Rehearse(op->request_range()); !status.ok()) return status;
    if (!op->request_range().range_end().empty()) ++ranges;
  }
  for (const RequestOp* op : taken_) {
    absl::Status status;
    if (op->has_request_delete_range()) {
      status = CheckDelete(op->request_delete_range(), /*later_ranges=*/ranges);
    } else if (op->has_request_range() && !op->request_range().range_end().empty()) {
      --ranges;
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Transaction::CheckDelete(const DeleteRangeRequest& request, int64_t later_ranges) {
  const int64_t before = left_.deleted_keys;
  absl::Status status = writer_->CheckDelete(request, before_.compacted, &left_);
  if (!status.ok()) return status;
  left_.walked_keys -= later_ranges * (before - left_.deleted_keys);
  return left_.walked_keys < 0 ? WalksTooFar() : absl::OkStatus();
}

absl::Status Transaction::CheckPut(const PutRequest& request) {
  if ((request.ignore_value() || request.ignore_lease()) &&
      !writer_->HeadOf(request.key()).exists()) {
    return absl::InvalidArgumentError("key not found");
  }
  // There are no leases yet, so none can be found.
  if (request.lease() != 0) return absl::NotFoundError("requested lease not found");
  return absl::OkStatus();
}

// What the operations on single keys answer or copy. A few values are within the limit however
// large.
absl::Status Transaction::CheckValues() {
  if (static_cast<int>(taken_.size()) <= kValuesUncounted) return absl::OkStatus();
  const auto charge = [&](const std::string& key) {
    if (const Head head = writer_->HeadOf(key); head.exists()) {
      left_.answer_bytes -= static_cast<int64_t>(writer_->Load(key, head).ByteSizeLong());
    }
  };
  int64_t put_bytes = 0, reads = 0;
  for (const RequestOp* op : taken_) {
    if (op->has_request_put()) {
      const PutRequest& put = op->request_put();
      put_bytes += static_cast<int64_t>(put.key().size() + put.value().size());
      if (put.prev_kv() || put.ignore_value()) charge(put.key());
    } else if (op->has_request_range()) {
      ++reads;
    } else if (op->request_delete_range().prev_kv() &&
               op->request_delete_range().range_end().empty()) {
      charge(op->request_delete_range().key());
    }
    if (left_.answer_bytes < 0) return AnswerTooLarge();
  }
  // Each read may see all that is put here.
  left_.answer_bytes -= put_bytes * reads;
  return left_.answer_bytes < 0 ? AnswerTooLarge() : absl::OkStatus();
}

absl::Status Transaction::CheckRange(const RangeRequest& request) {
  // Unlike Range alone, a transaction does not take every negative revision for the newest.
  const Revision revision = request.revision();
  if (absl::Status status = CheckRevision(before_, revision); !status.ok()) return status;
  return revision < 0 && revision < before_.compacted ? Compacted() : absl::OkStatus();
}

// For the size of the answer and of the walk.
absl::Status Transaction::Rehearse(const RangeRequest& request) {
  if (request.range_end().empty() && static_cast<int>(taken_.size()) <= kValuesUncounted) {
    return absl::OkStatus();
  }
  writer_->CompleteBatch();  // the counts of keys, which entries before may have changed
  Budget rehearsal({.bytes_max = left_.answer_bytes});
  if (!request.range_end().empty()) rehearsal.ChargeWalks(&left_, before_.compacted);
  RangeResponse ignored;
  absl::Status status = mvcc::Range(before_, request, &rehearsal, &ignored);
  left_.answer_bytes = rehearsal.bytes_left;
  if (left_.walked_keys < 0) return WalksTooFar();
  return absl::IsResourceExhausted(status) ? AnswerTooLarge() : status;
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
  if (!budget_->Visit()) return budget_->status();  // only reads have one
  switch (op.request_case()) {
    case RequestOp::kRequestTxn:
      return Execute(op.request_txn(), out->mutable_response_txn());
    case RequestOp::kRequestRange:
      return Range(op.request_range(), out->mutable_response_range());
    case RequestOp::kRequestPut:
      writer_->Put(op.request_put(), out->mutable_response_put());
      out->mutable_response_put()->mutable_header()->set_revision(RevisionNow());
      return absl::OkStatus();
    case RequestOp::kRequestDeleteRange:
      writer_->DeleteRange(op.request_delete_range(), out->mutable_response_delete_range());
      out->mutable_response_delete_range()->mutable_header()->set_revision(RevisionNow());
      return absl::OkStatus();
    case RequestOp::REQUEST_NOT_SET:
      break;
  }
  LOG(FATAL) << "an operation without a kind passed the checks";
}

absl::Status Transaction::Range(const RangeRequest& request, RangeResponse* response) {
  if (writer_ == nullptr) return mvcc::Range(before_, request, budget_, response);
  if (request.range_end().empty() && request.revision() <= 0) {
    const Head head = writer_->HeadOf(request.key());
    mvccpb::KeyValue kv;
    if (head.exists()) kv = writer_->Load(request.key(), head);
    AnswerPoint(RevisionNow(), request, head.exists() ? &kv : nullptr, response);
    return absl::OkStatus();
  }
  Budget unlimited;
  // What this transaction has created and deleted is counted too.
  if (!RAFTKV_MUTANT("txn-counts-the-state-before")) writer_->CompleteBatch();
  const absl::Status status = mvcc::Range(
      {before_.view, RAFTKV_MUTANT("txn-reads-the-state-before") ? before_.revision : RevisionNow(),
       before_.compacted},
      request, &unlimited, response);
  CHECK(status.ok()) << "a range that was checked fails: " << status;
  return status;
}

// --- how much a request looks at

// The values of this many single keys take no time that matters, however large. To know how large
// the others are, they are read once more.
constexpr int kValuesUnvisited = 4;

// All are false when the budget is over.
class Visits {
 public:
  Visits(Writer* writer, Budget* budget) : writer_(writer), budget_(budget) {}

  bool Of(const TxnRequest& request) {
    for (const PbCompare& c : request.compare()) {
      if (!Of(c.key(), c.range_end(), 0, c.target() == PbCompare::VALUE)) return false;
    }
    for (const Ops* ops : {&request.success(), &request.failure()}) {
      for (const RequestOp& op : *ops) {
        if (!Of(op)) return false;
      }
    }
    return true;
  }
  bool Of(const DeleteRangeRequest& request) {
    return Of(request.key(), request.range_end(), 0, request.prev_kv());
  }

 private:
  bool Of(const RequestOp& op) {
    switch (op.request_case()) {
      case RequestOp::kRequestTxn:
        return Of(op.request_txn());
      case RequestOp::kRequestRange:
        return Of(op.request_range().key(), op.request_range().range_end(),
                  op.request_range().revision(), true);
      case RequestOp::kRequestPut:
        return Of(op.request_put().key(), {}, 0,
                  op.request_put().prev_kv() || op.request_put().ignore_value());
      default:
        return Of(op.request_delete_range());
    }
  }
  bool Of(const std::string& key, const std::string& range_end, Revision revision, bool value) {
    if (!budget_->Visit()) return false;
    if (range_end.empty() && revision <= 0) {
      const Head head = writer_->HeadOf(key, budget_);
      if (budget_->over()) return false;
      if (value && ++values_ > kValuesUnvisited && head.exists()) {
        budget_->VisitBytes(writer_->Load(key, head).value().size());
      }
      return true;
    }
    VersionCursor cursor(writer_->view(), VersionRange(key, range_end),
                         revision > 0 ? revision : INT64_MAX, budget_);
    while (cursor.Next()) {
    }
    return !budget_->over();
  }

  Writer* const writer_;
  Budget* const budget_;
  int values_ = 0;
};

}  // namespace

absl::Status Txn(const ReadState& before, Writer* writer, const TxnRequest& request,
                 TxnResponse* response) {
  Budget unlimited;
  return Transaction(before, writer, &unlimited).Run(request, response);
}

absl::Status ReadOnlyTxn(const ReadState& state, const TxnRequest& request, Budget* budget,
                         TxnResponse* response) {
  return Transaction(state, nullptr, budget).Run(request, response);
}

bool Visit(Writer* writer, const TxnRequest& request, Budget* budget) {
  return Visits(writer, budget).Of(request);
}

bool Visit(Writer* writer, const DeleteRangeRequest& request, Budget* budget) {
  return Visits(writer, budget).Of(request);
}

}  // namespace raftkv::mvcc
