#include "server/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "config/version.h"
#include "server/process_usage.h"
#include "storage/base/disk_operations.h"

namespace raftkv {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// The names of gRPC's codes, as etcd's metrics have them.
constexpr std::array<const char*, 17> kCodes = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

Labels operator+(Labels labels, const ClientMetric::Label& more) {
  labels.push_back(more);
  return labels;
}

}  // namespace

// --- the calls of one method

class Metrics::MethodCounter final : public CallObserver {
 public:
  MethodCounter(const std::string& name, const char* type) {
    const size_t slash = name.rfind('/');  // "/package.Service/Method"
    labels_ = {{"grpc_service", name.substr(1, slash - 1)},
               {"grpc_method", name.substr(slash + 1)},
               {"grpc_type", type}};
  }

  void OnStart() override { started_.fetch_add(1, std::memory_order_relaxed); }
  void OnEnd(absl::StatusCode code, absl::Duration took) override {
    const auto number = static_cast<size_t>(code);
    handled_[number < kCodes.size() ? number : 2].fetch_add(1, std::memory_order_relaxed);
    durations_.Add(took);
  }

  const Labels& labels() const { return labels_; }
  uint64_t started() const { return started_.load(std::memory_order_relaxed); }
  uint64_t handled(size_t code) const { return handled_[code].load(std::memory_order_relaxed); }
  const DurationHistogram& durations() const { return durations_; }

 private:
  Labels labels_;
  std::atomic<uint64_t> started_{0};
  std::array<std::atomic<uint64_t>, kCodes.size()> handled_{};
  DurationHistogram durations_;
};

// --- families of metrics, in the order in which they were added

class Metrics::Families {
 public:
  // Begins a family. The samples that follow belong to it.
  Families& Gauge(const char* name, const char* help) {
    return Begin(name, help, MetricType::Gauge);
  }
  Families& Counter(const char* name, const char* help) {
    return Begin(name, help, MetricType::Counter);
  }
  Families& Histogram(const char* name, const char* help) {
    return Begin(name, help, MetricType::Histogram);
  }

  template <typename Value>
  Families& Add(Value value, Labels labels = {}) {
    ClientMetric& metric = New(std::move(labels));
    // TextSerializer prints the value that belongs to the family's type.
    metric.gauge.value = metric.counter.value = static_cast<double>(value);
    return *this;
  }

  Families& Add(const DurationHistogram& durations, Labels labels = {}) {
    ClientMetric::Histogram& to = New(std::move(labels)).histogram;
    uint64_t count = 0;
    for (int i = 0; i < DurationHistogram::kBuckets; ++i) {
      count += durations.count(i);
      to.bucket.push_back({count, absl::ToDoubleSeconds(DurationHistogram::limit(i))});
    }
    to.sample_count = count + durations.count(DurationHistogram::kBuckets);
    to.sample_sum = absl::ToDoubleSeconds(durations.sum());
    return *this;
  }

  std::string Text() const {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, families_);
    return text.str();
  }

 private:
  Families& Begin(const char* name, const char* help, MetricType type) {
    families_.push_back({name, help, type, {}});
    return *this;
  }
  ClientMetric& New(Labels labels) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }

  std::vector<MetricFamily> families_;
};

Metrics::Metrics(const Config* config, const MemberConfig* self, const Member* member,
                 const api::Counters* counters)
    : config_(*config), self_(*self), member_(*member), counters_(*counters) {}

Metrics::~Metrics() = default;

void Metrics::Observe(Methods* methods) {
  const auto counter = [this](const std::string& name, const char* type) -> CallObserver* {
    if (name.rfind(kPage, 0) == 0) return nullptr;
    return (methods_[name] = std::make_unique<MethodCounter>(name, type)).get();
  };
  for (UnaryMethod& method : methods->unary) method.observer = counter(method.name, "unary");
  for (StreamMethod& method : methods->streams) {
    method.observer = counter(method.name, method.one_request ? "server_stream" : "bidi_stream");
  }
}

void Metrics::OnEvent(const ReplicaEvent& event) {
  const auto* of_raft = std::get_if<raft::Event>(&event);
  const auto* changed = of_raft == nullptr ? nullptr : std::get_if<raft::LeaderChanged>(of_raft);
  if (changed != nullptr && changed->leader != raft::kNobody) ++leader_changes_;
}

void Metrics::Publish(MemberFacts facts) {
  absl::MutexLock lock(&mutex_);
  facts_ = std::move(facts);
}

