#include "tests/compat/kv_generator.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::CompactionRequest;
using etcdserverpb::Compare;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::PutRequest;
using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using Ops = google::protobuf::RepeatedPtrField<RequestOp>;

constexpr int kOpsMax = 128;      // etcd's limit for one level of a transaction
constexpr int kOurDepthMax = 32;  // raftkv's limit for levels of nesting

const std::vector<std::string>& Keys() {
  static const std::vector<std::string> kKeys = {"a",
                                                 "ab",
                                                 std::string("ab\0", 3),
                                                 "b",
                                                 std::string("\0", 1),
                                                 "\xff",
                                                 "\xff\xff",
                                                 "/registry/pods",
                                                 "/registry/pods/a",
                                                 std::string("/registry/pods/a\0", 17),
                                                 "/registry/pods/b",
                                                 "/registry/pods/\xff"};
  return kKeys;
}

std::string FromKeyOn() { return std::string(1, '\0'); }

void AddPut(Ops* ops, const std::string& key, const std::string& value = "v") {
  PutRequest* put = ops->Add()->mutable_request_put();
  put->set_key(key);
  put->set_value(value);
}

void AddDelete(Ops* ops, const std::string& key, const std::string& range_end = "") {
  DeleteRangeRequest* removal = ops->Add()->mutable_request_delete_range();
  removal->set_key(key);
  removal->set_range_end(range_end);
}

void AddGet(Ops* ops, const std::string& key) { ops->Add()->mutable_request_range()->set_key(key); }

bool HasPut(const TxnRequest& txn);

bool HasPut(const Ops& ops) {
  return std::any_of(ops.begin(), ops.end(), [](const RequestOp& op) {
    return op.has_request_put() || (op.has_request_txn() && HasPut(op.request_txn()));
  });
}

bool HasPut(const TxnRequest& txn) { return HasPut(txn.success()) || HasPut(txn.failure()); }

// Replaces deletions of all keys from a key on by deletions of a range that covers all our keys.
void BoundDeletes(TxnRequest* txn) {
  for (Ops* ops : {txn->mutable_success(), txn->mutable_failure()}) {
    for (RequestOp& op : *ops) {
      if (op.has_request_txn()) BoundDeletes(op.mutable_request_txn());
      if (!op.has_request_delete_range()) continue;
      DeleteRangeRequest* removal = op.mutable_request_delete_range();
      if (removal->range_end() == FromKeyOn()) removal->set_range_end("\xff\xff\xff");
    }
  }
}

Ops* AddTxn(Ops* ops) { return ops->Add()->mutable_request_txn()->mutable_success(); }

}  // namespace

Request Generator::Next() {
  const int dice = Below(1000);
  if (dice < 325) return Put();
  if (dice < 415) return Delete();
  if (dice < 610) return Range();
  if (dice < 955) return Txn();
  return Compaction();
}

// --- parts

std::string Generator::Key() { return Keys()[Below(static_cast<int>(Keys().size()))]; }

std::string Generator::PresentKey() {
  if (store_.keys().empty()) return Key();
  return std::next(store_.keys().begin(), Below(static_cast<int>(store_.keys().size())))->first;
}

std::string Generator::MissingKey() {
  std::vector<std::string> missing;
  for (const std::string& key : Keys()) {
    if (!store_.Holds(key)) missing.push_back(key);
  }
  return missing.empty() ? Key() : missing[Below(static_cast<int>(missing.size()))];
}

std::string Generator::Value() { return Chance(6) ? "" : absl::StrCat("v", Below(30)); }

std::string Generator::RangeEnd(std::string key) {
  const int dice = Below(10);
  if (dice < 2) return "";
  if (dice < 4) return FromKeyOn();
  if (dice < 5) return key + "\xff";  // contains at least the key itself
  if (dice >= 8) return Key();        // often an empty range
  if (!key.empty()) ++key.back();     // all keys with this prefix
  return key;
}

int64_t Generator::PastRevision() {
  const int64_t span = store_.revision() - store_.compacted() + 1;
  const int64_t back = Chance(50) ? Below(std::min<int64_t>(span, 20)) : Below(span);
  return std::max<int64_t>(1, store_.revision() - back);
}

