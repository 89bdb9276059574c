#include "client/cli/json.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "client/cli/human.h"

namespace raftkv::client {
namespace {

using Json = nlohmann::ordered_json;

// As in proto3's JSON, a field with its default value is left out.
template <typename T>
void Set(Json& object, const char* name, const T& value) {
  if (value != T()) object[name] = value;
}

Json ToJson(const Header& header) {
  Json object = Json::object();
  Set(object, "cluster_id", header.cluster_id);
  Set(object, "member_id", header.member_id);
  Set(object, "revision", header.revision);
  Set(object, "raft_term", header.raft_term);
  return object;
}

Json ToJson(const KeyValue& kv) {
  Json object = Json::object();
  Set(object, "key", absl::Base64Escape(kv.key));
  Set(object, "create_revision", kv.create_revision);
  Set(object, "mod_revision", kv.mod_revision);
  Set(object, "version", kv.version);
  Set(object, "value", absl::Base64Escape(kv.value));
  Set(object, "lease", kv.lease);
  return object;
}

Json ToJson(const std::vector<KeyValue>& kvs) {
  Json array = Json::array();
  for (const KeyValue& kv : kvs) array.push_back(ToJson(kv));
  return array;
}

Json ToJson(const Member& member) {
  Json object = Json::object();
  Set(object, "ID", member.id);
  Set(object, "name", member.name);
  Set(object, "peerURLs", member.peer_urls);
  Set(object, "clientURLs", member.client_urls);
  Set(object, "isLearner", member.is_learner);
  return object;
}

Json ToJson(const StatusResult& status) {
  Json object = Json::object();
  object["header"] = ToJson(status.header);
  Set(object, "version", status.version);
  Set(object, "dbSize", status.db_size);
  Set(object, "leader", status.leader);
  Set(object, "raftIndex", status.raft_index);
  Set(object, "raftTerm", status.raft_term);
  Set(object, "raftAppliedIndex", status.raft_applied_index);
  Set(object, "errors", status.errors);
  Set(object, "dbSizeInUse", status.db_size_in_use);
  Set(object, "isLearner", status.is_learner);
  Set(object, "storageVersion", status.storage_version);
  Set(object, "dbSizeQuota", status.db_size_quota);
  Set(object, "serverVersion", status.server_version);
  Set(object, "clusterVersion", status.cluster_version);
  Set(object, "newestClusterVersion", status.newest_cluster_version);
  return object;
}

Json ToJson(const PutResult& result) {
  Json object = {{"header", ToJson(result.header)}};
  if (result.prev_kv) object["prev_kv"] = ToJson(*result.prev_kv);
  return object;
}

Json ToJson(const RangeResult& result) {
  Json object = {{"header", ToJson(result.header)}};
  if (!result.kvs.empty()) object["kvs"] = ToJson(result.kvs);
  Set(object, "more", result.more);
  Set(object, "count", result.count);
  return object;
}

Json ToJson(const DeleteResult& result) {
  Json object = {{"header", ToJson(result.header)}};
  Set(object, "deleted", result.deleted);
  if (!result.prev_kvs.empty()) object["prev_kvs"] = ToJson(result.prev_kvs);
  return object;
}

// The JSON name of a result inside a transaction's result.
const char* NameOf(const PutResult&) { return "ResponsePut"; }
const char* NameOf(const RangeResult&) { return "ResponseRange"; }
const char* NameOf(const DeleteResult&) { return "ResponseDeleteRange"; }
const char* NameOf(const TxnResult&) { return "ResponseTxn"; }

Json ToJson(const TxnResult& txn) {
  Json object = {{"header", ToJson(txn.header)}};
  Set(object, "succeeded", txn.succeeded);
  for (const OpResult& op : txn.results) {
    Json response = Json::object();
    std::visit([&](const auto& result) { response[NameOf(result)] = ToJson(result); }, op);
    object["responses"].push_back({{"Response", std::move(response)}});
  }
  return object;
}

Json ToJson(const HashKvResult& result) {
  Json object = {{"header", ToJson(result.header)}};
  Set(object, "hash", result.hash);
  Set(object, "compact_revision", result.compact_revision);
  Set(object, "hash_revision", result.hash_revision);
  return object;
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string JsonOf(const PutResult& result) { return Dump(ToJson(result)); }
std::string JsonOf(const RangeResult& result) { return Dump(ToJson(result)); }
std::string JsonOf(const DeleteResult& result) { return Dump(ToJson(result)); }
std::string JsonOf(const TxnResult& result) { return Dump(ToJson(result)); }

std::string JsonOf(const CompactResult& result) {
  return Dump({{"header", ToJson(result.header)}});
}

// For these results etcdctl writes the fields of the header and of the result into one object.
std::string JsonOf(const LeaseGrantResult& result) {
  Json json = ToJson(result.header);
  json["ID"] = result.id;
  json["TTL"] = result.ttl;
  json["Error"] = "";
  return Dump(json);
}

std::string JsonOf(const LeaseRevokeResult& result) {
  return Dump({{"header", ToJson(result.header)}});
}

std::string JsonOf(const LeaseKeepAliveResult& result) {
  Json json = ToJson(result.header);
  json["ID"] = result.id;
  json["TTL"] = result.ttl;
  return Dump(json);
}

std::string JsonOf(const LeaseTimeToLiveResult& result) {
  Json json = ToJson(result.header);
  json["id"] = result.id;
  json["ttl"] = result.ttl;
  json["granted-ttl"] = result.granted_ttl;
  json["keys"] = nullptr;
  for (const std::string& key : result.keys) json["keys"].push_back(absl::Base64Escape(key));
  return Dump(json);
}

std::string JsonOf(const LeaseListResult& result) {
  Json json = ToJson(result.header);
  json["leases"] = Json::array();
  for (const int64_t id : result.ids) json["leases"].push_back(Json{{"id", id}});
  return Dump(json);
}

// etcdctl's names. It prints the last three fields although they are always the same here.
std::string JsonOf(const WatchBatch& batch) {
  Json json = {{"Header", ToJson(batch.header)}, {"Events", Json::array()}};
  for (const Event& event : batch.events) {
    Json object = Json::object();
    Set(object, "type", event.type == Event::Type::kPut ? 0 : 1);
    object["kv"] = ToJson(event.kv);
    if (event.prev_kv) object["prev_kv"] = ToJson(*event.prev_kv);
    json["Events"].push_back(std::move(object));
  }
  json["CompactRevision"] = 0;
  json["Canceled"] = false;
  json["Created"] = false;
  return Dump(json);
}

std::string JsonOf(const MemberListResult& result) {
  Json json = {{"header", ToJson(result.header)}};
  for (const Member& member : result.members) json["members"].push_back(ToJson(member));
  return Dump(json);
}

std::string JsonOf(const MemberAddResult& result) {
  Json json = {{"header", ToJson(result.header)}, {"member", ToJson(result.member)}};
  for (const Member& member : result.members) json["members"].push_back(ToJson(member));
  return Dump(json);
}

// etcd's numbers of the types.
std::string JsonOf(const AlarmResult& result) {
  Json json = {{"header", ToJson(result.header)}};
  for (const Alarm& alarm : result.alarms) {
    Json object = Json::object();
    Set(object, "memberID", alarm.member);
    object["alarm"] = alarm.type == "NOSPACE" ? 1 : 2;
    json["alarms"].push_back(std::move(object));
  }
  return Dump(json);
}

std::string JsonOf(const std::vector<EndpointStatus>& rows) {
  Json json = Json::array();
  for (const EndpointStatus& row : rows) {
    json.push_back({{"Endpoint", row.endpoint}, {"Status", ToJson(row.status)}});
  }
  return Dump(json);
}

std::string JsonOf(const std::vector<EndpointHealth>& rows) {
  Json json = Json::array();
  for (const EndpointHealth& row : rows) {
    Json object = {
        {"endpoint", row.endpoint}, {"health", row.error.ok()}, {"took", HumanDuration(row.took)}};
    Set(object, "error", std::string(row.error.message()));
    json.push_back(std::move(object));
  }
  return Dump(json);
}

std::string JsonOf(const std::vector<EndpointHash>& rows) {
  Json json = Json::array();
  for (const EndpointHash& row : rows) {
    json.push_back({{"Endpoint", row.endpoint}, {"HashKV", ToJson(row.hash)}});
  }
  return Dump(json);
}

std::string JsonOf(const std::vector<EndpointDefrag>& rows) {
  Json json = Json::array();
  for (const EndpointDefrag& row : rows) {
    Json object = {{"endpoint", row.endpoint}, {"defragmented", row.error.ok()}};
    Set(object, "error", std::string(row.error.message()));
    json.push_back(std::move(object));
  }
  return Dump(json);
}

// The first four fields are etcd's.
std::string JsonOf(const BackupStatus& backup) {
  uint32_t hash = 0;
  (void)absl::SimpleHexAtoi(backup.hash(), &hash);
  return Dump(
      {{"hash", hash},
       {"revision", backup.revision},
       {"totalKey", backup.total_keys},
       {"totalSize", backup.total_size},
       {"version", backup.server_version},
       {"sha256", backup.sha256},
       {"compactRevision", backup.compact_revision},
       {"raftIndex", backup.raft_index},
       {"raftTerm", backup.raft_term},
       {"clusterVersion", backup.cluster_version},
       {"clusterName", backup.cluster_name},
       {"clusterID", backup.cluster_id},
       {"memberName", backup.member_name},
       {"memberID", backup.member_id},
       {"takenAt", absl::FormatTime(absl::RFC3339_sec, backup.taken_at, absl::UTCTimeZone())}});
}

}  // namespace raftkv::client
