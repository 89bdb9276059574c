// RocksDB's checksum of its write-ahead log. Debian builds RocksDB for processors without the
// instruction for it, so it uses tables, which take much longer (docs/decisions/0026). The linker
// calls this function instead (--wrap, server/CMakeLists.txt), if RocksDB is linked statically. The
// result is the same.

#include <cstddef>
#include <cstdint>

#include "storage/base/checksum.h"

// Named by the linker: rocksdb::crc32c::Extend(uint32_t, const char*, size_t).
extern "C" uint32_t __wrap__ZN7rocksdb6crc32c6ExtendEjPKcm(uint32_t before, const char* data,
                                                           size_t size) {
  return raftkv::Crc32cAfter(before, {data, size});
}
