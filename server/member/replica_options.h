#ifndef RAFTKV_SERVER_MEMBER_REPLICA_OPTIONS_H_
#define RAFTKV_SERVER_MEMBER_REPLICA_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/etcd/rpc.pb.h"
#include "server/member/auto_compaction.h"
#include "server/member/log_tail.h"
#include "server/member/space.h"
#include "server/raft/config.h"
#include "storage/rules/version.h"

namespace raftkv {

struct ReplicaOptions {
  // The newest cluster version that this member knows. Tests announce an older one.
  ClusterVersion newest_version = kNewestVersion;
  std::string store_id;
  uint64_t boot_id = 0;  // differs at each process start
  raft::Config raft;     // raft.id is this member's id
  // In force until the log has the members: the voters of the config file. Empty on a member that
  // joins a cluster.
  raft::Configuration configuration;
  // The members of the config file. If the log has no members, and the cluster version allows it, a
  // leader writes them to the log. Empty: no leader does (tests).
  std::vector<etcdserverpb::Member> first_members;
  // The log of a new data directory ends at this entry: 0, or the base of a cluster that was
  // restored from a backup (storage/data_dir/restore.h).
  raft::Index base_index = 0;
  // This member's name and client URLs, which it tells the others through the log.
  etcdserverpb::Member self;
  absl::Duration tick = absl::Milliseconds(10);
  absl::Duration request_timeout = absl::Seconds(7);
  LogTail tail;
  SpaceOptions space;
  AutoCompactionOptions auto_compaction;
  // Limits of the number of unanswered requests, and of the bytes of uncommitted proposals. Beyond
  // them a request is answered kTooManyRequests. A single proposal may be larger.
  size_t pending_max = 16384;
  size_t pending_bytes_max = 128 << 20;
  // A client's command of at least this size is large (large_pace.h).
  size_t large_bytes = 64 << 10;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_REPLICA_OPTIONS_H_