std::string Metrics::Text(const ClientFacts& clients) const {
  MemberFacts facts;
  {
    absl::MutexLock lock(&mutex_);
    facts = facts_;
  }
  Families families;
  AddMember(facts, &families);
  AddStore(facts, &families);
  AddEngines(facts, &families);
  AddPeers(facts, &families);
  AddCalls(clients, &families);
  const ProcessUsage process = ReadProcessUsage();
  families.Counter("process_cpu_seconds_total", "CPU time of the process.")
      .Add(process.cpu_seconds)
      .Gauge("process_resident_memory_bytes", "Resident memory of the process.")
      .Add(process.resident_bytes)
      .Gauge("process_virtual_memory_bytes", "Virtual memory of the process.")
      .Add(process.virtual_bytes)
      .Gauge("process_open_fds", "Open file descriptors.")
      .Add(process.open_files)
      .Gauge("process_max_fds", "The limit of file descriptors.")
      .Add(process.files_max)
      .Gauge("process_start_time_seconds", "When the process started, in seconds since 1970.")
      .Add(process.start_seconds);
  return families.Text();
}

void Metrics::AddMember(const MemberFacts& facts, Families* to) const {
  const raft::Status& raft = facts.status.raft;
  const auto lag = raft.commit_index > facts.applied ? raft.commit_index - facts.applied : 0;
  to->Gauge("etcd_server_has_leader", "Whether this member knows a leader.")
      .Add(member_.has_leader())
      .Gauge("etcd_server_is_leader", "Whether this member is the leader.")
      .Add(raft.role == raft::Role::kLeader)
      .Gauge("etcd_server_is_learner", "Whether this member is a learner.")
      .Add(member_.is_learner())
      .Counter("etcd_server_leader_changes_seen_total", "How often a leader became known.")
      .Add(leader_changes_.load())
      .Gauge("etcd_server_proposals_committed_total", "The index of the newest committed entry.")
      .Add(raft.commit_index)
      .Gauge("etcd_server_proposals_applied_total", "The index of the newest applied entry.")
      .Add(facts.applied)
      .Gauge("etcd_server_proposals_pending", "Requests that wait for a leader or a majority.")
      .Add(facts.status.pending)
      .Counter("etcd_server_proposals_failed_total", "Writes that were not applied here in time.")
      .Add(counters_.failed_proposals.load())
      .Counter("etcd_server_health_success", "Answers of /health that said true.")
      .Add(counters_.healthy.load())
      .Counter("etcd_server_health_failures", "Answers of /health that said false.")
      .Add(counters_.unhealthy.load())
      .Gauge("etcd_server_version", "The version of etcd's API that is announced.")
      .Add(1, {{"server_version", kEtcdVersion}})
      .Gauge("etcd_server_id", "The id of this member.")
      .Add(1, {{"server_id", absl::StrCat(absl::Hex(self_.id))}})
      .Gauge("raftkv_build_info", "The release of this program.")
      .Add(1, {{"version", kVersion}})
      .Gauge("raftkv_cluster_version", "The cluster version in force.")
      .Add(member_.cluster_version())
      .Gauge("raftkv_halted", "Whether this member has halted.")
      .Add(member_.halted())
      .Gauge("raftkv_out_of_space", "Whether the disk of this member is full.")
      .Add(member_.out_of_space())
      .Gauge("raftkv_raft_term", "The current term.")
      .Add(member_.term())
      .Gauge("raftkv_raft_last_index", "The index of the newest entry of the log.")
      .Add(raft.last_index)
      .Gauge("raftkv_raft_last_term", "The term of the newest entry of the log.")
      .Add(raft.last_term)
      .Gauge("raftkv_raft_first_index", "The index of the oldest entry of the log.")
      .Add(raft.first_index)
      .Gauge("raftkv_apply_lag_entries", "Committed entries that are not applied yet.")
      .Add(lag)
      .Histogram("raftkv_apply_duration_seconds", "How long one run of the applier took.")
      .Add(applies_);
}

void Metrics::AddStore(const MemberFacts& facts, Families* to) const {
  to->Histogram("etcd_disk_wal_fsync_duration_seconds", "How long a sync of the log took.")
      .Add(LogSyncDurations())
      .Gauge("etcd_mvcc_db_total_size_in_bytes", "The state and the log, on disk.")
      .Add(facts.state_bytes + facts.status.log_bytes)
      .Gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "The state, on disk.")
      .Add(facts.state_bytes)
      .Gauge("etcd_server_quota_backend_bytes", "The quota of the state; 0: there is none.")
      .Add(config_.storage.quota_backend_bytes)
      .Gauge("raftkv_disk_readers_in_use",
             "Whether reads of the state wait for the disk, and run on threads of their own.")
      .Add(facts.disk_readers_in_use)
      .Gauge("raftkv_log_bytes", "The log, on disk.")
      .Add(facts.status.log_bytes)
      .Gauge("etcd_debugging_mvcc_current_revision", "The newest revision.")
      .Add(facts.revision)
      .Gauge("etcd_debugging_mvcc_compact_revision", "The compacted revision.")
      .Add(facts.compacted_revision)
      .Gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches.")
      .Add(facts.watch_streams)
      .Gauge("etcd_debugging_mvcc_watcher_total", "Watches.")
      .Add(facts.watches)
      .Gauge("raftkv_watch_queued_bytes", "Events that wait to be sent to clients.")
      .Add(facts.watch_bytes)
      .Gauge("raftkv_leases", "Leases.")
      .Add(facts.leases);
}