int64_t Generator::Revision() {
  const int dice = Below(100);
  if (dice < 45) return 0;
  if (dice < 49) return store_.revision();
  if (dice < 72) return PastRevision();
  if (dice < 77) return std::max<int64_t>(store_.compacted(), 1);
  if (dice < 84) return 1 + Below(std::max<int>(1, store_.compacted() - 1));
  if (dice < 92) return store_.revision() + 1 + Below(3);
  return -1 - Below(5);
}

int64_t Generator::Bound() {
  if (Chance(77)) return 0;
  // Mostly near the keys' revisions, so that the filter removes some keys and keeps others.
  return Chance(80) ? std::max<int64_t>(1, store_.revision() - Below(60)) : -1 - Below(3);
}

// --- single requests

RangeRequest Generator::Range() {
  RangeRequest request;
  if (Chance(8)) {  // a limit that cuts off sorted keys: chance alone would produce it too rarely
    request.set_key(FromKeyOn());
    request.set_range_end(FromKeyOn());
    request.set_limit(1 + Below(3));
    request.set_sort_order(static_cast<RangeRequest::SortOrder>(1 + Below(2)));
    request.set_sort_target(static_cast<RangeRequest::SortTarget>(Below(5)));
    request.set_serializable(Chance(30));
    return request;
  }
  request.set_key(Chance(4) ? "" : Key());
  if (Chance(15)) request.set_key(FromKeyOn());
  request.set_range_end(RangeEnd(request.key()));
  if (Chance(50)) request.set_limit(Below(6) - 1);
  request.set_revision(Revision());
  if (Chance(75)) request.set_sort_order(static_cast<RangeRequest::SortOrder>(Below(3)));
  if (Chance(75)) request.set_sort_target(static_cast<RangeRequest::SortTarget>(Below(5)));
  // Unknown orders only: an unknown target would crash etcd 3.4.
  if (Chance(4)) request.set_sort_order(static_cast<RangeRequest::SortOrder>(3 + Below(3)));
  request.set_serializable(Chance(30));
  request.set_keys_only(Chance(20));
  request.set_count_only(Chance(10));
  request.set_min_mod_revision(Bound());
  request.set_max_mod_revision(Bound());
  request.set_min_create_revision(Bound());
  request.set_max_create_revision(Bound());
  return request;
}

PutRequest Generator::Put() {
  PutRequest request;
  request.set_key(Key());
  request.set_value(Value());
  request.set_prev_kv(Chance(40));
  const int dice = Below(100);
  if (dice < 70) return request;
  if (dice < 75) {
    request.set_key("");
  } else if (dice < 80) {
    request.clear_value();
    request.set_ignore_value(true);
  } else if (dice < 84) {
    request.set_key(MissingKey());
    request.clear_value();
    request.set_ignore_value(true);
    request.set_ignore_lease(Chance(20));
  } else if (dice < 87) {
    request.set_value("given");
    request.set_ignore_value(true);
  } else if (dice < 91) {
    request.set_key(PresentKey());
    request.set_ignore_lease(true);
  } else if (dice < 94) {
    request.set_lease(1 + Below(100));
    request.set_ignore_lease(true);
  } else if (dice < 97) {
    request.set_lease(Below(100) - 50);
  } else if (Chance(60)) {
    request.set_value(std::string(1600 << 10, 'x'));  // larger than max_request_bytes
  } else {
    request.set_value(std::string(2200 << 10, 'x'));  // larger than gRPC's limit for messages
  }
  return request;
}

DeleteRangeRequest Generator::Delete() {
  DeleteRangeRequest request;
  request.set_key(Chance(6) ? "" : Chance(70) ? PresentKey() : Key());
  if (Chance(45)) request.set_range_end(RangeEnd(request.key()));
  request.set_prev_kv(Chance(50));
  return request;
}

