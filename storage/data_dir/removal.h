#ifndef RAFTKV_STORAGE_DATA_DIR_REMOVAL_H_
#define RAFTKV_STORAGE_DATA_DIR_REMOVAL_H_

// What a data directory says about the removal of its member from the cluster. The log says it, if
// it has the entry. If the member was away and another one told it, the file REMOVED says it.

#include <string>

#include "absl/status/status.h"
#include "storage/log/log_store.h"
#include "storage/rules/members.h"
#include "storage/state_machine.h"

namespace raftkv {

// Creates REMOVED.
absl::Status NoteRemoved(const std::string& dir);
bool IsNotedRemoved(const std::string& dir);
// Removes REMOVED, if it exists: the member is the only one of its cluster now
// (server/force_new_cluster.h).
absl::Status ForgetRemoval(const std::string& dir);

// The members after all configuration entries of the log, committed or not.
Members MembersInLog(const StateMachine& state, const LogStore& log);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_REMOVAL_H_
