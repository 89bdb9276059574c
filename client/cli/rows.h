// Results of the verbs that ask each endpoint separately. One row is about one endpoint.
#ifndef RAFTKV_CLIENT_CLI_ROWS_H_
#define RAFTKV_CLIENT_CLI_ROWS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/raftkv.h"

namespace raftkv::client {

struct EndpointStatus {
  std::string endpoint;
  StatusResult status;
};

struct EndpointHealth {
  std::string endpoint;
  absl::Duration took;
  absl::Status error;  // OK: healthy
};

struct EndpointHash {
  std::string endpoint;
  HashKvResult hash;
};

struct EndpointDefrag {
  std::string endpoint;
  absl::Status error;  // OK: started (raftkv) or done (etcd)
};

// The contents of a backup (snapshot status).
struct BackupStatus {
  std::string sha256;  // hexadecimal
  int64_t revision = 0;
  int64_t compact_revision = 0;  // -1: never compacted
  int64_t total_keys = 0;
  int64_t total_size = 0;  // of the file
  uint64_t raft_index = 0;
  uint64_t raft_term = 0;
  uint64_t cluster_version = 0;
  std::string cluster_name;
  uint64_t cluster_id = 0;
  std::string member_name;
  uint64_t member_id = 0;
  absl::Time taken_at;
  std::string server_version;

  // The first 32 bits of the SHA-256, because etcd's hash of a snapshot has 32 bits.
  std::string hash() const { return sha256.substr(0, 8); }
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_ROWS_H_
