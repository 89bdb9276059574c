#ifndef RAFTKV_CONFIG_CONFIG_H_
#define RAFTKV_CONFIG_CONFIG_H_

// What an operator sets: one TOML file that all members of a cluster share (config/cluster.toml
// documents every key). Defaults < file. Read once at start; a plain value afterwards.
//
// Durations in the file are strings ("100ms", "1s", "2m"), byte sizes are integers. Everything
// wrong with a file comes back as one InvalidArgument line: file, line, what is wrong, remedy.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace raftkv {

inline constexpr char kVersion[] = "0.1.0";
// The etcd API version we announce (Status, /version): clients decide by it what they may use.
inline constexpr char kEtcdVersion[] = "3.6.4";

struct MemberConfig {
  std::string name;
  std::string peer_url;           // "http://host:port", as other members reach it
  std::string client_url;         // as clients reach it
  std::string listen_peer_url;    // where to listen; default: peer_url
  std::string listen_client_url;  // default: client_url
  std::string data_dir;           // relative to the working directory

  uint64_t id = 0;  // derived: etcd's deterministic id of (peer_url, cluster name)
};

struct LimitsConfig {
  int64_t max_request_bytes = 1572864;  // encoded request; beyond: "request is too large"
  int64_t max_txn_ops = 128;
  int64_t max_response_bytes = 512 << 20;  // of one read; beyond: "response is too large"
  absl::Duration request_timeout = absl::Seconds(7);  // 5 s + 2 x election timeout, as etcd
  // A save in flight longer: the process ends. In [election_timeout, request_timeout).
  absl::Duration disk_stall_timeout = absl::Seconds(5);
  int64_t max_pending_requests = 16384;
};

struct StorageConfig {
  int64_t cache_bytes = 64 << 20;  // block cache of the state machine
};

struct LogConfig {
  std::string level = "info";  // info, warning, error
};

struct Config {
  std::string cluster_name = "default";
  absl::Duration heartbeat_interval = absl::Milliseconds(100);
  absl::Duration election_timeout = absl::Seconds(1);
  std::vector<MemberConfig> members;
  LimitsConfig limits;
  StorageConfig storage;
  LogConfig log;

  uint64_t cluster_id = 0;  // derived from the members' ids
};

absl::StatusOr<Config> LoadConfig(const std::string& path);

// With no arguments at all: one member, ./default.raftkv, 127.0.0.1:2379 and :2380.
Config DefaultConfig();

// Index into config.members of `which`: a name, or a 1-based number. Empty is allowed for a file of
// one member. InvalidArgument names the members there are.
absl::StatusOr<size_t> FindMember(const Config& config, const std::string& which);

// "127.0.0.1:2379" of "http://127.0.0.1:2379". The URL was validated by LoadConfig.
std::string HostPort(const std::string& url);

// etcd's deterministic ids (so that a client sees stable ones): member = first 8 bytes, big endian,
// of SHA-1(peer URLs sorted and joined + token); cluster = the same of the members' ids, 8 bytes
// big endian each, ascending.
uint64_t MemberIdOf(const std::string& peer_url, const std::string& cluster_name);
uint64_t ClusterIdOf(std::vector<uint64_t> member_ids);

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_CONFIG_H_
