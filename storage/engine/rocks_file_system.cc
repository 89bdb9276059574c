#include "storage/engine/rocks_file_system.h"

#include <rocksdb/file_system.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "storage/base/disk_operations.h"

namespace raftkv {

namespace {

using rocksdb::DataVerificationInfo;
using rocksdb::FileOptions;
using rocksdb::FSDirectory;
using rocksdb::FSRandomAccessFile;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// Adds how long `sync()` takes to LogSyncDurations, if it syncs a write-ahead log.
template <typename Sync>
IOStatus TimeSync(bool is_log, Sync sync) {
  const DiskOperation operation;
  if (!is_log) return sync();
  const auto start = std::chrono::steady_clock::now();
  IOStatus status = sync();
  LogSyncDurations().Add(absl::FromChrono(std::chrono::steady_clock::now() - start));
  return status;
}

// The compaction that this thread runs.
struct Compaction {
  bool running = false;
  bool refused = false;
  uint64_t room_at_begin = 0;
};
thread_local Compaction compaction;

constexpr absl::Duration kRetry = absl::Milliseconds(20);
constexpr int64_t kRefusedSeconds = 60;

int64_t MonotonicSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Whether `name` is a file that a compaction writes.
bool IsOfCompaction(const std::string& name) {
  return compaction.running && (absl::EndsWith(name, ".sst") || absl::EndsWith(name, ".blob"));
}

// Whether `name` is written past the page cache (docs/decisions/0031).
bool IsDirect(const std::string& name) { return absl::EndsWith(name, ".blob"); }

// Repeats an operation that must not fail while the disk is full.
template <typename Operation>
IOStatus Persist(WhenFull* when_full, IOStatus status, Operation again) {
  if (!status.IsNoSpace() || when_full == nullptr) return status;
  const WaitForSpace wait_of_thread;
  const WhenFull::Wait wait(when_full);
  while (status.IsNoSpace() && when_full->Await()) status = again();
  return status;
}

class WatchedWritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WatchedWritableFile(std::unique_ptr<FSWritableFile> file, const std::string& name,
                      const std::shared_ptr<WhenFull>& when_full)
      : FSWritableFileOwnerWrapper(std::move(file)),
        when_full_(when_full),
        of_compaction_(IsOfCompaction(name)),
        is_log_(absl::EndsWith(name, ".log")) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return AppendOrWait(data, options, debug,
                        [&] { return target()->Append(data, options, debug); });
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo& info,
                  IODebugContext* debug) override {
    return AppendOrWait(data, options, debug,
                        [&] { return target()->Append(data, options, info, debug); });
  }
  // RocksDB calls these for files that it writes past the page cache. A repeated one writes the
  // same bytes to the same place.
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    const auto append = [&] { return target()->PositionedAppend(data, offset, options, debug); };
    return WriteOrWait(data.size(), append, append);
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const DataVerificationInfo& info, IODebugContext* debug) override {
    const auto append = [&] {
      return target()->PositionedAppend(data, offset, options, info, debug);
    };
    return WriteOrWait(data.size(), append, append);
  }
  IOStatus Allocate(uint64_t offset, uint64_t size, const IOOptions& options,
                    IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->Allocate(offset, size, options, debug);
  }
  void PrepareWrite(size_t offset, size_t size, const IOOptions& options,
                    IODebugContext* debug) override {
    if (of_compaction_ && when_full_ != nullptr) return;  // it would take space for a whole file
    const DiskOperation operation;
    target()->PrepareWrite(offset, size, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    const DiskOperation operation;
    const auto truncate = [&] { return target()->Truncate(size, options, debug); };
    return of_compaction_ ? truncate() : Persist(when_full_.get(), truncate(), truncate);
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->Close(options, debug);
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->Flush(options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return TimeSync(is_log_, [&] { return target()->Sync(options, debug); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return TimeSync(is_log_, [&] { return target()->Fsync(options, debug); });
  }
  IOStatus RangeSync(uint64_t offset, uint64_t size, const IOOptions& options,
                     IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->RangeSync(offset, size, options, debug);
  }

 private:
  template <typename First>
  IOStatus AppendOrWait(const Slice& data, const IOOptions& options, IODebugContext* debug,
                        First append) {
    // An append that failed may have written a part. So it is repeated at the same offset, and from
    // then on each append names its offset.
    const auto again = [&] {
      return target()->PositionedAppend(data, target()->GetFileSize(options, debug), options,
                                        debug);
    };
    const auto first = [&] {
      IOStatus status = by_offset_ ? again() : append();
      by_offset_ |= status.IsNoSpace();
      return status;
    };
    return WriteOrWait(data.size(), first, again);
  }

  template <typename First, typename Again>
  IOStatus WriteOrWait(size_t bytes, First first, Again again) {
    const DiskOperation operation;
    if (of_compaction_) {
      const bool may = when_full_ == nullptr || when_full_->MayCompact(bytes);
      return may ? first() : IOStatus::NoSpace("a compaction leaves space for other writes");
    }
    return Persist(when_full_.get(), first(), again);
  }

  const std::shared_ptr<WhenFull> when_full_;
  const bool of_compaction_;
  const bool is_log_;
  bool by_offset_ = false;
};

class WatchedRandomAccessFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  using FSRandomAccessFileOwnerWrapper::FSRandomAccessFileOwnerWrapper;

  IOStatus Read(uint64_t offset, size_t size, const IOOptions& options, Slice* result,
                char* scratch, IODebugContext* debug) const override {
    const DiskOperation operation;
    return target()->Read(offset, size, options, result, scratch, debug);
  }
  IOStatus MultiRead(rocksdb::FSReadRequest* requests, size_t count, const IOOptions& options,
                     IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->MultiRead(requests, count, options, debug);
  }
  IOStatus Prefetch(uint64_t offset, size_t size, const IOOptions& options,
                    IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->Prefetch(offset, size, options, debug);
  }
};

class WatchedDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  using FSDirectoryWrapper::FSDirectoryWrapper;

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    const DiskOperation operation;
    return FSDirectoryWrapper::Fsync(options, debug);
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& dir) override {
    const DiskOperation operation;
    return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, dir);
  }
};