CompactionRequest Generator::Compaction() {
  CompactionRequest request;
  const int dice = Below(100);
  const int64_t ahead = store_.revision() - store_.compacted();
  if (dice < 34 && ahead > 0) {
    request.set_revision(store_.compacted() + 1 + Below(ahead));
    request.set_physical(dice < 15);
  } else if (dice < 46) {
    request.set_revision(store_.revision());
    request.set_physical(Chance(30));
  } else if (dice < 56) {
    request.set_revision(store_.compacted());
  } else if (dice < 66) {
    request.set_revision(1 + Below(std::max<int>(1, store_.compacted())));
    request.set_physical(Chance(50));
  } else if (dice < 78) {
    request.set_revision(store_.revision() + 1 + Below(5));
  } else if (dice < 89) {
    request.set_revision(0);
  } else {
    request.set_revision(-1 - Below(5));
  }
  return request;
}

// --- transactions

TxnRequest Generator::Txn() {
  // etcd accepts a put beside a deletion of all keys from a key on, and raftkv rejects it
  // (differences.toml). If it took effect, the stores would differ. So it is generated only in a
  // branch that never runs.
  if (Chance(2)) return PutAndDeleteToTheEnd();
  TxnRequest request = Chance(54) ? Special() : AnyTree();
  if (HasPut(request)) BoundDeletes(&request);
  return request;
}

TxnRequest Generator::PutAndDeleteToTheEnd() {
  TxnRequest request;
  Compare* compare = request.add_compare();
  compare->set_key(Key());
  compare->set_target(Compare::VERSION);
  compare->set_version(-1);
  AddPut(request.mutable_success(), "b");
  AddDelete(request.mutable_success(), Chance(50) ? "a" : "b", FromKeyOn());
  return request;
}

TxnRequest Generator::AnyTree() {
  // A transaction may put a key only once, and must not delete it too. So the keys are divided into
  // those that it may put and those that it may delete, for all levels together.
  std::vector<std::string> keys = Keys();
  std::shuffle(keys.begin(), keys.end(), random_);
  const int puts = Below(static_cast<int>(keys.size()) + 1);
  to_put_.assign(keys.begin(), keys.begin() + puts);
  to_delete_.assign(keys.begin() + puts, keys.end());
  const int dice = Below(10);
  return Tree(dice < 5 ? 1 : dice < 8 ? 2 : 3);
}

TxnRequest Generator::Tree(int depth) {
  TxnRequest request;
  for (int left = Below(3); left > 0; --left) FillCompare(request.add_compare());
  FillBranch(request.mutable_success(), depth);
  FillBranch(request.mutable_failure(), depth);
  return request;
}

void Generator::FillBranch(Ops* ops, int depth) {
  for (int left = Below(4); left > 0; --left) {
    const int dice = Below(100);
    RequestOp* op = ops->Add();
    if (dice < 40 && !to_put_.empty()) {
      PutRequest* put = op->mutable_request_put();
      put->set_key(to_put_.back());
      put->set_value(Value());
      put->set_prev_kv(Chance(40));
      to_put_.pop_back();
      if (store_.Holds(put->key()) && Chance(10)) {
        put->set_ignore_value(true);
        put->clear_value();
      }
      if (store_.Holds(put->key()) && Chance(10)) put->set_ignore_lease(true);
    } else if (dice < 60 && !to_delete_.empty()) {
      DeleteRangeRequest* removal = op->mutable_request_delete_range();
      removal->set_key(to_delete_[Below(static_cast<int>(to_delete_.size()))]);
      removal->set_prev_kv(Chance(50));
      if (to_put_.empty() && Chance(50)) removal->set_range_end(RangeEnd(removal->key()));
    } else {
      *op->mutable_request_range() = RangeInTxn();
    }
  }
  if (depth <= 1) return;
  *ops->Add()->mutable_request_txn() = Tree(depth - 1);
  if (Chance(20)) ops->SwapElements(0, ops->size() - 1);
}

RangeRequest Generator::RangeInTxn() {
  RangeRequest request = Range();
  if (request.key().empty()) request.set_key(Key());
  // An error in one operation rejects the whole transaction, so most ranges here are valid.
  if (Chance(70)) request.clear_revision();
  if (request.revision() < 0) request.clear_revision();
  if (request.revision() > 0 && Chance(80)) request.set_revision(PastRevision());
  if (request.sort_order() > 2) request.clear_sort_order();
  return request;
}

