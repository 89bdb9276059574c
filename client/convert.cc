#include "client/convert.h"

#include <algorithm>
#include <utility>

namespace raftkv::client {
namespace {

KeyValue KeyValueOf(mvccpb::KeyValue&& kv) {
  return {.key = std::move(*kv.mutable_key()),
          .value = std::move(*kv.mutable_value()),
          .create_revision = kv.create_revision(),
          .mod_revision = kv.mod_revision(),
          .version = kv.version(),
          .lease = kv.lease()};
}

std::vector<KeyValue> KeyValuesOf(google::protobuf::RepeatedPtrField<mvccpb::KeyValue>* kvs) {
  std::vector<KeyValue> result;
  result.reserve(kvs->size());
  for (auto& kv : *kvs) result.push_back(KeyValueOf(std::move(kv)));
  return result;
}

std::vector<std::string> StringsOf(const google::protobuf::RepeatedPtrField<std::string>& list) {
  return {list.begin(), list.end()};
}

etcdserverpb::RangeRequest::SortTarget ToProto(SortBy sort_by) {
  switch (sort_by) {
    case SortBy::kKey:
      return etcdserverpb::RangeRequest::KEY;
    case SortBy::kVersion:
      return etcdserverpb::RangeRequest::VERSION;
    case SortBy::kCreateRevision:
      return etcdserverpb::RangeRequest::CREATE;
    case SortBy::kModRevision:
      return etcdserverpb::RangeRequest::MOD;
    case SortBy::kValue:
      return etcdserverpb::RangeRequest::VALUE;
  }
  return etcdserverpb::RangeRequest::KEY;
}

// Ascending by key needs no sort order: the service reads in key order anyway, and only without a
// sort order does it stop reading at the limit. Any other sort must name its order. Otherwise etcd
// applies the limit first and sorts only what is left.
etcdserverpb::RangeRequest::SortOrder OrderToProto(const ReadOptions& options) {
  if (options.order == Order::kDescend) return etcdserverpb::RangeRequest::DESCEND;
  return options.sort_by == SortBy::kKey ? etcdserverpb::RangeRequest::NONE
                                         : etcdserverpb::RangeRequest::ASCEND;
}

etcdserverpb::Compare::CompareResult ToProto(Compare::Relation relation) {
  switch (relation) {
    case Compare::Relation::kEqual:
      return etcdserverpb::Compare::EQUAL;
    case Compare::Relation::kGreater:
      return etcdserverpb::Compare::GREATER;
    case Compare::Relation::kLess:
      return etcdserverpb::Compare::LESS;
    case Compare::Relation::kNotEqual:
      return etcdserverpb::Compare::NOT_EQUAL;
  }
  return etcdserverpb::Compare::EQUAL;
}

etcdserverpb::Compare ToProto(const Compare& compare) {
  etcdserverpb::Compare proto;
  proto.set_key(compare.keys.key());
  proto.set_range_end(compare.keys.range_end());
  proto.set_result(ToProto(compare.relation));
  switch (compare.target) {
    case Compare::Target::kVersion:
      proto.set_target(etcdserverpb::Compare::VERSION);
      proto.set_version(compare.number);
      break;
    case Compare::Target::kCreateRevision:
      proto.set_target(etcdserverpb::Compare::CREATE);
      proto.set_create_revision(compare.number);
      break;
    case Compare::Target::kModRevision:
      proto.set_target(etcdserverpb::Compare::MOD);
      proto.set_mod_revision(compare.number);
      break;
    case Compare::Target::kValue:
      proto.set_target(etcdserverpb::Compare::VALUE);
      proto.set_value(compare.value);
      break;
    case Compare::Target::kLease:
      proto.set_target(etcdserverpb::Compare::LEASE);
      proto.set_lease(compare.number);
      break;
  }
  return proto;
}

bool OnlyRead(const google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>& ops) {
  return std::all_of(ops.begin(), ops.end(), [](const etcdserverpb::RequestOp& op) {
    return op.has_request_range() || (op.has_request_txn() && OnlyReads(op.request_txn()));
  });
}

OpResult ResultOf(etcdserverpb::ResponseOp&& op) {
  if (op.has_response_put()) return FromProto(std::move(*op.mutable_response_put()));
  if (op.has_response_delete_range()) {
    return FromProto(std::move(*op.mutable_response_delete_range()));
  }
  if (op.has_response_txn()) return FromProto(std::move(*op.mutable_response_txn()));
  return FromProto(std::move(*op.mutable_response_range()));
}

}  // namespace

// The operation as etcd's message.
struct Op::Rep {
  etcdserverpb::RequestOp request;
};

Op Op::Get(Keys keys, const ReadOptions& options) {
  auto rep = std::make_shared<Rep>();
  *rep->request.mutable_request_range() = ToProto(keys, options);
  return Op(std::move(rep));
}

Op Op::Put(std::string_view key, std::string_view value, const PutOptions& options) {
  auto rep = std::make_shared<Rep>();
  *rep->request.mutable_request_put() = ToProto(key, value, options);
  return Op(std::move(rep));
}

Op Op::Delete(Keys keys, const DeleteOptions& options) {
  auto rep = std::make_shared<Rep>();
  *rep->request.mutable_request_delete_range() = ToProto(keys, options);
  return Op(std::move(rep));
}

Op Op::Txn(const Transaction& transaction) {
  auto rep = std::make_shared<Rep>();
  *rep->request.mutable_request_txn() = ToProto(transaction);
  return Op(std::move(rep));
}

Compare NumberOf::operator==(int64_t number) const {
  return {target, keys, Compare::Relation::kEqual, number};
}
Compare NumberOf::operator!=(int64_t number) const {
  return {target, keys, Compare::Relation::kNotEqual, number};
}
Compare NumberOf::operator<(int64_t number) const {
  return {target, keys, Compare::Relation::kLess, number};
}
Compare NumberOf::operator>(int64_t number) const {
  return {target, keys, Compare::Relation::kGreater, number};
}

Compare ValueOf::operator==(std::string value) const {
  return {Compare::Target::kValue, keys, Compare::Relation::kEqual, 0, std::move(value)};
}
Compare ValueOf::operator!=(std::string value) const {
  return {Compare::Target::kValue, keys, Compare::Relation::kNotEqual, 0, std::move(value)};
}
Compare ValueOf::operator<(std::string value) const {
  return {Compare::Target::kValue, keys, Compare::Relation::kLess, 0, std::move(value)};
}
Compare ValueOf::operator>(std::string value) const {
  return {Compare::Target::kValue, keys, Compare::Relation::kGreater, 0, std::move(value)};
}

etcdserverpb::RangeRequest ToProto(const Keys& keys, const ReadOptions& options) {
  etcdserverpb::RangeRequest request;
  request.set_key(keys.key());
  request.set_range_end(keys.range_end());
  request.set_limit(options.limit);
  request.set_revision(options.revision);
  request.set_keys_only(options.keys_only);
  request.set_count_only(options.count_only);
  request.set_serializable(options.serializable);
  request.set_sort_target(ToProto(options.sort_by));
  request.set_sort_order(OrderToProto(options));
  request.set_max_create_revision(options.max_create_revision);
  return request;
}

etcdserverpb::PutRequest ToProto(std::string_view key, std::string_view value,
                                 const PutOptions& options) {
  etcdserverpb::PutRequest request;
  request.set_key(key.data(), key.size());
  request.set_value(value.data(), value.size());
  request.set_prev_kv(options.prev_kv);
  request.set_lease(options.lease);
  request.set_ignore_value(options.ignore_value);
  request.set_ignore_lease(options.ignore_lease);
  return request;
}

etcdserverpb::DeleteRangeRequest ToProto(const Keys& keys, const DeleteOptions& options) {
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(keys.key());
  request.set_range_end(keys.range_end());
  request.set_prev_kv(options.prev_kv);
  return request;
}

etcdserverpb::TxnRequest ToProto(const Transaction& transaction) {
  etcdserverpb::TxnRequest request;
  for (const Compare& compare : transaction.when) *request.add_compare() = ToProto(compare);
  for (const Op& op : transaction.then) *request.add_success() = op.rep().request;
  for (const Op& op : transaction.otherwise) *request.add_failure() = op.rep().request;
  return request;
}

etcdserverpb::WatchCreateRequest ToProto(const Keys& keys, const WatchOptions& options) {
  etcdserverpb::WatchCreateRequest request;
  request.set_key(keys.key());
  request.set_range_end(keys.range_end());
  request.set_start_revision(options.start_revision);
  request.set_prev_kv(options.prev_kv);
  request.set_progress_notify(options.progress_notify);
  if (!options.puts) request.add_filters(etcdserverpb::WatchCreateRequest::NOPUT);
  if (!options.deletes) request.add_filters(etcdserverpb::WatchCreateRequest::NODELETE);
  return request;
}

bool OnlyReads(const etcdserverpb::TxnRequest& txn) {
  return OnlyRead(txn.success()) && OnlyRead(txn.failure());
}

Header FromProto(const etcdserverpb::ResponseHeader& header) {
  return {.cluster_id = header.cluster_id(),
          .member_id = header.member_id(),
          .revision = header.revision(),
          .raft_term = header.raft_term()};
}

RangeResult FromProto(etcdserverpb::RangeResponse&& response) {
  return {.header = FromProto(response.header()),
          .kvs = KeyValuesOf(response.mutable_kvs()),
          .more = response.more(),
          .count = response.count()};
}

PutResult FromProto(etcdserverpb::PutResponse&& response) {
  PutResult result{.header = FromProto(response.header()), .prev_kv = std::nullopt};
  if (response.has_prev_kv()) result.prev_kv = KeyValueOf(std::move(*response.mutable_prev_kv()));
  return result;
}

DeleteResult FromProto(etcdserverpb::DeleteRangeResponse&& response) {
  return {.header = FromProto(response.header()),
          .deleted = response.deleted(),
          .prev_kvs = KeyValuesOf(response.mutable_prev_kvs())};
}

TxnResult FromProto(etcdserverpb::TxnResponse&& response) {
  TxnResult result{
      .header = FromProto(response.header()), .succeeded = response.succeeded(), .results = {}};
  result.results.reserve(response.responses_size());
  for (auto& op : *response.mutable_responses()) result.results.push_back(ResultOf(std::move(op)));
  return result;
}

LeaseGrantResult FromProto(etcdserverpb::LeaseGrantResponse&& response) {
  return {.header = FromProto(response.header()), .id = response.id(), .ttl = response.ttl()};
}

LeaseRevokeResult FromProto(etcdserverpb::LeaseRevokeResponse&& response) {
  return {.header = FromProto(response.header())};
}

LeaseKeepAliveResult FromProto(etcdserverpb::LeaseKeepAliveResponse&& response) {
  return {.header = FromProto(response.header()), .id = response.id(), .ttl = response.ttl()};
}

LeaseTimeToLiveResult FromProto(etcdserverpb::LeaseTimeToLiveResponse&& response) {
  return {.header = FromProto(response.header()),
          .id = response.id(),
          .ttl = response.ttl(),
          .granted_ttl = response.grantedttl(),
          .keys = StringsOf(response.keys())};
}

LeaseListResult FromProto(etcdserverpb::LeaseLeasesResponse&& response) {
  LeaseListResult result{.header = FromProto(response.header()), .ids = {}};
  for (const auto& lease : response.leases()) result.ids.push_back(lease.id());
  return result;
}

HashKvResult FromProto(etcdserverpb::HashKVResponse&& response) {
  return {.header = FromProto(response.header()),
          .hash = response.hash(),
          .compact_revision = response.compact_revision(),
          .hash_revision = response.hash_revision()};
}

StatusResult FromProto(etcdserverpb::StatusResponse&& response) {
  return {.header = FromProto(response.header()),
          .version = response.version(),
          .db_size = response.dbsize(),
          .db_size_in_use = response.dbsizeinuse(),
          .leader = response.leader(),
          .raft_term = response.raftterm(),
          .raft_index = response.raftindex(),
          .raft_applied_index = response.raftappliedindex(),
          .is_learner = response.islearner(),
          .errors = StringsOf(response.errors()),
          .storage_version = response.storageversion(),
          .db_size_quota = response.dbsizequota(),
          .server_version = response.serverversion(),
          .cluster_version = response.clusterversion(),
          .newest_cluster_version = response.newestclusterversion()};
}

AlarmResult FromProto(etcdserverpb::AlarmResponse&& response) {
  AlarmResult result{.header = FromProto(response.header()), .alarms = {}};
  for (const etcdserverpb::AlarmMember& alarm : response.alarms()) {
    result.alarms.push_back({etcdserverpb::AlarmType_Name(alarm.alarm()), alarm.memberid()});
  }
  return result;
}

CompactResult FromProto(etcdserverpb::CompactionResponse&& response) {
  return {.header = FromProto(response.header())};
}

MoveLeaderResult FromProto(etcdserverpb::MoveLeaderResponse&& response) {
  return {.header = FromProto(response.header())};
}

DefragmentResult FromProto(etcdserverpb::DefragmentResponse&& response) {
  return {.header = FromProto(response.header())};
}

WatchBatch FromProto(etcdserverpb::WatchResponse&& response) {
  WatchBatch batch{.header = FromProto(response.header()), .events = {}};
  for (mvccpb::Event& event : *response.mutable_events()) {
    Event& added = batch.events.emplace_back();
    if (event.type() == mvccpb::Event::DELETE) added.type = Event::Type::kDelete;
    added.kv = KeyValueOf(std::move(*event.mutable_kv()));
    if (event.has_prev_kv()) added.prev_kv = KeyValueOf(std::move(*event.mutable_prev_kv()));
  }
  return batch;
}

namespace {

Member MemberOf(const etcdserverpb::Member& member) {
  return {.id = member.id(),
          .name = member.name(),
          .peer_urls = StringsOf(member.peerurls()),
          .client_urls = StringsOf(member.clienturls()),
          .is_learner = member.islearner()};
}

template <typename Response>
MemberListResult MembersOf(const Response& response) {
  MemberListResult result{.header = FromProto(response.header()), .members = {}};
  for (const auto& member : response.members()) result.members.push_back(MemberOf(member));
  return result;
}

}  // namespace

MemberListResult FromProto(etcdserverpb::MemberListResponse&& response) {
  return MembersOf(response);
}
MemberListResult FromProto(etcdserverpb::MemberRemoveResponse&& response) {
  return MembersOf(response);
}
MemberListResult FromProto(etcdserverpb::MemberUpdateResponse&& response) {
  return MembersOf(response);
}
MemberListResult FromProto(etcdserverpb::MemberPromoteResponse&& response) {
  return MembersOf(response);
}
MemberAddResult FromProto(etcdserverpb::MemberAddResponse&& response) {
  MemberListResult list = MembersOf(response);
  return {list.header, MemberOf(response.member()), std::move(list.members)};
}

}  // namespace raftkv::client
