#ifndef RAFTKV_TESTS_STORAGE_CRASH_STORY_H_
#define RAFTKV_TESTS_STORAGE_CRASH_STORY_H_

// A random sequence of what a member does to its data directory, recorded, and what must hold if
// the power fails anywhere in it.
//
// The operations: append, overwrite a part of the log that is not committed, change term and vote,
// permit voting, apply, compact, flush, cut the log, take a snapshot for another member, install a
// snapshot, restart. Each one is *acknowledged* when its call returns. After a power loss the
// log must be as it was before or after the operation that ran; the state machine must have applied
// at least what was persisted and at most what was applied, with the digest and the hash of the
// history at that entry; the directory must open without an error; and the log must then bring the
// state machine to where it was.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "storage/data_dir/data_dir.h"
#include "tests/model/random_requests.h"
#include "tests/sim/rng.h"
#include "tests/storage/crash_disk.h"
#include "tests/storage/testing.h"

namespace raftkv {

// Everything that the cluster has committed. It is held by a member outside of the recorded
// directory, which sends snapshots.
class History {
 public:
  explicit History(const std::string& dir);

  raft::Index last() const { return sender_.log->last_index(); }
  raft::EntryId last_id() const { return {sender_.log->TermAt(last()), last()}; }
  void Commit(const std::vector<raft::Entry>& entries);
  std::vector<raft::Entry> Entries(raft::Index first, raft::Index last) const;
  // Draws entries after `after`, which need not be committed.
  std::vector<raft::Entry> Draw(const raft::EntryId& after, raft::Term term, uint64_t count);

  // "": `state` is the history's at its applied entry.
  std::string Compare(const StateMachine& state) const;
  // Sends a snapshot of everything. `damage` may change the contents of its files.
  using Files = std::vector<std::string>;
  absl::StatusOr<std::unique_ptr<ReceivedSnapshot>> TrySend(
      StateDirs* to, const std::function<void(const SnapshotManifest&, Files&)>& damage) const;
  std::unique_ptr<ReceivedSnapshot> Send(StateDirs* to) const;

 private:
  struct Moment {
    uint64_t digest = 0;
    uint32_t hash = 0;
  };
  void Note();

  DataDir sender_;
  RandomRequests random_;
  std::vector<Moment> moments_;  // after so many entries
};

class CrashStory {
 public:
  // Runs `operations` operations that follow from `seed`, in directories below `dir`. `ignored`: as
  // in Recording.
  CrashStory(uint64_t seed, int operations, const std::string& dir,
             std::function<bool(const std::string&)> ignored = {});

  // The moments at which the power may fail: before the change with this number.
  size_t points() const { return changes_.size(); }

  struct Outcome {
    std::string operation;              // that ran
    std::string failure;                // empty: all is as it must be
    std::vector<std::string> warnings;  // of the directory that opened
    bool fresh = true;                  // false: the same files were checked before
  };
  // Opens what each of the ways to lose data leaves before change `point`. Call it with ascending
  // points.
  std::vector<Outcome> CrashBefore(size_t point);

 private:
  // The visible state of a log.
  struct Shape {
    raft::HardState hard_state;
    raft::Index first = 1;
    LogStore::Tip last;
    bool may_vote = false;
    friend bool operator==(const Shape&, const Shape&) = default;
    std::string ToString() const;
  };
  static Shape ShapeOf(const LogStore& log);

  // One operation, and what a power loss during it may leave.
  struct Step {
    std::string operation;
    Shape before, after;
    raft::Index persisted = 0;  // of the state machine, before
    raft::Index applied = 0;    // the most that it may have applied
    raft::Index committed = 0;  // before
    std::string store_id;       // empty: not known yet
  };
  void Begin(const char* operation);
  void End();
  void Run(int operations);
  void Do(uint64_t draw);
  void Open();
  void Append();
  void Overwrite();
  void Vote();
  void Apply();
  void Cut();
  void Install();
  raft::Term term() const { return member_.log->hard_state().current_term; }

  absl::StatusOr<DataDir> OpenAt(const std::string& dir) const;
  std::string Check(const Step& step, const std::string& dir, std::vector<std::string>* warnings);
  std::string CheckOpened(const Step& step, DataDir* opened);

  const std::string dir_;
  sim::Rng rng_;
  History history_;
  DataDir member_;
  raft::Index committed_ = 0;
  std::vector<Step> steps_;
  std::unique_ptr<Recording> recording_;

  std::vector<Change> changes_;
  CrashDisk disk_;  // after the first `replayed_` changes
  size_t replayed_ = 0;
  size_t step_ = 0;                                // that runs there
  std::set<std::pair<size_t, uint64_t>> checked_;  // step and hash of an image
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_CRASH_STORY_H_
