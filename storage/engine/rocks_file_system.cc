#include "storage/engine/rocks_file_system.h"

#include <rocksdb/file_system.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
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

class WatchedWritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WatchedWritableFile(std::unique_ptr<FSWritableFile> file, const std::string& name)
      : FSWritableFileOwnerWrapper(std::move(file)), is_log_(absl::EndsWith(name, ".log")) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->Append(data, options, debug);
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo& info,
                  IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->Append(data, options, info, debug);
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->PositionedAppend(data, offset, options, debug);
  }
  IOStatus Allocate(uint64_t offset, uint64_t size, const IOOptions& options,
                    IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->Allocate(offset, size, options, debug);
  }
  void PrepareWrite(size_t offset, size_t size, const IOOptions& options,
                    IODebugContext* debug) override {
    const DiskOperation operation;
    target()->PrepareWrite(offset, size, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    const DiskOperation operation;
    return target()->Truncate(size, options, debug);
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
  const bool is_log_;
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
  using FileSystemWrapper::FileSystemWrapper;

  const char* Name() const override { return "raftkv.WatchedFileSystem"; }

  IOStatus NewWritableFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) override {
    return Watch<WatchedWritableFile>(
        [&] { return target()->NewWritableFile(name, options, file, debug); }, file, name);
  }
  IOStatus ReopenWritableFile(const std::string& name, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* file,
                              IODebugContext* debug) override {
    return Watch<WatchedWritableFile>(
        [&] { return target()->ReopenWritableFile(name, options, file, debug); }, file, name);
  }
  IOStatus ReuseWritableFile(const std::string& name, const std::string& old_name,
                             const FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                             IODebugContext* debug) override {
    return Watch<WatchedWritableFile>(
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
    return target()->RenameFile(from, to, options, debug);
  }

 private:
  // `open` opens the file. `more`: further arguments of Watched.
  template <typename Watched, typename File, typename Open, typename... More>
  static IOStatus Watch(Open open, std::unique_ptr<File>* file, const More&... more) {
    const DiskOperation operation;
    IOStatus status = open();
    if (status.ok()) *file = std::make_unique<Watched>(std::move(*file), more...);
    return status;
  }
};

}  // namespace

std::shared_ptr<rocksdb::FileSystem> WatchedFileSystem() {
  return std::make_shared<WatchedFiles>(rocksdb::FileSystem::Default());
}

}  // namespace raftkv