class WatchedFiles final : public rocksdb::FileSystemWrapper {
 public:
  WatchedFiles(const std::shared_ptr<rocksdb::FileSystem>& base,
               std::shared_ptr<WhenFull> when_full)
      : FileSystemWrapper(base), when_full_(std::move(when_full)) {}

  const char* Name() const override { return "raftkv.WatchedFileSystem"; }

  IOStatus NewWritableFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) override {
    if (IsOfCompaction(name) && when_full_ != nullptr && !when_full_->MayCompact(0)) {
      return IOStatus::NoSpace("a compaction leaves space for other writes");
    }
    const auto open = [&] {
      FileOptions of_file = options;
      if (IsDirect(name)) {
        IOStatus status = TryDirectWrites(name, options, debug);
        if (!status.ok()) return status;
        of_file.use_direct_writes = direct_writes_ == DirectWrites::kWork;
      }
      return target()->NewWritableFile(name, of_file, file, debug);
    };
    return WatchWritable(open, file, name);
  }
  IOStatus ReopenWritableFile(const std::string& name, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* file,
                              IODebugContext* debug) override {
    return WatchWritable([&] { return target()->ReopenWritableFile(name, options, file, debug); },
                         file, name);
  }
  IOStatus ReuseWritableFile(const std::string& name, const std::string& old_name,
                             const FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                             IODebugContext* debug) override {
    return WatchWritable(
        [&] { return target()->ReuseWritableFile(name, old_name, options, file, debug); }, file,
        name);
  }
  IOStatus NewRandomAccessFile(const std::string& name, const FileOptions& options,
                               std::unique_ptr<FSRandomAccessFile>* file,
                               IODebugContext* debug) override {
    return Watch<WatchedRandomAccessFile>(
        [&] { return target()->NewRandomAccessFile(name, options, file, debug); }, file);
  }
  IOStatus NewDirectory(const std::string& name, const IOOptions& options,
                        std::unique_ptr<FSDirectory>* directory, IODebugContext* debug) override {
    return Watch<WatchedDirectory>(
        [&] { return target()->NewDirectory(name, options, directory, debug); }, directory);
  }

  IOStatus DeleteFile(const std::string& name, const IOOptions& options,
                      IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->DeleteFile(name, options, debug);
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override {
    const DiskOperation operation;
    const auto rename = [&] { return target()->RenameFile(from, to, options, debug); };
    return Persist(when_full_.get(), rename(), rename);
  }

 private:
  enum class DirectWrites { kUntried, kWork, kFail };

  // Sets direct_writes_, by writing one page to a new file. tmpfs before Linux 6.6 cannot open such
  // a file; other file systems open it, and a write fails. NoSpace: not known yet.
  IOStatus TryDirectWrites(const std::string& name, const FileOptions& options,
                           IODebugContext* debug) {
    if (direct_writes_ != DirectWrites::kUntried) return IOStatus::OK();
    FileOptions direct = options;
    direct.use_direct_writes = true;
    std::unique_ptr<FSWritableFile> file;
    IOStatus status = target()->NewWritableFile(name, direct, &file, debug);
    if (status.ok()) {
      // Neither the place in memory nor that in the file is aligned to more than this.
      const size_t size = file->GetRequiredBufferAlignment();
      const std::unique_ptr<char, decltype(&free)> pages(
          static_cast<char*>(std::aligned_alloc(2 * size, 2 * size)), &free);
      std::memset(pages.get(), 0, 2 * size);
      const Slice page(pages.get() + size, size);
      status = file->PositionedAppend(page, /*offset=*/size, IOOptions(), debug);
    }
    if (status.IsNoSpace()) return status;
    direct_writes_ = status.ok() ? DirectWrites::kWork : DirectWrites::kFail;
    return IOStatus::OK();
  }

  template <typename Open>
  IOStatus WatchWritable(Open open, std::unique_ptr<FSWritableFile>* file,
                         const std::string& name) {
    const auto open_or_wait = [&] {
      return IsOfCompaction(name) ? open() : Persist(when_full_.get(), open(), open);
    };
    return Watch<WatchedWritableFile>(open_or_wait, file, name, when_full_);
  }
  // `open` opens the file. `more`: further arguments of Watched.
  template <typename Watched, typename File, typename Open, typename... More>
  static IOStatus Watch(Open open, std::unique_ptr<File>* file, const More&... more) {
    const DiskOperation operation;
    IOStatus status = open();
    if (status.ok()) *file = std::make_unique<Watched>(std::move(*file), more...);
    return status;
  }

  const std::shared_ptr<WhenFull> when_full_;
  std::atomic<DirectWrites> direct_writes_{DirectWrites::kUntried};
};

}  // namespace