void Metrics::AddEngines(const MemberFacts& facts, Families* to) const {
  const auto add = [&](const char* name, const char* what, auto EngineUsage::*value) {
    to->Gauge(name, what)
        .Add(facts.log_engine.*value, {{"db", "log"}})
        .Add(facts.state_engine.*value, {{"db", "state"}});
  };
  add("raftkv_rocksdb_write_buffer_bytes",
      "Bytes of writes in memory that are not in a table file yet.",
      &EngineUsage::write_buffer_bytes);
  add("raftkv_rocksdb_block_cache_bytes", "Blocks of table files in memory.",
      &EngineUsage::block_cache_bytes);
  add("raftkv_rocksdb_files", "Table files.", &EngineUsage::files);
  add("raftkv_rocksdb_first_level_files", "Table files of the first level, which flushes write.",
      &EngineUsage::first_level_files);
  add("raftkv_rocksdb_value_bytes", "Bytes of large values, which are in files of their own.",
      &EngineUsage::value_bytes);
  add("raftkv_rocksdb_garbage_bytes",
      "Bytes of these files that belong to removed values and are not freed yet.",
      &EngineUsage::garbage_bytes);
  add("raftkv_rocksdb_pending_compaction_bytes",
      "Estimated bytes that pending compactions will rewrite.", &EngineUsage::compaction_bytes);
  add("raftkv_rocksdb_running_flushes", "Running flushes.", &EngineUsage::flushes);
  add("raftkv_rocksdb_running_compactions", "Running compactions.", &EngineUsage::compactions);
  add("raftkv_rocksdb_slows_writes", "Whether RocksDB delays or stops writes.",
      &EngineUsage::slows_writes);
}

void Metrics::AddPeers(const MemberFacts& facts, Families* to) const {
  const raft::Status& raft = facts.status.raft;
  to->Gauge("raftkv_members", "Members of the cluster.")
      .Add(facts.members)
      .Gauge("raftkv_voters", "Members that vote.")
      .Add(facts.status.voters)
      .Counter("raftkv_peer_rejected_messages_total", "Messages of peers that were rejected.")
      .Add(facts.status.rejected_messages)
      .Gauge("raftkv_peer_active", "On the leader: whether the member answers.");
  const auto label = [](raft::MemberId id) -> Labels {
    return {{"peer", absl::StrCat(absl::Hex(id))}};
  };
  for (const auto& [id, peer] : raft.peers) to->Add(peer.recently_active, label(id));
  to->Gauge("raftkv_peer_lag_entries", "On the leader: entries that the member does not have yet.");
  for (const auto& [id, peer] : raft.peers) to->Add(raft.last_index - peer.match_index, label(id));
}

void Metrics::AddCalls(const ClientFacts& clients, Families* to) const {
  to->Gauge("raftkv_client_connections", "Connections of clients.")
      .Add(clients.connections)
      .Gauge("raftkv_client_calls", "Calls that are being served, streams included.")
      .Add(clients.calls)
      .Gauge("raftkv_client_unsent_bytes", "Answers that are not sent yet.")
      .Add(clients.unsent_bytes);
  to->Counter("grpc_server_started_total", "Calls that began.");
  for (const auto& [name, method] : methods_) to->Add(method->started(), method->labels());
  to->Counter("grpc_server_handled_total", "Calls that ended, by code.");
  for (const auto& [name, method] : methods_) {
    for (size_t code = 0; code < kCodes.size(); ++code) {
      const uint64_t count = method->handled(code);
      if (code > 0 && count == 0) continue;
      to->Add(count, method->labels() + ClientMetric::Label{"grpc_code", kCodes[code]});
    }
  }
  to->Histogram("grpc_server_handling_seconds", "How long calls took.");
  for (const auto& [name, method] : methods_) {
    if (method->started() > 0) to->Add(method->durations(), method->labels());
  }
}

}  // namespace raftkv
