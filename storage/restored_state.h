#ifndef RAFTKV_STORAGE_RESTORED_STATE_H_
#define RAFTKV_STORAGE_RESTORED_STATE_H_

// The entries that a restore adds to a backup (storage/data_dir/restore.h).

#include <cstdint>
#include <vector>

#include "proto/etcd/rpc.pb.h"
#include "storage/log/entry.h"
#include "storage/state_machine.h"

namespace raftkv {

// Applied to the state of a backup, these entries make it the state of a new cluster with these
// members. They are the same on every member. The log begins after the last one. `bump_revision`:
// RestoreOptions.
std::vector<raft::Entry> EntriesAfter(const StateMachine& saved,
                                      const std::vector<etcdserverpb::Member>& members,
                                      int64_t bump_revision);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_RESTORED_STATE_H_