void WhenFull::BeginCompaction(bool manual) {
  compaction = {.running = true, .refused = false, .room_at_begin = room_->ForCompactions()};
  const uint64_t before = refused_room_;
  compaction.refused = before != 0 && !manual && compaction.room_at_begin < before + before / 8 &&
                       MonotonicSeconds() < refused_at_ + kRefusedSeconds;
}

void WhenFull::EndCompaction(bool succeeded) {
  compaction = {};
  if (succeeded) refused_room_ = 0;
}

bool WhenFull::refused() { return compaction.refused; }

void WhenFull::OnOtherWork() { compaction = {}; }

bool WhenFull::MayCompact(uint64_t bytes) {
  if (compaction.refused) return false;
  if (room_->ForCompactions() > bytes) return true;
  compaction.refused = true;
  refused_room_ = std::max<uint64_t>(compaction.room_at_begin, 1);
  refused_at_ = MonotonicSeconds();
  return false;
}

bool WhenFull::Await() {
  if (closed_) return false;
  if (room_->ReleaseReserve()) return true;
  on_wait_();
  absl::SleepFor(kRetry);
  return !closed_;
}

std::shared_ptr<rocksdb::FileSystem> WatchedFileSystem(
    const std::shared_ptr<rocksdb::FileSystem>& base, std::shared_ptr<WhenFull> when_full) {
  return std::make_shared<WatchedFiles>(base, std::move(when_full));
}

}  // namespace raftkv
