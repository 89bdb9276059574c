#ifndef RAFTKV_STORAGE_RESTORED_STATE_H_
#define RAFTKV_STORAGE_RESTORED_STATE_H_

// What a restored backup (storage/data_dir/restore.h) has beyond the backup.

#include <cstdint>
#include <vector>

#include "proto/etcd/rpc.pb.h"
#include "storage/log/entry.h"
#include "storage/state_machine.h"

namespace raftkv {

// The entries that make the state of a backup that of a new cluster with these members: the same on
// every member. The log begins after the last one. `bump_revision`: RestoreOptions.
std::vector<raft::Entry> EntriesAfter(const StateMachine& saved,
                                      const std::vector<etcdserverpb::Member>& members,
                                      int64_t bump_revision);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_RESTORED_STATE_H_
