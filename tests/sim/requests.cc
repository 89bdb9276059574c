#include "tests/sim/requests.h"

#include <algorithm>
#include <cstdlib>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"

namespace raftkv::sim {

using etcdserverpb::Compare;
using etcdserverpb::RangeRequest;
using etcdserverpb::TxnRequest;

namespace {

std::string KeyName(uint64_t number) { return absl::StrFormat("k%02d", number); }

}  // namespace

bool Requests::IsSearched(const proto::Command& command) {
  return command.put().key() == kSearched || command.delete_range().key() == kSearched;
}

bool Requests::IsSearched(const ReadQuery& query) {
  const auto* range = std::get_if<RangeRequest>(&query);
  return range != nullptr && range->key() == kSearched;
}

uint64_t Requests::SearchedValue(const StateMachine& state_machine) {
  RangeRequest request;
  request.set_key(std::string(kSearched));
  etcdserverpb::RangeResponse response;
  CHECK(state_machine.Snapshot()->Range(request, Limits(), &response).ok());
  return response.kvs().empty() ? 0 : std::strtoull(response.kvs(0).value().c_str(), nullptr, 10);
}

std::string Requests::Key() { return KeyName(rng_.Below(keys_)); }

std::string Requests::End(const std::string& key) {
  if (rng_.Chance(70 * kPercent)) return key + '\0';
  return std::max(key, Key()) + '\0';
}

std::string Requests::Value() {
  return absl::StrCat(history_.next(), ".", std::string(rng_.Below(200), 'x'));
}

Revision Requests::PastRevision() {
  if (rng_.Chance(5 * kPercent)) return history_.known_revision() + 1000;
  const Revision first = std::max<Revision>(
      rng_.Chance(80 * kPercent) ? history_.known_compacted() : history_.known_compacted() - 20, 1);
  return rng_.Between(std::min(first, history_.known_revision()), history_.known_revision());
}

proto::Command Requests::Put() {
  proto::Command command;
  const bool searched = rng_.Chance(search_);
  command.mutable_put()->set_key(searched ? std::string(kSearched) : Key());
  command.mutable_put()->set_value(Value());
  command.mutable_put()->set_prev_kv(rng_.Chance(30 * kPercent));
  if (!searched && rng_.Chance(leases_)) command.mutable_put()->set_lease(Lease());
  return command;
}

int64_t Requests::Lease() { return rng_.Between(1, 6); }

proto::Command Requests::LeaseGrant() {
  proto::Command command;
  command.mutable_lease_grant()->set_id(Lease());
  command.mutable_lease_grant()->set_ttl(rng_.Between(1, 4));
  return command;
}

proto::Command Requests::LeaseRevoke() {
  proto::Command command;
  command.mutable_lease_revoke()->set_id(Lease());
  return command;
}

proto::Command Requests::AlarmRaised() {
  proto::Command command;
  etcdserverpb::AlarmRequest& request = *command.mutable_change_alarm()->mutable_request();
  request.set_action(etcdserverpb::AlarmRequest::ACTIVATE);
  request.set_alarm(rng_.Chance(80 * kPercent) ? etcdserverpb::NOSPACE : etcdserverpb::CORRUPT);
  request.set_memberid(rng_.Below(4));
  return command;
}

proto::Command Requests::Delete() {
  proto::Command command;
  if (rng_.Chance(search_)) {
    command.mutable_delete_range()->set_key(std::string(kSearched));
  } else {
    *command.mutable_delete_range() = DeleteRange();
  }
  return command;
}

etcdserverpb::DeleteRangeRequest Requests::DeleteRange() {
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(Key());
  if (rng_.Chance(60 * kPercent)) request.set_range_end(End(request.key()));
  request.set_prev_kv(rng_.Chance(30 * kPercent));
  return request;
}

proto::Command Requests::Swap() {
  proto::Command command;
  TxnRequest& txn = *command.mutable_txn();
  Compare& compare = *txn.add_compare();
  compare.set_key(Key());
  compare.set_target(Compare::MOD);
  const Revision known = history_.known_mod(compare.key());
  compare.set_mod_revision(rng_.Chance(85 * kPercent) ? known : PastRevision());
  etcdserverpb::PutRequest& put = *txn.add_success()->mutable_request_put();
  put.set_key(compare.key());
  put.set_value(Value());
  txn.add_failure()->mutable_request_range()->set_key(compare.key());
  return command;
}

proto::Command Requests::Txn() {
  proto::Command command;
  TxnRequest& txn = *command.mutable_txn();
  FillCompares(&txn);
  if (rng_.Chance(10 * kPercent)) {
    FillPutAndDelete(txn.mutable_success());
  } else {
    FillOps(/*depth=*/1, txn.mutable_success());
  }
  FillOps(/*depth=*/1, txn.mutable_failure());
  return command;
}

void Requests::FillCompares(TxnRequest* txn) {
  for (uint64_t left = rng_.Below(3); left > 0; --left) {
    Compare& compare = *txn->add_compare();
    compare.set_key(Key());
    if (rng_.Chance(25 * kPercent)) compare.set_range_end(End(compare.key()));
    compare.set_result(static_cast<Compare::CompareResult>(rng_.Below(4)));
    compare.set_target(static_cast<Compare::CompareTarget>(rng_.Below(5)));
    switch (compare.target()) {
      case Compare::VERSION:
        compare.set_version(rng_.Between(0, 3));
        break;
      case Compare::CREATE:
        compare.set_create_revision(rng_.Chance(30 * kPercent) ? 0 : PastRevision());
        break;
      case Compare::MOD:
        compare.set_mod_revision(rng_.Chance(30 * kPercent) ? 0 : PastRevision());
        break;
      case Compare::VALUE:
        compare.set_value(absl::StrCat(rng_.Below(history_.next())));
        break;
      default:
        compare.set_lease(rng_.Between(0, 1));
    }
  }
}

void Requests::FillRange(RangeRequest* range) {
  range->set_key(Key());
  if (rng_.Chance(60 * kPercent)) range->set_range_end(End(range->key()));
  if (rng_.Chance(30 * kPercent)) range->set_revision(PastRevision());
  if (rng_.Chance(30 * kPercent)) range->set_limit(rng_.Between(1, 4));
  if (rng_.Chance(20 * kPercent)) range->set_count_only(true);
  if (rng_.Chance(20 * kPercent)) {
    range->set_sort_order(static_cast<RangeRequest::SortOrder>(rng_.Below(3)));
    range->set_sort_target(static_cast<RangeRequest::SortTarget>(rng_.Below(5)));
  }
  if (rng_.Chance(10 * kPercent)) range->set_min_mod_revision(PastRevision());
}

// Most lists change each key at most once. etcd rejects a transaction that puts a key twice, and
// the product must reject it, too.
void Requests::FillOps(int depth, Ops* ops) {
  for (uint64_t left = rng_.Between(0, 3); left > 0; --left) {
    etcdserverpb::RequestOp& op = *ops->Add();
    const uint64_t draw = rng_.Below(20);
    if (draw < 9) {
      etcdserverpb::PutRequest& put = *op.mutable_request_put();
      put.set_key(Key());
      put.set_prev_kv(rng_.Chance(30 * kPercent));
      put.set_ignore_value(rng_.Chance(10 * kPercent));
      if (!put.ignore_value()) put.set_value(Value());
      if (rng_.Chance(std::max(leases_ / 2, 2 * kPercent))) put.set_lease(rng_.Between(1, 7));
    } else if (draw < 12) {
      *op.mutable_request_delete_range() = DeleteRange();
    } else if (draw < 17 || depth > 2) {
      FillRange(op.mutable_request_range());
    } else {
      FillCompares(op.mutable_request_txn());
      FillOps(depth + 1, op.mutable_request_txn()->mutable_success());
      FillOps(depth + 1, op.mutable_request_txn()->mutable_failure());
    }
  }
}

// A put and a delete in nested transactions: the only way to change a key twice in one revision.
void Requests::FillPutAndDelete(Ops* ops) {
  etcdserverpb::PutRequest& put =
      *ops->Add()->mutable_request_txn()->add_success()->mutable_request_put();
  put.set_key(Key());
  put.set_value(Value());
  etcdserverpb::DeleteRangeRequest& del =
      *ops->Add()->mutable_request_txn()->add_success()->mutable_request_delete_range();
  del.set_key(put.key());
  del.set_prev_kv(true);
  FillRange(ops->Add()->mutable_request_range());
}

proto::Command Requests::Compaction() {
  proto::Command command;
  etcdserverpb::CompactionRequest& request = *command.mutable_compaction();
  if (rng_.Chance(20 * kPercent)) {
    request.set_revision(PastRevision());
  } else if (rng_.Chance(10 * kPercent)) {
    request.set_revision(history_.known_compacted());
  } else {
    request.set_revision(std::max<Revision>(history_.known_revision() - rng_.Between(0, 10), 0));
  }
  request.set_physical(rng_.Chance(50 * kPercent));
  return command;
}

ReadQuery Requests::Read() {
  if (rng_.Chance(search_)) {
    RangeRequest range;
    range.set_key(std::string(kSearched));
    return range;
  }
  if (rng_.Chance(75 * kPercent)) {
    RangeRequest range;
    FillRange(&range);
    return range;
  }
  TxnRequest txn;
  FillCompares(&txn);
  for (Ops* ops : {txn.mutable_success(), txn.mutable_failure()}) {
    for (uint64_t left = rng_.Between(0, 3); left > 0; --left) {
      FillRange(ops->Add()->mutable_request_range());
    }
  }
  return txn;
}

}  // namespace raftkv::sim
