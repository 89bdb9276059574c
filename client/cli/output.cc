#include "client/cli/output.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/human.h"
#include "client/cli/table.h"

namespace raftkv::client {
namespace {

using Json = nlohmann::ordered_json;

// proto3 as JSON: a field with its default value is left out.
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
  return object;
}

// Names and URLs may hold anything: bytes that are not UTF-8 are replaced, never refused.
void Write(std::ostream& out, const Json& json) {
  out << json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

std::string Hex(uint64_t id) { return absl::StrCat(absl::Hex(id)); }
std::string Bool(bool value) { return value ? "true" : "false"; }

std::vector<std::string> Cells(const EndpointStatus& row) {
  const StatusResult& status = row.status;
  return {row.endpoint,
          Hex(status.header.member_id),
          status.version,
          HumanBytes(status.db_size),
          Bool(status.leader == status.header.member_id),
          Bool(status.is_learner),
          absl::StrCat(status.raft_term),
          absl::StrCat(status.raft_index),
          absl::StrCat(status.raft_applied_index),
          absl::StrJoin(status.errors, ", ")};
}

std::vector<std::string> Cells(const Member& member) {
  return {Hex(member.id),
          member.name.empty() ? "unstarted" : "started",
          member.name,
          absl::StrJoin(member.peer_urls, ","),
          absl::StrJoin(member.client_urls, ","),
          Bool(member.is_learner)};
}

}  // namespace

void Output::Pair(const KeyValue& kv, bool value_only) {
  if (!value_only) out_ << (hex_ ? HexBytes(kv.key) : kv.key) << "\n";
  out_ << (hex_ ? HexBytes(kv.value) : kv.value) << "\n";
}

void Output::Put(const PutResult& result) {
  if (format_ == Format::kJson) {
    Json json = {{"header", ToJson(result.header)}};
    if (result.prev_kv) json["prev_kv"] = ToJson(*result.prev_kv);
    return Write(out_, json);
  }
  out_ << "OK\n";
  if (result.prev_kv) Pair(*result.prev_kv, false);
}

void Output::Get(const RangeResult& result, bool value_only, bool count_only) {
  if (format_ == Format::kJson) {
    Json json = {{"header", ToJson(result.header)}};
    if (!result.kvs.empty()) json["kvs"] = ToJson(result.kvs);
    Set(json, "more", result.more);
    Set(json, "count", result.count);
    return Write(out_, json);
  }
  if (count_only) out_ << result.count << "\n";
  for (const KeyValue& kv : result.kvs) Pair(kv, value_only);
}

void Output::Delete(const DeleteResult& result) {
  if (format_ == Format::kJson) {
    Json json = {{"header", ToJson(result.header)}};
    Set(json, "deleted", result.deleted);
    if (!result.prev_kvs.empty()) json["prev_kvs"] = ToJson(result.prev_kvs);
    return Write(out_, json);
  }
  out_ << result.deleted << "\n";
  for (const KeyValue& kv : result.prev_kvs) Pair(kv, false);
}

void Output::Members(const MemberListResult& result) {
  if (format_ == Format::kJson) {
    Json json = {{"header", ToJson(result.header)}};
    for (const Member& member : result.members) json["members"].push_back(ToJson(member));
    return Write(out_, json);
  }
  Table table({"ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"});
  for (const Member& member : result.members) {
    if (format_ == Format::kTable) {
      table.Add(Cells(member));
    } else {
      out_ << absl::StrJoin(Cells(member), ", ") << "\n";
    }
  }
  if (format_ == Format::kTable) out_ << table.Render();
}

void Output::Statuses(const std::vector<EndpointStatus>& statuses) {
  if (format_ == Format::kJson) {
    Json json = Json::array();
    for (const EndpointStatus& row : statuses) {
      json.push_back({{"Endpoint", row.endpoint}, {"Status", ToJson(row.status)}});
    }
    return Write(out_, json);
  }
  Table table({"ENDPOINT", "ID", "VERSION", "DB SIZE", "IS LEADER", "IS LEARNER", "RAFT TERM",
               "RAFT INDEX", "RAFT APPLIED INDEX", "ERRORS"});
  for (const EndpointStatus& row : statuses) {
    if (format_ == Format::kTable) {
      table.Add(Cells(row));
    } else {
      out_ << absl::StrJoin(Cells(row), ", ") << "\n";
    }
  }
  if (format_ == Format::kTable) out_ << table.Render();
}

void Output::Healths(const std::vector<EndpointHealth>& healths) {
  Json json = Json::array();
  Table table({"ENDPOINT", "HEALTH", "TOOK", "ERROR"});
  for (const EndpointHealth& row : healths) {
    const bool healthy = row.error.ok();
    const std::string error(row.error.message());
    const std::string took = HumanDuration(row.took);
    if (format_ == Format::kJson) {
      Json object = {{"endpoint", row.endpoint}, {"health", healthy}, {"took", took}};
      Set(object, "error", error);
      json.push_back(std::move(object));
    } else if (format_ == Format::kTable) {
      table.Add({row.endpoint, Bool(healthy), took, error});
    } else if (healthy) {
      out_ << row.endpoint << " is healthy: successfully committed proposal: took = " << took
           << "\n";
    } else {
      err_ << row.endpoint << " is unhealthy: failed to commit proposal: " << error << "\n";
    }
  }
  if (format_ == Format::kJson) Write(out_, json);
  if (format_ == Format::kTable) out_ << table.Render();
}

}  // namespace raftkv::client
