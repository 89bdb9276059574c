// The cluster: the results of calls about members, alarms and the state of one member.
#ifndef RAFTKV_CLIENT_RAFTKV_CLUSTER_H_
#define RAFTKV_CLIENT_RAFTKV_CLUSTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kv.h"  // relative, because the installed headers have no folder client/

namespace raftkv::client {

struct HashKvResult {
  Header header;
  // Members with the same data and the same two revisions return the same hash. A raftkv member
  // hashes the keys that exist at hash_revision. A member of etcd also hashes their versions since
  // compact_revision.
  uint32_t hash = 0;
  int64_t compact_revision = 0;
  int64_t hash_revision = 0;  // 0: the server does not report it (etcd 3.4)
};

struct StatusResult {
  Header header;
  std::string version;  // the version of etcd's API that the member serves
  int64_t db_size = 0;  // bytes
  int64_t db_size_in_use = 0;
  uint64_t leader = 0;  // member id; 0: none known
  uint64_t raft_term = 0;
  uint64_t raft_index = 0;
  uint64_t raft_applied_index = 0;
  bool is_learner = false;
  std::vector<std::string> errors;
  std::string storage_version;
  int64_t db_size_quota = 0;
  // Only members of raftkv report these.
  std::string server_version;           // of the member's program
  uint64_t cluster_version = 0;         // in force
  uint64_t newest_cluster_version = 0;  // that the member's program knows
};

struct Member {
  uint64_t id = 0;
  std::string name;  // empty until the member has started
  std::vector<std::string> peer_urls;
  std::vector<std::string> client_urls;
  bool is_learner = false;
};

struct MemberListResult {
  Header header;
  std::vector<Member> members;
};

struct MemberAddResult {
  Header header;
  Member member;  // the new one
  std::vector<Member> members;
};

struct Alarm {
  std::string type;  // "NOSPACE" or "CORRUPT"
  uint64_t member = 0;
};

struct AlarmResult {
  Header header;
  std::vector<Alarm> alarms;
};

struct MoveLeaderResult {
  Header header;
};

struct DefragmentResult {
  Header header;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_CLUSTER_H_
