#include "client/cli/output.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/fields.h"
#include "client/cli/human.h"
#include "client/cli/json.h"
#include "client/cli/table.h"

namespace raftkv::client {
namespace {

std::string Hex(uint64_t id) { return absl::StrCat(absl::Hex(id)); }
std::string LeaseName(int64_t id) { return absl::StrCat(absl::Hex(id, absl::kZeroPad16)); }
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

std::vector<std::string> Cells(const EndpointHash& row) {
  return {row.endpoint, absl::StrCat(row.hash.hash)};
}

template <typename Row>
std::vector<std::vector<std::string>> CellsOf(const std::vector<Row>& rows) {
  std::vector<std::vector<std::string>> cells;
  for (const Row& row : rows) cells.push_back(Cells(row));
  return cells;
}

}  // namespace

template <typename Result>
bool Output::WriteForPrograms(const Result& result) {
  if (format_ == Format::kJson) return out_ << JsonOf(result), true;
  if (format_ == Format::kFields) return out_ << FieldsOf(result), true;
  return false;
}

void Output::Pair(const KeyValue& kv, bool value_only) {
  if (!value_only) out_ << (hex_ ? HexBytes(kv.key) : kv.key) << "\n";
  out_ << (hex_ ? HexBytes(kv.value) : kv.value) << "\n";
}

void Output::Rows(std::vector<std::string> header,
                  const std::vector<std::vector<std::string>>& rows) {
  if (format_ != Format::kTable) {
    for (const auto& row : rows) out_ << absl::StrJoin(row, ", ") << "\n";
    return;
  }
  Table table(std::move(header));
  for (const auto& row : rows) table.Add(row);
  out_ << table.Render();
}

void Output::Put(const PutResult& result) {
  if (WriteForPrograms(result)) return;
  out_ << "OK\n";
  if (result.prev_kv) Pair(*result.prev_kv, false);
}

void Output::Get(const RangeResult& result, bool value_only, bool count_only) {
  if (WriteForPrograms(result)) return;
  if (count_only) out_ << result.count << "\n";
  for (const KeyValue& kv : result.kvs) Pair(kv, value_only);
}

void Output::Delete(const DeleteResult& result) {
  if (WriteForPrograms(result)) return;
  out_ << result.deleted << "\n";
  for (const KeyValue& kv : result.prev_kvs) Pair(kv, false);
}

void Output::Txn(const TxnResult& txn) {
  if (WriteForPrograms(txn)) return;
  out_ << (txn.succeeded ? "SUCCESS" : "FAILURE") << "\n";
  for (const OpResult& op : txn.results) {
    out_ << "\n";
    if (const auto* put = std::get_if<PutResult>(&op)) Put(*put);
    if (const auto* range = std::get_if<RangeResult>(&op)) Get(*range, false, false);
    if (const auto* del = std::get_if<DeleteResult>(&op)) Delete(*del);
    if (const auto* nested = std::get_if<TxnResult>(&op)) Txn(*nested);
  }
}

void Output::Compact(const CompactResult& result, int64_t revision) {
  if (WriteForPrograms(result)) return;
  out_ << "compacted revision " << revision << "\n";
}

void Output::Grant(const LeaseGrantResult& result) {
  if (WriteForPrograms(result)) return;
  out_ << "lease " << LeaseName(result.id) << " granted with TTL(" << result.ttl << "s)\n";
}

void Output::Revoke(const LeaseRevokeResult& result, int64_t id) {
  if (WriteForPrograms(result)) return;
  out_ << "lease " << LeaseName(id) << " revoked\n";
}

// Flushes the output, because the verb keep-alive goes on.
void Output::KeepAlive(const LeaseKeepAliveResult& result) {
  if (!WriteForPrograms(result)) {
    out_ << "lease " << LeaseName(result.id) << " keepalived with TTL(" << result.ttl << ")\n";
  }
  out_.flush();
}

void Output::TimeToLive(const LeaseTimeToLiveResult& result, bool keys) {
  if (WriteForPrograms(result)) return;
  out_ << "lease " << LeaseName(result.id);
  if (result.granted_ttl == 0 && result.ttl == -1) {
    out_ << " already expired\n";
    return;
  }
  out_ << " granted with TTL(" << result.granted_ttl << "s), remaining(" << result.ttl << "s)";
  if (keys) out_ << ", attached keys([" << absl::StrJoin(result.keys, " ") << "])";
  out_ << "\n";
}

void Output::Leases(const LeaseListResult& result) {
  if (WriteForPrograms(result)) return;
  out_ << "found " << result.ids.size() << " leases\n";
  for (const int64_t id : result.ids) out_ << LeaseName(id) << "\n";
}

void Output::Watch(const WatchBatch& batch) {
  if (WriteForPrograms(batch)) return;
  if (batch.events.empty()) out_ << "progress notify: " << batch.header.revision << "\n";
  for (const Event& event : batch.events) {
    out_ << TypeName(event) << "\n";
    if (event.prev_kv) Pair(*event.prev_kv, false);
    Pair(event.kv, false);
  }
}

// The table has one more column than etcdctl's if the leader is known.
void Output::Members(const MemberListResult& result, uint64_t leader) {
  if (WriteForPrograms(result)) return;
  std::vector<std::string> titles = {"ID",         "STATUS",       "NAME",
                                     "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"};
  std::vector<std::vector<std::string>> cells = CellsOf(result.members);
  if (format_ == Format::kTable && leader != 0) {
    titles.push_back("IS LEADER");
    for (size_t i = 0; i < cells.size(); ++i) {
      cells[i].push_back(Bool(result.members[i].id == leader));
    }
  }
  Rows(titles, cells);
}

void Output::AddedMember(const MemberAddResult& result, const std::string& name) {
  if (format_ == Format::kJson) {
    out_ << JsonOf(result) << "\n";
    return;
  }
  out_ << "Member " << Hex(result.member.id) << " added to cluster "
       << Hex(result.header.cluster_id) << "\n\nAdd it to its config file as member " << name
       << " with peer_url " << absl::StrJoin(result.member.peer_urls, ",")
       << ", and start it:\n  raftkv-server -c FILE -n " << name << " --join\n";
}

void Output::ChangedMember(const MemberListResult& result, uint64_t id, const std::string& done) {
  if (format_ == Format::kJson) {
    out_ << JsonOf(result) << "\n";
    return;
  }
  out_ << "Member " << Hex(id) << " " << done << " cluster " << Hex(result.header.cluster_id)
       << "\n";
}

// The response has no fields.
void Output::MovedLeader(uint64_t from, uint64_t to) {
  if (format_ == Format::kJson) {
    out_ << "{}\n";
  } else {
    out_ << "Leadership transferred from " << Hex(from) << " to " << Hex(to) << "\n";
  }
}

void Output::AlreadyLeader(uint64_t member) {
  if (format_ == Format::kJson) {
    out_ << "{}\n";
  } else {
    out_ << Hex(member) << " is the leader already\n";
  }
}

// As etcdctl: a member of 0 is left out, and each line ends with a space.
void Output::Alarms(const AlarmResult& result) {
  if (WriteForPrograms(result)) return;
  for (const Alarm& alarm : result.alarms) {
    if (alarm.member != 0) out_ << "memberID:" << alarm.member << " ";
    out_ << "alarm:" << alarm.type << " \n";
  }
}

// The table has five more columns than etcdctl's if a member reports its own versions: then dbSize
// is the size of the state and the log. It also has a row for each endpoint that did not answer,
// and long errors are printed below it.
void Output::Statuses(const std::vector<EndpointStatus>& rows,
                      const std::vector<std::string>& failed) {
  if (WriteForPrograms(rows)) return;
  std::vector<std::string> titles = {"ENDPOINT",           "ID",         "VERSION",   "DB SIZE",
                                     "IS LEADER",          "IS LEARNER", "RAFT TERM", "RAFT INDEX",
                                     "RAFT APPLIED INDEX", "ERRORS"};
  std::vector<std::vector<std::string>> cells = CellsOf(rows);
  const bool own_versions = std::any_of(rows.begin(), rows.end(), [](const EndpointStatus& row) {
    return !row.status.server_version.empty();
  });
  if (format_ == Format::kTable && own_versions) {
    titles.insert(titles.end(),
                  {"STATE SIZE", "LOG SIZE", "SERVER VERSION", "CLUSTER VERSION", "KNOWS UP TO"});
    for (size_t i = 0; i < rows.size(); ++i) {
      const StatusResult& status = rows[i].status;
      cells[i].insert(cells[i].end(), {HumanBytes(status.db_size_in_use),
                                       HumanBytes(status.db_size - status.db_size_in_use),
                                       status.server_version, absl::StrCat(status.cluster_version),
                                       absl::StrCat(status.newest_cluster_version)});
    }
  }
  if (format_ != Format::kTable) return Rows(titles, cells);
  constexpr size_t kErrors = 9;  // the column
  std::string below;
  for (std::vector<std::string>& row : cells) {
    if (row[kErrors].empty()) continue;
    absl::StrAppend(&below, row[0], ": ", std::exchange(row[kErrors], "see below"), "\n");
  }
  for (const std::string& endpoint : failed) {
    cells.emplace_back(titles.size());
    cells.back()[0] = endpoint;
    cells.back()[kErrors] = "no answer";
  }
  Rows(titles, cells);
  out_ << below;
}

void Output::Hashes(const std::vector<EndpointHash>& rows) {
  if (WriteForPrograms(rows)) return;
  Rows({"ENDPOINT", "HASH"}, CellsOf(rows));
}

void Output::Backup(const BackupStatus& backup) {
  if (WriteForPrograms(backup)) return;
  Rows({"HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"},
       {{backup.hash(), absl::StrCat(backup.revision), absl::StrCat(backup.total_keys),
         HumanBytes(backup.total_size)}});
}

void Output::Healths(const std::vector<EndpointHealth>& rows) {
  if (WriteForPrograms(rows)) return;
  Table table({"ENDPOINT", "HEALTH", "TOOK", "ERROR"});
  for (const EndpointHealth& row : rows) {
    const bool healthy = row.error.ok();
    const std::string error(row.error.message());
    const std::string took = HumanDuration(row.took);
    if (format_ == Format::kTable) {
      table.Add({row.endpoint, Bool(healthy), took, error});
    } else if (healthy) {
      out_ << row.endpoint << " is healthy: successfully committed proposal: took = " << took
           << "\n";
    } else {
      err_ << row.endpoint << " is unhealthy: failed to commit proposal: " << error << "\n";
    }
  }
  if (format_ == Format::kTable) out_ << table.Render();
}

void Output::DefragRow(const EndpointDefrag& row) {
  if (format_ != Format::kSimple) return;
  if (row.error.ok()) {
    // Not etcdctl's text, which says that the defragmentation has finished.
    out_ << "Started to defragment " << row.endpoint
         << "; a raftkv member continues in the background" << std::endl;
  } else {
    err_ << "Failed to defragment etcd member[" << row.endpoint << "] (" << row.error.message()
         << ")\n";
  }
}

void Output::Defrags(const std::vector<EndpointDefrag>& rows) { WriteForPrograms(rows); }

}  // namespace raftkv::client
