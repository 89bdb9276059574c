#ifndef RAFTKV_STORAGE_SNAPSHOT_H_
#define RAFTKV_STORAGE_SNAPSHOT_H_

// Snapshots of the state machine that members send each other (§7), and how one replaces this
// member's state machine and log.
//
// The state machine and the log are two stores, so an install has three steps, each durable before
// the next one begins (docs/decisions/0012):
//
//   1. StateStore::Replace   records the snapshot as the state machine, and the last entry that it
//                            contains
//   2. LogStore::Reset       empties the log; it continues after that entry
//   3. StateStore::Replaced  removes the record of the entry
//
// After a crash before step 1, the old state machine and log are there. After a crash between 1 and
// 3, the next start calls ResumeInstall before it reads the log.

#include <memory>
#include <utility>

#include "storage/log/log_store.h"
#include "storage/state_machine.h"

namespace raftkv {

// A snapshot that has arrived completely, is verified and is durable, but not in use. If the object
// is destroyed before the snapshot is used, its files are removed.
class ReceivedSnapshot {
 public:
  // `base`: the last entry that the snapshot contains. `configuration`: the one in force there, or
  // an empty one, if the log did not have the members yet.
  ReceivedSnapshot(const LogStore::Tip& base, raft::Configuration configuration)
      : base_(base), configuration_(std::move(configuration)) {}
  virtual ~ReceivedSnapshot() = default;
  const LogStore::Tip& base() const { return base_; }
  const raft::Configuration& configuration() const { return configuration_; }

 private:
  const LogStore::Tip base_;
  const raft::Configuration configuration_;
};

// Where a member's state machine is stored. Used on the thread of the member's turns. Implemented
// on disk by storage/data_dir/state_dirs.h, and by the simulator. A failed write ends the process.
class StateStore {
 public:
  virtual ~StateStore() = default;
  virtual std::unique_ptr<StateMachine> Replace(std::unique_ptr<ReceivedSnapshot> snapshot) = 0;
  virtual void Replaced() = 0;
};

// `base`: the entry that Replace has recorded, if Replaced has not removed the record.
inline void ResumeInstall(const LogStore::Tip& base, LogStore* log) {
  if (!log->Contains(base)) log->Reset(base);
}

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_SNAPSHOT_H_