void Generator::FillCompare(Compare* compare) {
  compare->set_result(static_cast<Compare::CompareResult>(Below(4)));
  compare->set_target(static_cast<Compare::CompareTarget>(Below(5)));
  compare->set_key(Chance(55) ? PresentKey() : MissingKey());
  if (Chance(25)) compare->set_range_end(RangeEnd(compare->key()));
  if (Chance(5)) return;  // without a value to compare with
  FillTarget(compare->key(), compare);
  if (Chance(3)) compare->set_version(1);  // the value may be of another target
}

// Often compares with the key's actual value, or with one close to it.
void Generator::FillTarget(const std::string& key, Compare* compare) {
  const auto found = store_.keys().find(key);
  const mvccpb::KeyValue kv = found == store_.keys().end() ? mvccpb::KeyValue() : found->second;
  const int64_t off = Chance(50) ? 0 : Below(3) - 1;
  switch (compare->target()) {
    case Compare::VERSION:
      return compare->set_version(kv.version() + off);
    case Compare::CREATE:
      return compare->set_create_revision(kv.create_revision() + off);
    case Compare::MOD:
      return compare->set_mod_revision(kv.mod_revision() + off);
    case Compare::VALUE:
      return compare->set_value(off == 0 ? kv.value() : Value());
    default:
      return compare->set_lease(off);
  }
}

TxnRequest Generator::Special() {
  const int dice = Below(100);
  if (dice < 26) return Malformed(Below(8));
  if (dice < 40) return Oversized(Below(6));
  if (dice < 75) return Twice(Below(13));
  if (dice < 88) return RejectedByTheStore(Below(4));
  return EdgeCase(Below(5));
}

TxnRequest Generator::Malformed(int form) {
  TxnRequest request;
  AddPut(request.mutable_failure(), Key());
  Ops* ops = request.mutable_success();
  switch (form) {
    case 0:
      FillCompare(request.add_compare());
      request.mutable_compare(0)->clear_key();
      break;
    case 1:
      AddGet(ops, "");
      break;
    case 2:
      AddPut(ops, "");
      break;
    case 3:
      AddDelete(ops, "", Chance(50) ? FromKeyOn() : "");
      break;
    case 4:
      AddPut(AddTxn(ops), "");
      break;
    case 5:
      (Chance(50) ? ops : AddTxn(ops))->Add();  // an empty operation
      break;
    case 6:
      AddPut(ops, Key(), "given");
      ops->rbegin()->mutable_request_put()->set_ignore_value(true);
      break;
    default:
      AddPut(ops, Key());
      ops->rbegin()->mutable_request_put()->set_lease(7);
      ops->rbegin()->mutable_request_put()->set_ignore_lease(true);
  }
  return request;
}

// The length of a level's longest list is subtracted from the limit of the levels nested in it.
TxnRequest Generator::Oversized(int form) {
  TxnRequest request;
  const int count = kOpsMax + 1 - (Chance(35) ? 1 : 0);  // one too many, or exactly the limit
  Ops* ops = form == 1 ? request.mutable_failure() : request.mutable_success();
  const std::string key = PresentKey();
  if (form < 2) {
    for (int i = 0; i < count; ++i) AddGet(ops, key);
  } else if (form == 2) {
    for (int i = 0; i < count; ++i) {
      Compare* compare = request.add_compare();
      compare->set_key(key);
      compare->set_target(Compare::VERSION);
      compare->set_result(Compare::GREATER);
    }
    AddPut(ops, key);
  } else if (form < 5) {
    Ops* within = AddTxn(ops);
    for (int i = 0; i < count - 10; ++i) AddGet(within, key);
    while (ops->size() < 10) AddGet(ops, key);
  } else {  // too deep for raftkv; only reads, because etcd accepts it
    const int depth = kOurDepthMax + 1 + Below(10);
    for (int i = 1; i < depth; ++i) ops = AddTxn(ops);
    AddGet(ops, key);
  }
  return request;
}

