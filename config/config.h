#ifndef RAFTKV_CONFIG_CONFIG_H_
#define RAFTKV_CONFIG_CONFIG_H_

// The configuration: one TOML file that all members of a cluster share (config/cluster.toml
// documents every key). Keys that the file leaves out have their defaults. The file is read once,
// at the start; afterwards Config is a plain value.
//
// Durations in the file are strings ("100ms", "1s", "2m"), byte sizes are integers. An invalid file
// returns InvalidArgument with one line: file, line number, what is wrong, how to fix it.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace raftkv {

// The version of etcd's API that we announce (Status, /version). Clients use it to decide which
// features they use.
inline constexpr char kEtcdVersion[] = "3.7.1";
// What etcd of that release announces as the version of the cluster and of its storage.
inline constexpr char kEtcdClusterVersion[] = "3.7.0";

struct MemberConfig {
  std::string name;
  std::string peer_url;           // "http://host:port", where other members reach this one
  std::string client_url;         // where clients reach this one
  std::string listen_peer_url;    // where to listen; default: peer_url
  std::string listen_client_url;  // default: client_url
  // Further ports, which serve the pages of HTTP only (/metrics, /health, ...).
  std::vector<std::string> listen_metrics_urls;
  std::string data_dir;  // relative to the working directory

  uint64_t id = 0;  // derived: etcd's deterministic id of (peer_url, cluster name)
};

struct LimitsConfig {
  int64_t max_request_bytes = 1572864;  // encoded request; beyond: "request is too large"
  int64_t max_txn_ops = 128;
  int64_t max_response_bytes = 512 << 20;             // one read; beyond: "response is too large"
  absl::Duration request_timeout = absl::Seconds(7);  // as etcd: 5 s + 2 x election_timeout
  // A save that takes longer ends the process. In [election_timeout, request_timeout).
  absl::Duration disk_stall_timeout = absl::Seconds(5);
  int64_t max_pending_requests = 16384;
  // A watch with progress_notify that had no events for this time is sent the current revision.
  absl::Duration watch_progress_notify_interval = absl::Minutes(10);
};

struct StorageConfig {
  int64_t cache_bytes = 64 << 20;   // block cache of the state machine
  int64_t quota_backend_bytes = 0;  // of the state machine; beyond: the alarm NOSPACE. 0: none
  // Free space on the volume below which the alarm NOSPACE is raised. 0: 10 %, at most 1 GiB.
  int64_t min_free_bytes = 0;
  std::string auto_compaction_mode = "periodic";  // periodic, revision
  std::string auto_compaction_retention = "0";
  // Derived from the two above. At most one is not zero. Both zero: no automatic compaction.
  absl::Duration auto_compaction_period = absl::ZeroDuration();
  int64_t auto_compaction_revisions = 0;
};

struct LogConfig {
  std::string level = "info";   // info, warning, error
  std::string format = "text";  // text, json
};

struct Config {
  std::string path;  // of the file; empty: there is none
  std::string cluster_name = "default";
  std::string cluster_state = "new";  // new; existing: a first start joins a running cluster
  absl::Duration heartbeat_interval = absl::Milliseconds(100);
  absl::Duration election_timeout = absl::Seconds(1);
  std::vector<MemberConfig> members;
  LimitsConfig limits;
  StorageConfig storage;
  LogConfig log;

  uint64_t cluster_id = 0;  // derived from the members' ids
  // The names that the members of a running cluster have, by id, if this process joins it. Then the
  // ids above may be wrong: the cluster derives those of added members in another way.
  std::map<uint64_t, std::string> joined_names;
};

absl::StatusOr<Config> LoadConfig(const std::string& path);
// The same for the text of a file. Errors name it "configuration".
absl::StatusOr<Config> ParseConfig(const std::string& text);

// Used when the server gets no file: one member, ./default.raftkv, 127.0.0.1:2379 and :2380.
Config DefaultConfig();

// Returns the index into config.members of `which`: a name, or a position from 1. `which` may be
// empty if there is only one member. InvalidArgument lists the members.
absl::StatusOr<size_t> FindMember(const Config& config, const std::string& which);

// Ids are derived as in etcd, so that they do not change between starts. A member's id is the first
// 8 bytes, big endian, of SHA-1(peer URL + cluster name). The cluster's id is the first 8 bytes of
// SHA-1(the members' ids in ascending order, each as 8 bytes, big endian).
// DeriveIds sets all ids. A cluster that was restored from a backup has a token, which stands after
// the cluster name, so that its ids differ from those of the cluster that was saved.
void DeriveIds(Config* config, const std::string& token = "");
uint64_t MemberIdOf(const std::string& peer_url, const std::string& cluster_name);
uint64_t ClusterIdOf(std::vector<uint64_t> member_ids);

// The names of the members, in the order of the file.
std::vector<std::string> NamesIn(const Config& config);
// Sorts names of members as `listed` has them. Those that it does not have come last.
void SortAsListed(const std::vector<std::string>& listed, std::vector<std::string>* names);

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_CONFIG_H_
