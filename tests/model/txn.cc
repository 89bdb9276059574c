// The model's transactions: checks the shape of a request, finds which branches are taken, checks
// their operations, and computes the answer.

#include <algorithm>
#include <string>
#include <vector>

#include "tests/model/model.h"

namespace raftkv {
namespace {

using etcdserverpb::Compare;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using mvccpb::KeyValue;
using Ops = google::protobuf::RepeatedPtrField<RequestOp>;

constexpr int kDepthMax = 32;

absl::Status CheckShape(const TxnRequest& txn, int depth);

absl::Status CheckShape(const Ops& ops, int depth) {
  for (const RequestOp& op : ops) {
    absl::Status status;
    if (op.has_request_range()) {
      status = ModelCheck(op.request_range());
    } else if (op.has_request_put()) {
      status = ModelCheck(op.request_put());
    } else if (op.has_request_delete_range()) {
      if (op.request_delete_range().key().empty()) {
        status = absl::InvalidArgumentError("key is not provided");
      }
    } else if (op.has_request_txn()) {
      status = CheckShape(op.request_txn(), depth + 1);
    } else {
      status = absl::InvalidArgumentError("key not found");
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const TxnRequest& txn, int depth) {
  if (depth > kDepthMax) return absl::InvalidArgumentError("too many operations in txn request");
  for (const Compare& compare : txn.compare()) {
    if (compare.key().empty()) return absl::InvalidArgumentError("key is not provided");
  }
  if (absl::Status status = CheckShape(txn.success(), depth); !status.ok()) return status;
  return CheckShape(txn.failure(), depth);
}

// A put or a delete, and its position below one branch: the number of an operation, then 0 or 1 for
// the branch inside it, then the number of an operation there, and so on.
struct Write {
  std::vector<int> place;
  bool put = false;
  std::string key;
  std::string end;  // of a delete
};

void Collect(const Ops& ops, std::vector<int> place, std::vector<Write>* writes) {
  place.push_back(0);
  for (int i = 0; i < ops.size(); ++i) {
    place.back() = i;
    const RequestOp& op = ops[i];
    if (op.has_request_put()) {
      writes->push_back({place, true, op.request_put().key(), ""});
    } else if (op.has_request_delete_range()) {
      const auto& request = op.request_delete_range();
      writes->push_back({place, false, request.key(), request.range_end()});
    } else if (op.has_request_txn()) {
      place.push_back(0);
      Collect(op.request_txn().success(), place, writes);
      place.back() = 1;
      Collect(op.request_txn().failure(), place, writes);
      place.pop_back();
    }
  }
}

// Whether a put and another write must not be in the same request. Where their positions first
// differ, they are either in the two branches of one transaction, of which only one runs, or in two
// operations of one list. In the second case only one combination is allowed, as in etcd: a put
// inside one transaction, and a delete inside a later one.
bool Collide(const Write& put, const Write& other) {
  size_t parting = 0;
  while (put.place[parting] == other.place[parting]) ++parting;
  if (parting % 2 == 1) return false;
  if (other.put) return put.key == other.key;
  if (!InRange(put.key, other.key, other.end)) return false;
  const bool both_inside = put.place.size() > parting + 1 && other.place.size() > parting + 1;
  return !(both_inside && put.place[parting] < other.place[parting]);
}

bool ChangesAKeyTwice(const Ops& branch) {
  std::vector<Write> writes;
  Collect(branch, {}, &writes);
  for (const Write& put : writes) {
    if (!put.put) continue;
    for (const Write& other : writes) {
      if (&put != &other && Collide(put, other)) return true;
    }
  }
  return false;
}

template <typename T>
int ThreeWay(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

bool Holds(const Compare& compare, const KeyValue& kv) {
  int order = 0;
  if (compare.target() == Compare::VERSION) {
    order = ThreeWay(kv.version(), compare.version());
  } else if (compare.target() == Compare::CREATE) {
    order = ThreeWay(kv.create_revision(), compare.create_revision());
  } else if (compare.target() == Compare::MOD) {
    order = ThreeWay(kv.mod_revision(), compare.mod_revision());
  } else if (compare.target() == Compare::VALUE) {
    order = kv.value().compare(compare.value());
  } else if (compare.target() == Compare::LEASE) {
    order = ThreeWay(kv.lease(), compare.lease());
  }
  if (compare.result() == Compare::EQUAL) return order == 0;
  if (compare.result() == Compare::NOT_EQUAL) return order != 0;
  if (compare.result() == Compare::GREATER) return order > 0;
  if (compare.result() == Compare::LESS) return order < 0;
  return true;  // etcd's answer to a result it does not know
}

}  // namespace

absl::Status ModelCheck(const TxnRequest& request) {
  if (absl::Status status = CheckShape(request, 1); !status.ok()) return status;
  if (ChangesAKeyTwice(request.success()) || ChangesAKeyTwice(request.failure())) {
    return absl::InvalidArgumentError("duplicate key given in txn request");
  }
  return absl::OkStatus();
}

// Every key of the range must satisfy the compare. If there is no key, the compare is evaluated for
// a key that was never written, and no compare of its value is satisfied.
bool Model::Holds(const Compare& compare, int64_t revision) const {
  bool any = false;
  for (const auto& [key, versions] : keys_) {
    if (!InRange(key, compare.key(), compare.range_end())) continue;
    const KeyValue* kv = At(versions, revision);
    if (kv == nullptr) continue;
    any = true;
    if (!raftkv::Holds(compare, *kv)) return false;
  }
  return any || (compare.target() != Compare::VALUE && raftkv::Holds(compare, KeyValue()));
}

// Compares are evaluated at `revision`, the state before the transaction.
bool Model::Succeeds(const TxnRequest& txn, int64_t revision) const {
  return std::all_of(txn.compare().begin(), txn.compare().end(),
                     [&](const Compare& compare) { return Holds(compare, revision); });
}

Model::Taken Model::Take(const TxnRequest& txn, int64_t revision) const {
  Taken taken;
  for (const RequestOp& op : Succeeds(txn, revision) ? txn.success() : txn.failure()) {
    if (!op.has_request_txn()) {
      taken.push_back(&op);
      continue;
    }
    const Taken within = Take(op.request_txn(), revision);
    taken.insert(taken.end(), within.begin(), within.end());
  }
  return taken;
}

// Checks first every put, then every range. In a transaction, a revision below zero counts as
// compacted; outside of one it means the newest.
absl::Status Model::CheckTaken(const Taken& taken, const Moment& before) const {
  std::vector<const etcdserverpb::PutRequest*> puts;
  for (const RequestOp* op : taken) {
    if (!op->has_request_put()) continue;
    const etcdserverpb::PutRequest& put = op->request_put();
    puts.push_back(&put);
    if ((put.ignore_value() || put.ignore_lease()) && Find(put.key(), before.revision) == nullptr) {
      return absl::InvalidArgumentError("key not found");
    }
    if (absl::Status status = CheckLease(puts); !status.ok()) return status;
  }
  for (const RequestOp* op : taken) {
    if (!op->has_request_range() || op->request_range().revision() == 0) continue;
    if (op->request_range().revision() > before.revision) {
      return absl::OutOfRangeError("mvcc: required revision is a future revision");
    }
    if (op->request_range().revision() < before.compacted) {
      return absl::OutOfRangeError("mvcc: required revision has been compacted");
    }
  }
  return absl::OkStatus();
}

// A compare of a range walks up to the first key that does not satisfy it. A transaction evaluates
// its compares up to the first one that is not satisfied.
int64_t Model::WalkOfCompares(const TxnRequest& txn) const {
  int64_t walked = 0;
  for (const Compare& compare : txn.compare()) {
    for (const auto& [key, versions] : keys_) {
      if (compare.range_end().empty()) break;
      if (!InRange(key, compare.key(), compare.range_end())) continue;
      walked += Walk(key, versions, revision_);
      const KeyValue* kv = At(versions, revision_);
      if (kv != nullptr && !raftkv::Holds(compare, *kv)) break;
    }
    if (!Holds(compare, revision_)) break;
  }
  for (const RequestOp& op : Succeeds(txn, revision_) ? txn.success() : txn.failure()) {
    if (op.has_request_txn()) walked += WalkOfCompares(op.request_txn());
  }
  return walked;
}

int64_t Model::Walk(const TxnRequest& txn) const {
  int64_t walked = WalkOfCompares(txn), deleted_steps = 0;
  for (const RequestOp* op : Take(txn, revision_)) {
    if (op->has_request_delete_range()) {
      walked += Walk(op->request_delete_range(), &deleted_steps);
    } else if (op->has_request_range() && !op->request_range().range_end().empty()) {
      walked += Walk(op->request_range()) + deleted_steps;  // or it walks over deleted keys
    }
  }
  return walked;
}

void Model::Execute(const TxnRequest& txn, const Moment& before, Model* store,
                    etcdserverpb::TxnResponse* response) const {
  response->mutable_header();  // set, but empty in a nested transaction
  response->set_succeeded(Succeeds(txn, before.revision));
  for (const RequestOp& op : response->succeeded() ? txn.success() : txn.failure()) {
    Execute(op, before, store, response->add_responses());
  }
}

void Model::Execute(const RequestOp& op, const Moment& before, Model* store,
                    etcdserverpb::ResponseOp* response) const {
  if (op.has_request_range()) {
    const Moment now{store != nullptr ? store->Newest() : before.revision, before.compacted};
    // Checked before: cannot fail.
    Range(op.request_range(), now, response->mutable_response_range()).IgnoreError();
  } else if (op.has_request_txn()) {
    Execute(op.request_txn(), before, store, response->mutable_response_txn());
  } else if (op.has_request_put()) {
    store->Change(op.request_put(), response->mutable_response_put());
    response->mutable_response_put()->mutable_header()->set_revision(store->Newest());
  } else {
    store->Delete(op.request_delete_range(), response->mutable_response_delete_range());
    response->mutable_response_delete_range()->mutable_header()->set_revision(store->Newest());
  }
}

absl::Status Model::Txn(const TxnRequest& request, const Moment& at,
                        etcdserverpb::TxnResponse* response) const {
  if (absl::Status status = ModelCheck(request); !status.ok()) return status;
  if (absl::Status status = CheckTaken(Take(request, at.revision), at); !status.ok()) {
    return status;
  }
  Execute(request, at, nullptr, response);
  response->mutable_header()->set_revision(at.revision);
  return absl::OkStatus();
}

}  // namespace raftkv