TxnRequest Generator::Twice(int form) {
  TxnRequest request;
  if (Chance(50)) FillCompare(request.add_compare());
  const bool success = Chance(50);
  Ops* ops = success ? request.mutable_success() : request.mutable_failure();
  const std::string key = Key(), other = Key();
  switch (form) {
    case 0:
      AddPut(ops, key, "one");
      AddPut(ops, key, "two");
      break;
    case 1:
      AddPut(ops, key);
      AddDelete(ops, key);
      break;
    case 2:
      AddDelete(ops, key, key + "\xff\xff");
      AddPut(ops, key);
      break;
    case 3:  // a range that may or may not contain the put key
      AddPut(ops, key);
      AddDelete(ops, other, RangeEnd(other));
      break;
    case 4:
      AddPut(ops, key);
      AddPut(AddTxn(ops), key);
      break;
    case 5:
      AddDelete(ops, key);
      AddPut(AddTxn(ops), key);
      break;
    case 6:
      AddPut(ops, key);
      AddDelete(AddTxn(ops), key);
      break;
    case 7:
      AddPut(AddTxn(ops), key, "one");
      AddPut(AddTxn(ops), key, "two");
      break;
    case 8: {  // one of the two puts, never both
      TxnRequest* within = ops->Add()->mutable_request_txn();
      FillCompare(within->add_compare());
      AddPut(within->mutable_success(), key, "one");
      AddPut(within->mutable_failure(), key, "two");
      break;
    }
    case 9:
    case 12:  // put by one child and deleted by the next, or the other way round
      AddPut(AddTxn(ops), key);
      AddDelete(AddTxn(ops), key);
      if (Chance(50)) ops->SwapElements(0, 1);
      break;
    case 10:
      AddDelete(ops, key);
      AddDelete(ops, other, RangeEnd(other));
      AddDelete(AddTxn(ops), key);
      break;
    default:  // the same key in both branches
      AddPut(request.mutable_success(), key, "one");
      AddPut(request.mutable_failure(), key, "two");
  }
  return request;
}

// Transactions that are rejected because of the store's state. No part of them may take effect.
TxnRequest Generator::RejectedByTheStore(int form) {
  TxnRequest request;
  const std::string missing = MissingKey();
  const std::string other = missing == "a" ? "ab" : "a";
  AddPut(request.mutable_success(), other);
  Ops* ops = Chance(70) ? request.mutable_success() : AddTxn(request.mutable_success());
  switch (form) {
    case 0:
      AddPut(ops, missing);
      ops->rbegin()->mutable_request_put()->set_lease(1 + Below(100));
      break;
    case 1:
      AddPut(ops, missing, "");
      ops->rbegin()->mutable_request_put()->set_ignore_value(true);
      break;
    case 2:
      AddGet(ops, other);
      ops->rbegin()->mutable_request_range()->set_revision(store_.revision() + 1 + Below(3));
      break;
    default:
      AddGet(ops, other);
      ops->rbegin()->mutable_request_range()->set_revision(
          1 + Below(std::max<int>(1, store_.compacted() - 1)));
  }
  return request;
}

TxnRequest Generator::EdgeCase(int form) {
  TxnRequest request;
  const std::string key = Key();
  if (form > 0) FillCompare(request.add_compare());
  switch (form) {
    case 0:  // empty, or only a condition
      if (Chance(30)) FillCompare(request.add_compare());
      break;
    case 1:  // only reads: makes no log entry
      for (int i = Below(3); i >= 0; --i) {
        *request.add_success()->mutable_request_range() = RangeInTxn();
        *request.add_failure()->mutable_request_range() = RangeInTxn();
      }
      break;
    case 2:  // only serializable reads: any member may answer
      for (Ops* ops : {request.mutable_success(), request.mutable_failure()}) {
        *ops->Add()->mutable_request_range() = RangeInTxn();
        ops->rbegin()->mutable_request_range()->set_serializable(true);
      }
      break;
    case 3:  // changes nothing
      AddDelete(request.mutable_success(), MissingKey() + "!");
      AddDelete(request.mutable_failure(), key + "!", key + "\"");
      break;
    default:  // reads what it wrote
      for (Ops* ops : {request.mutable_success(), request.mutable_failure()}) {
        AddGet(ops, key);
        Chance(50) ? AddPut(ops, key, Value()) : AddDelete(ops, key);
        AddGet(ops, key);
        *ops->Add()->mutable_request_range() = RangeInTxn();
      }
  }
  return request;
}

}  // namespace raftkv::e2e
