#ifndef RAFTKV_STORAGE_ENGINE_MEMORY_ENGINE_H_
#define RAFTKV_STORAGE_ENGINE_MEMORY_ENGINE_H_

// The engine of the simulator and of tests. It keeps everything in memory and can simulate a crash.
//
// MemoryDisk holds the data that outlives a process. For each key it has the values by batch
// number, newest first. It also has the number of the last durable batch. A view is a batch number.
// A sync or flush raises the number of the last durable batch. A crash loses the batches after it.
// So all of these are cheap, and one structure serves as memory and as disk. A value is removed
// when no view and no crash can make it visible again.
//
//   auto disk = std::make_shared<MemoryDisk>();
//   auto engine = std::make_unique<MemoryEngine>(disk, Durability::kSynced);
//   ...; engine.reset(); disk->Crash(); engine = std::make_unique<MemoryEngine>(disk, ...);
//
// Deterministic. One mutex makes it thread-safe, because any thread may read views.

#include <cstdint>
#include <forward_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/engine/engine.h"

namespace raftkv {

class MemoryDisk {
 public:
  // How many batches a crash now could lose.
  uint64_t batches_at_risk() const;

  // Simulates a power loss: of the batches at risk, only the first `kept` survive. The engine and
  // all its views must have been destroyed before.
  void Crash(uint64_t kept = 0);

  // Simulates a disk that loses durable data: from now on the last `batches` durable batches can be
  // lost.
  void KeepTorn(uint64_t batches);
  // Returns a copy without up to `batches` of the last ones. Nothing may be at risk or pinned.
  std::shared_ptr<MemoryDisk> Torn(uint64_t batches) const;

  bool would_stall = false;  // what Engine::WouldStall answers

 private:
  friend class MemoryEngine;
  friend class MemoryView;
  friend class MemoryIterator;

  struct Version {
    uint64_t batch;
    std::optional<std::string> value;  // none: deleted
  };
  using Versions = std::forward_list<Version>;  // newest first; a pinned version never moves
  using Cells = std::map<std::string, Versions, std::less<>>;

  // The value that a view of `batch` sees, or null.
  static const std::string* Visible(const Versions& versions, uint64_t batch);

  void SetLocked(std::string_view key, std::optional<std::string> value)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The oldest batch that a view or a crash can make visible. Of the versions of a key at or before
  // it, only the newest is still needed.
  uint64_t FloorLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes all batches durable.
  void SurviveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PruneLocked(Versions* versions, uint64_t floor) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Prunes all keys and removes the deleted ones.
  void SweepLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  Cells cells_ ABSL_GUARDED_BY(mutex_);
  uint64_t written_ ABSL_GUARDED_BY(mutex_) = 0;   // number of the last batch
  uint64_t survived_ ABSL_GUARDED_BY(mutex_) = 0;  // number of the last durable batch
  uint64_t tearable_ ABSL_GUARDED_BY(mutex_) = 0;  // how many durable batches Torn may leave out
  uint64_t kept_ ABSL_GUARDED_BY(mutex_) = 0;      // Torn can go back to this batch
  std::vector<Cells::iterator> at_risk_ ABSL_GUARDED_BY(mutex_);  // changed after survived_
  std::multiset<uint64_t> pins_ ABSL_GUARDED_BY(mutex_);          // batch numbers of the views
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t stale_ ABSL_GUARDED_BY(mutex_) = 0;  // overwrites and deletions since the last sweep
  bool in_use_ ABSL_GUARDED_BY(mutex_) = false;
};

class MemoryEngine final : public Engine {
 public:
  MemoryEngine(std::shared_ptr<MemoryDisk> disk, Durability durability);
  ~MemoryEngine() override;

  void Write(const WriteBatch& batch, bool sync) override;
  std::optional<std::string> Get(std::string_view key) const override;
  std::unique_ptr<Iterator> NewIterator(std::string_view upper = {},
                                        int64_t* skips_left = nullptr) const override;
  std::shared_ptr<const View> NewView() const override;
  absl::Status Scan(std::string_view begin, std::string_view end,
                    const Visitor& visit) const override;
  absl::StatusOr<std::optional<KeyValue>> Last() const override;
  void Drop(std::string_view end) override;
  uint64_t written() const override;
  uint64_t survived() const override;
  void Flush() override;
  void StartFlush() override { Flush(); }
  uint64_t DiskBytes() const override;
  bool WouldStall() const override { return disk_->would_stall; }

 private:
  const std::shared_ptr<MemoryDisk> disk_;
  const Durability durability_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_MEMORY_ENGINE_H_
