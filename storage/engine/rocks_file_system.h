#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_FILE_SYSTEM_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_FILE_SYSTEM_H_

// RocksDB's view of the file system, with each system call that may wait for the disk marked as a
// DiskOperation (storage/base/disk_operations.h). Otherwise it is the default one.

#include <memory>

namespace rocksdb {
class FileSystem;
}

namespace raftkv {

std::shared_ptr<rocksdb::FileSystem> WatchedFileSystem();

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_FILE_SYSTEM_H_
