#include "tests/model/random_requests.h"

#include <algorithm>
#include <iterator>

namespace raftkv {

using etcdserverpb::Compare;
using etcdserverpb::RangeRequest;
using etcdserverpb::TxnRequest;

std::string RandomRequests::Key() {
  if (many_keys_ > 0) return "k" + std::to_string(Below(many_keys_));
  if (OneIn(300)) return "";
  static const std::string kAlphabet("\0\1ab\xff", 5);
  // A third of the keys begin with one of these prefixes, or are equal to one.
  static const std::string kPrefixes[] = {"/registry/pods/", "/registry/pods/default/"};
  std::string key;
  if (OneIn(3)) key = kPrefixes[Below(2)];
  for (int64_t i = key.empty() + Below(2) + OneIn(20); i > 0; --i) key += kAlphabet[Below(5)];
  return key;
}

std::string RandomRequests::RangeEnd(std::string key) {
  switch (Below(6)) {
    case 0:
      return "";
    case 1:
      return std::string(1, '\0');
    case 2:
    case 3:
      if (!key.empty()) ++key.back();  // its prefix
      return key;
    default:
      return Key();
  }
}

std::string RandomRequests::Value() {
  if (OneIn(10)) return "";
  return std::string(Below(40), static_cast<char>('a' + Below(9)));
}

int64_t RandomRequests::Revision(const Model::Moment& now) {
  if (OneIn(10)) return Below(now.revision + 3) - 2;
  const int64_t first = std::max<int64_t>(now.compacted, 1);
  return first - OneIn(20) + Below(now.revision - first + 1);
}

// --- commands

proto::Command RandomRequests::Command(const Model::Moment& now) {
  proto::Command command;
  const int64_t kind = Below(1000);
  if (kind < 640) {
    FillPut(command.mutable_put());
  } else if (kind < 780) {
    FillDelete(command.mutable_delete_range());
  } else if (kind < 970) {
    if (OneIn(60)) {
      *command.mutable_txn() = DeepTxn();
    } else {
      FillTxn(now, /*depth=*/1, command.mutable_txn());
    }
  } else if (kind < 985) {
    etcdserverpb::CompactionRequest& request = *command.mutable_compaction();
    switch (Below(8)) {
      case 0:
        request.set_revision(now.compacted);
        break;
      case 1:
        request.set_revision(now.revision + Below(2));
        break;
      case 2:
        request.set_revision(Below(now.revision + 3) - 2);
        break;
      default:
        request.set_revision(std::min(now.revision, now.compacted + 1 + Below(300)));
    }
    request.set_physical(OneIn(2));
  } else {
    proto::RecordStoreId& record = *command.mutable_record_store_id();
    record.set_member_id(1 + Below(3));
    record.set_store_id(std::string(16, static_cast<char>('a' + Below(2))));
  }
  return command;
}

// Mostly ends an alarm if there is one, so that most other commands are not denied.
proto::Command RandomRequests::AlarmCommand(const Model& model) {
  using etcdserverpb::AlarmRequest;
  proto::Command command;
  proto::ChangeAlarm& change = *command.mutable_change_alarm();
  change.set_by_member(OneIn(3));
  AlarmRequest& request = *change.mutable_request();
  request.set_action(OneIn(20) ? AlarmRequest::GET : AlarmRequest::ACTIVATE);
  request.set_memberid(Below(3));
  request.set_alarm(static_cast<etcdserverpb::AlarmType>(OneIn(8) ? Below(4) : 1));
  const Model::Alarms& alarms = model.alarms();
  if (alarms.empty() || OneIn(4)) return command;
  const auto alarm = std::next(alarms.begin(), Below(static_cast<int64_t>(alarms.size())));
  request.set_action(AlarmRequest::DEACTIVATE);
  request.set_alarm(static_cast<etcdserverpb::AlarmType>(alarm->first.first));
  request.set_memberid(alarm->first.second);
  return command;
}

// Any change with any configuration: the state machine must apply them all.
proto::Command RandomRequests::ChangeMembers(const Model& model) {
  proto::Command command;
  proto::ChangeMembers& change = *command.mutable_change_members();
  const auto fill = [this](etcdserverpb::Member* member) {
    member->set_id(1 + Below(7));
    member->set_islearner(OneIn(3));
    member->set_name(OneIn(4) ? "" : "name" + std::to_string(Below(5)));
    for (int64_t left = Below(3); left > 0; --left) {
      member->add_peerurls("http://10.0.0.1:" + std::to_string(1 + Below(5)));
      member->add_clienturls("http://10.0.0.2:" + std::to_string(1 + Below(5)));
    }
  };
  switch (Below(7)) {
    case 0:
      for (int64_t left = Below(4); left > 0; --left) fill(change.mutable_begin()->add_members());
      break;
    case 1:
      fill(change.mutable_add());
      break;
    case 2:
      fill(change.mutable_update());
      break;
    case 3:
      change.set_remove(1 + Below(7));
      break;
    case 4:
      change.set_promote(1 + Below(7));
      break;
    case 5:
      change.set_count(1 + Below(7));
      break;
    case 6:
      fill(change.mutable_publish());
      break;
  }
  if (OneIn(6)) return command;  // without a configuration
  for (uint64_t id = 1; id <= 7; ++id) {
    const bool member = model.members().contains(id) ? !OneIn(8) : OneIn(4);
    if (member) OneIn(4) ? change.add_learners(id) : change.add_voters(id);
  }
  return command;
}

proto::Command RandomRequests::LeaseCommand(const Model& model) {
  proto::Command command;
  const int64_t kind = Below(10);
  if (kind < 4) {
    command.mutable_lease_grant()->set_id(LeaseId());
    command.mutable_lease_grant()->set_ttl(OneIn(10) ? 9'000'000'001 - Below(3) : Below(20));
  } else if (kind < 5) {
    command.mutable_lease_revoke()->set_id(LeaseId());
  } else if (kind < 8) {
    for (int64_t left = Below(4); left >= 0; --left) {
      command.mutable_renew_leases()->add_ids(LeaseId());
    }
  } else {
    for (int64_t left = Below(4); left >= 0; --left) {
      proto::ExpireLeases::Lease& lease = *command.mutable_expire_leases()->add_leases();
      lease.set_id(LeaseId());
      const auto known = model.leases().find(lease.id());
      if (known == model.leases().end()) continue;
      lease.set_renewed(known->second.renewed - static_cast<uint64_t>(OneIn(3)));
    }
  }
  return command;
}

void RandomRequests::FillPut(etcdserverpb::PutRequest* put) {
  put->set_key(Key());
  put->set_value(Value());
  put->set_prev_kv(OneIn(3));
  put->set_ignore_value(OneIn(8));
  put->set_ignore_lease(OneIn(8));
  if (put->ignore_value() && !OneIn(6)) put->clear_value();
  if (OneIn(12)) put->set_lease(LeaseId());
}

void RandomRequests::FillDelete(etcdserverpb::DeleteRangeRequest* request) {
  request->set_key(Key());
  if (many_keys_ > 0 && !OneIn(100)) {
    request->set_range_end(request->key() + ":");  // some ten of them
  } else if (OneIn(3)) {
    request->set_range_end(RangeEnd(request->key()));
  }
  request->set_prev_kv(OneIn(2));
}

// --- transactions

void RandomRequests::FillCompare(const Model::Moment& now, Compare* compare) {
  compare->set_key(Key());
  if (OneIn(4)) compare->set_range_end(RangeEnd(compare->key()));
  compare->set_result(static_cast<Compare::CompareResult>(Below(OneIn(30) ? 6 : 4)));
  compare->set_target(static_cast<Compare::CompareTarget>(Below(OneIn(30) ? 7 : 5)));
  // Mostly sets the field of the target. Otherwise the target compares with 0 or an empty value.
  switch (OneIn(20) ? Below(6) : static_cast<int64_t>(compare->target())) {
    case Compare::VERSION:
      compare->set_version(Below(4) - OneIn(20));
      break;
    case Compare::CREATE:
      compare->set_create_revision(OneIn(3) ? 0 : Revision(now));
      break;
    case Compare::MOD:
      compare->set_mod_revision(OneIn(3) ? 0 : Revision(now));
      break;
    case Compare::VALUE:
      compare->set_value(Value());
      break;
    case Compare::LEASE:
      compare->set_lease(Below(2));
      break;
    default:
      break;
  }
}

void RandomRequests::FillTxn(const Model::Moment& now, int depth, TxnRequest* txn) {
  for (int64_t left = Below(3); left > 0; --left) FillCompare(now, txn->add_compare());
  for (Ops* ops : {txn->mutable_success(), txn->mutable_failure()}) {
    if (depth == 1 && OneIn(40)) {
      FillManyPuts(ops);
    } else if (OneIn(12)) {
      FillPutAndDelete(ops);
    } else {
      FillOps(now, depth, ops);
    }
  }
}

void RandomRequests::FillOps(const Model::Moment& now, int depth, Ops* ops) {
  for (int64_t left = Below(4); left > 0; --left) {
    etcdserverpb::RequestOp& op = *ops->Add();
    const int64_t kind = Below(100);
    if (kind < 35) {
      FillPut(op.mutable_request_put());
    } else if (kind < 50) {
      FillDelete(op.mutable_request_delete_range());
    } else if (kind < 80 || (kind < 99 && depth > 3)) {
      *op.mutable_request_range() = Range(now);
    } else if (kind < 99) {
      FillTxn(now, depth + 1, op.mutable_request_txn());
    }  // else the operation is missing, which is an error
  }
}

// The one way to change a key twice in one revision.
void RandomRequests::FillPutAndDelete(Ops* ops) {
  FillPut(ops->Add()->mutable_request_txn()->add_success()->mutable_request_put());
  const std::string key = ops->Get(0).request_txn().success(0).request_put().key();
  FillDelete(ops->Add()->mutable_request_txn()->add_success()->mutable_request_delete_range());
  if (!OneIn(4)) {
    ops->Mutable(1)
        ->mutable_request_txn()
        ->mutable_success(0)
        ->mutable_request_delete_range()
        ->set_key(key);
  }
  ops->Add()->mutable_request_range()->set_key(key);
}

void RandomRequests::FillManyPuts(Ops* ops) {
  const int64_t count = 1 + Below(150);
  for (int64_t i = 0; i < count; ++i) {
    etcdserverpb::PutRequest& put = *ops->Add()->mutable_request_put();
    put.set_key("b" + std::to_string(i));
    put.set_value(Value());
  }
}

// Nested about as deep as the limit of 32.
TxnRequest RandomRequests::DeepTxn() {
  TxnRequest txn;
  FillPut(txn.add_success()->mutable_request_put());
  for (int64_t depth = 31 + Below(3); depth > 1; --depth) {
    TxnRequest outer;
    *(OneIn(2) ? outer.add_success() : outer.add_failure())->mutable_request_txn() = txn;
    if (outer.success().empty()) outer.add_compare()->set_key("never written");
    if (outer.success().empty()) outer.mutable_compare(0)->set_version(1);
    txn = outer;
  }
  return txn;
}

void RandomRequests::Bind(const Model& model, proto::Command* command) {
  proto::Session& session = *command->mutable_session();
  session.set_lease_id(LeaseId());
  uint64_t acked = 0, newest = 0;
  for (const auto& [id, kept] : model.kept()) {
    if (id.first != session.lease_id()) continue;
    acked = std::max(acked, kept.acked);
    newest = id.second;
  }
  newest = std::max(newest, acked);
  session.set_seq(OneIn(4) ? acked + static_cast<uint64_t>(Below(4)) : newest + 1);
  session.set_acked(OneIn(3) ? newest : OneIn(2) ? acked : static_cast<uint64_t>(Below(3)));
}

// --- reads

RangeRequest RandomRequests::Range(const Model::Moment& now) {
  RangeRequest request;
  request.set_key(Key());
  request.set_range_end(RangeEnd(request.key()));
  if (OneIn(2)) request.set_limit(Below(12) - 1);
  if (OneIn(2)) request.set_revision(Revision(now));
  if (OneIn(2)) {
    request.set_sort_order(static_cast<RangeRequest::SortOrder>(Below(3)));
    request.set_sort_target(static_cast<RangeRequest::SortTarget>(Below(5)));
  }
  if (OneIn(200)) request.set_sort_order(static_cast<RangeRequest::SortOrder>(3));
  request.set_keys_only(OneIn(6));
  request.set_count_only(OneIn(many_keys_ > 0 ? 2 : 12));
  if (many_keys_ > 0) request.set_limit(1 + Below(50));
  const auto filter = [&] { return OneIn(8) ? Below(now.revision + 2) : 0; };
  request.set_min_mod_revision(filter());
  request.set_max_mod_revision(filter());
  request.set_min_create_revision(filter());
  request.set_max_create_revision(filter());
  return request;
}

TxnRequest RandomRequests::ReadOnlyTxn(const Model::Moment& now) {
  TxnRequest txn;
  FillReads(now, /*depth=*/1, &txn);
  return txn;
}

void RandomRequests::FillReads(const Model::Moment& now, int depth, TxnRequest* txn) {
  for (int64_t left = Below(3); left > 0; --left) FillCompare(now, txn->add_compare());
  for (Ops* ops : {txn->mutable_success(), txn->mutable_failure()}) {
    for (int64_t left = Below(3); left > 0; --left) {
      if (depth < 3 && OneIn(4)) {
        FillReads(now, depth + 1, ops->Add()->mutable_request_txn());
      } else {
        *ops->Add()->mutable_request_range() = Range(now);
      }
    }
  }
}

}  // namespace raftkv
