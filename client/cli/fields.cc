#include "client/cli/fields.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/human.h"
#include "client/cli/quote.h"

namespace raftkv::client {
namespace {

// Prints `value` without quotes: for numbers and durations.
void Raw(const char* name, const absl::AlphaNum& value, std::string* out) {
  absl::StrAppend(out, "\"", name, "\" : ", value, "\n");
}
void Text(const char* name, const std::string& value, std::string* out) {
  Raw(name, Quote(value), out);
}
void Flag(const char* name, bool value, std::string* out) {
  Raw(name, value ? "true" : "false", out);
}

void Append(const Header& header, std::string* out) {
  Raw("ClusterID", header.cluster_id, out);
  Raw("MemberID", header.member_id, out);
  Raw("Revision", header.revision, out);
  Raw("RaftTerm", header.raft_term, out);
}

// `prefix` is "" or "Prev".
void Append(const KeyValue& kv, const std::string& prefix, std::string* out) {
  Text((prefix + "Key").c_str(), kv.key, out);
  Raw((prefix + "CreateRevision").c_str(), kv.create_revision, out);
  Raw((prefix + "ModRevision").c_str(), kv.mod_revision, out);
  Raw((prefix + "Version").c_str(), kv.version, out);
  Text((prefix + "Value").c_str(), kv.value, out);
  Raw((prefix + "Lease").c_str(), kv.lease, out);
}

}  // namespace

std::string FieldsOf(const PutResult& result) {
  std::string out;
  Append(result.header, &out);
  if (result.prev_kv) Append(*result.prev_kv, "Prev", &out);
  return out;
}

std::string FieldsOf(const RangeResult& result) {
  std::string out;
  Append(result.header, &out);
  for (const KeyValue& kv : result.kvs) Append(kv, "", &out);
  Flag("More", result.more, &out);
  Raw("Count", result.count, &out);
  return out;
}

std::string FieldsOf(const DeleteResult& result) {
  std::string out;
  Append(result.header, &out);
  Raw("Deleted", result.deleted, &out);
  for (const KeyValue& kv : result.prev_kvs) Append(kv, "Prev", &out);
  return out;
}

std::string FieldsOf(const TxnResult& txn) {
  std::string out;
  Append(txn.header, &out);
  Flag("Succeeded", txn.succeeded, &out);
  for (const OpResult& op : txn.results) {
    std::visit([&](const auto& result) { out += FieldsOf(result); }, op);
  }
  return out;
}

std::string FieldsOf(const CompactResult& result) {
  std::string out;
  Append(result.header, &out);
  return out;
}

std::string FieldsOf(const LeaseGrantResult& result) {
  std::string out;
  Append(result.header, &out);
  Raw("ID", result.id, &out);
  Raw("TTL", result.ttl, &out);
  return out;
}

std::string FieldsOf(const LeaseRevokeResult& result) {
  std::string out;
  Append(result.header, &out);
  return out;
}

std::string FieldsOf(const LeaseKeepAliveResult& result) {
  std::string out;
  Append(result.header, &out);
  Raw("ID", result.id, &out);
  Raw("TTL", result.ttl, &out);
  return out;
}

std::string FieldsOf(const LeaseTimeToLiveResult& result) {
  std::string out;
  Append(result.header, &out);
  Raw("ID", result.id, &out);
  Raw("TTL", result.ttl, &out);
  Raw("GrantedTTL", result.granted_ttl, &out);
  for (const std::string& key : result.keys) Text("Key", key, &out);
  return out;
}

std::string FieldsOf(const LeaseListResult& result) {
  std::string out;
  Append(result.header, &out);
  for (const int64_t id : result.ids) Raw("ID", id, &out);
  return out;
}

std::string FieldsOf(const WatchBatch& batch) {
  std::string out;
  Append(batch.header, &out);
  for (const Event& event : batch.events) {
    Raw("Type", TypeName(event), &out);
    if (event.prev_kv) Append(*event.prev_kv, "Prev", &out);
    Append(event.kv, "", &out);
  }
  return out;
}

std::string FieldsOf(const MemberListResult& result) {
  std::string out;
  Append(result.header, &out);
  for (const Member& member : result.members) {
    Raw("ID", member.id, &out);
    Text("Name", member.name, &out);
    for (const std::string& url : member.peer_urls) Text("PeerURL", url, &out);
    for (const std::string& url : member.client_urls) Text("ClientURL", url, &out);
    Flag("IsLearner", member.is_learner, &out);
    out += "\n";
  }
  return out;
}

std::string FieldsOf(const AlarmResult& result) {
  std::string out;
  Append(result.header, &out);
  for (const Alarm& alarm : result.alarms) {
    Raw("MemberID", alarm.member, &out);
    Raw("AlarmType", alarm.type, &out);
    out += "\n";
  }
  return out;
}

std::string FieldsOf(const std::vector<EndpointStatus>& rows) {
  std::string out;
  for (const EndpointStatus& row : rows) {
    const StatusResult& status = row.status;
    Append(status.header, &out);
    Text("Version", status.version, &out);
    Raw("DBSize", status.db_size, &out);
    Raw("Leader", status.leader, &out);
    Flag("IsLearner", status.is_learner, &out);
    Raw("RaftIndex", status.raft_index, &out);
    Raw("RaftTerm", status.raft_term, &out);
    Raw("RaftAppliedIndex", status.raft_applied_index, &out);
    Raw("Errors", absl::StrCat("[", absl::StrJoin(status.errors, " "), "]"), &out);
    if (!status.server_version.empty()) {
      Raw("StateSize", status.db_size_in_use, &out);
      Raw("LogSize", status.db_size - status.db_size_in_use, &out);
      Text("ServerVersion", status.server_version, &out);
      Raw("ClusterVersion", status.cluster_version, &out);
      Raw("NewestClusterVersion", status.newest_cluster_version, &out);
    }
    Text("Endpoint", row.endpoint, &out);
    out += "\n";
  }
  return out;
}

std::string FieldsOf(const std::vector<EndpointHealth>& rows) {
  std::string out;
  for (const EndpointHealth& row : rows) {
    Text("Endpoint", row.endpoint, &out);
    Flag("Health", row.error.ok(), &out);
    Raw("Took", HumanDuration(row.took), &out);
    Raw("Error", std::string(row.error.message()), &out);
    out += "\n";
  }
  return out;
}

std::string FieldsOf(const std::vector<EndpointHash>& rows) {
  std::string out;
  for (const EndpointHash& row : rows) {
    Append(row.hash.header, &out);
    Text("Endpoint", row.endpoint, &out);
    Raw("Hash", row.hash.hash, &out);
    out += "\n";
  }
  return out;
}

std::string FieldsOf(const std::vector<EndpointDefrag>& rows) {
  std::string out;
  for (const EndpointDefrag& row : rows) {
    Text("Endpoint", row.endpoint, &out);
    Flag("Defragmented", row.error.ok(), &out);
    Raw("Error", std::string(row.error.message()), &out);
    out += "\n";
  }
  return out;
}

std::string FieldsOf(const BackupStatus& backup) {
  std::string out;
  Text("Hash", backup.hash(), &out);
  Raw("Revision", backup.revision, &out);
  Raw("Keys", backup.total_keys, &out);
  Raw("Size", backup.total_size, &out);
  Text("Version", backup.server_version, &out);
  Text("SHA256", backup.sha256, &out);
  Raw("CompactRevision", backup.compact_revision, &out);
  Raw("RaftIndex", backup.raft_index, &out);
  Raw("RaftTerm", backup.raft_term, &out);
  Raw("ClusterVersion", backup.cluster_version, &out);
  Text("ClusterName", backup.cluster_name, &out);
  Raw("ClusterID", backup.cluster_id, &out);
  Text("MemberName", backup.member_name, &out);
  Raw("MemberID", backup.member_id, &out);
  Text("TakenAt", absl::FormatTime(absl::RFC3339_sec, backup.taken_at, absl::UTCTimeZone()), &out);
  return out;
}

}  // namespace raftkv::client
