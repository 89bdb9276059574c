#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_FILE_SYSTEM_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_FILE_SYSTEM_H_

// The file system that RocksDB uses. It marks each system call that may wait for the disk as a
// DiskOperation (storage/base/disk_operations.h), and WhenFull decides what happens when the disk
// is full. Blob files are written past the page cache if the file system below it can do that
// (docs/decisions/0031). All else is done by that file system.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "storage/base/disk_space.h"

namespace rocksdb {
class FileSystem;
}

namespace raftkv {

// What the files of one engine do when the disk is full. RocksDB does not repeat a failed flush by
// itself, and ends all writes after an error of its write-ahead log. So these writes must not fail:
// they first use the space of the reserve, and then wait until there is space. A compaction may
// fail, because RocksDB repeats it. It never uses the space that the other writes need.
// Writes wait when a file is opened, appended to, truncated or renamed. A file system that reports
// a full disk only at a sync (btrfs may) still ends the process. Thread-safe.
class WhenFull {
 public:
  // `on_wait` is called several times a second on each thread that waits.
  WhenFull(std::shared_ptr<const Room> room, std::function<void()> on_wait)
      : room_(std::move(room)), on_wait_(std::move(on_wait)) {}

  // The engine calls these on the thread that compacts. After a compaction that did not fit, others
  // fail at once until there is more space, or a minute has passed; except for a manual one.
  void BeginCompaction(bool manual);
  void EndCompaction(bool succeeded);
  // Whether the compaction of this thread was refused space. Call it before EndCompaction.
  static bool refused();
  // Call it when a flush begins: RocksDB does not report the end of each compaction.
  static void OnOtherWork();

  // Whether the compaction of this thread may write `bytes` more.
  bool MayCompact(uint64_t bytes);
  // Lives while any other write that found the disk full is repeated.
  class Wait {
   public:
    explicit Wait(WhenFull* when_full) : waits_(when_full->waits_) { ++waits_; }
    ~Wait() { --waits_; }
    Wait(const Wait&) = delete;

   private:
    std::atomic<int>& waits_;
  };
  // Returns once the write may be repeated. False: the engine is being closed.
  bool Await();
  // Whether a write waits. From any thread.
  bool waits() const { return waits_ > 0; }
  // From now on Await returns false.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }

 private:
  const std::shared_ptr<const Room> room_;
  const std::function<void()> on_wait_;
  std::atomic<bool> closed_{false};
  std::atomic<int> waits_{0};
  // The last compaction that did not fit: the space when it began (Room::ForCompactions), and the
  // time when it failed (in seconds of a monotonic clock). 0: there was none, or a later one
  // fitted.
  std::atomic<uint64_t> refused_room_{0};
  std::atomic<int64_t> refused_at_{0};
};

// `when_full` may be null: then a write to a full disk fails.
std::shared_ptr<rocksdb::FileSystem> WatchedFileSystem(
    const std::shared_ptr<rocksdb::FileSystem>& base, std::shared_ptr<WhenFull> when_full);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_FILE_SYSTEM_H_
